"""Training the words that occur gives what training the whole table gives."""

from collections.abc import Callable

import pytest
import torch
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from pipeline.data import batches
from pipeline.data.batches import Examples
from pipeline.models.low_rank_layers import LowRankEmbedding
from pipeline.training import optimizer
from pipeline.training.used_embeddings import select_used_embeddings

Bert = Callable[..., BertForSequenceClassification]


def trained(model: BertForSequenceClassification, examples: Examples, updates: int) -> None:
    """Train in fp32 at a rate of 0.01 and a decay of 0.1, each batch the whole."""
    adamw = optimizer.create_adamw(model, 0.01, 0.1)
    batch = batches.collate(examples, torch.arange(len(examples)).numpy())
    for update in range(updates):
        for group in adamw.param_groups:
            group["lr"] = 0.01 * optimizer.compute_rate_share(update, updates, 0.1)
        model(**batch.inputs, labels=batch.labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        adamw.zero_grad()


def test_the_weights_are_those_of_training_the_whole_table(bert: Bert, examples: Callable[..., Examples]) -> None:
    whole, narrow, given = bert(), bert(), examples(12)
    trained(whole, given, updates=8)
    with select_used_embeddings(narrow, [given], optimizer.compute_total_decay(0.01, 0.1, 8, 0.1)) as (seen,):
        assert narrow.bert.embeddings.word_embeddings.weight.shape == (6, 32)  # the padding and five words
        trained(narrow, seen, updates=8)
    expected = whole.state_dict()
    for name, weight in narrow.state_dict().items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-4, atol=1e-5)
    assert not torch.equal(expected["bert.embeddings.word_embeddings.weight"][7], bert().state_dict()[
        "bert.embeddings.word_embeddings.weight"][7])  # fmt: skip


def test_every_split_keeps_its_logits(bert: Bert, examples: Callable[..., Examples]) -> None:
    model, splits = bert(), [examples(9, seed=1), examples(5, seed=2)]

    def said(split: Examples) -> torch.Tensor:
        return model(**batches.collate(split, torch.arange(len(split)).numpy()).inputs).logits

    before = [said(split) for split in splits]
    with select_used_embeddings(model, splits, 1.0) as seen:
        inside = [said(split) for split in seen]
    for expected, here, after in zip(before, inside, map(said, splits), strict=True):
        torch.testing.assert_close(here, expected)
        torch.testing.assert_close(after, expected)


def test_the_padding_has_no_gradient_wherever_it_stands(bert: Bert, examples: Callable[..., Examples]) -> None:
    model, given = bert(pad_token_id=20), examples(8)
    given = Examples(given.tokens, given.types, given.starts, given.labels, pad=20)
    with select_used_embeddings(model, [given], 1.0) as (seen,):
        batch = batches.collate(seen, torch.arange(8).numpy())
        model(**batch.inputs, labels=batch.labels).loss.backward()
        gradient = model.bert.embeddings.word_embeddings.weight.grad
        assert gradient is not None
        assert gradient[seen.pad].abs().max().item() == 0
        assert gradient[: seen.pad].abs().min(dim=0).values.max().item() > 0
    assert model.bert.embeddings.word_embeddings.padding_idx == 20


def test_another_architecture_is_left_as_it_is(examples: Callable[..., Examples]) -> None:
    given = examples(3)
    with select_used_embeddings(torch.nn.Linear(2, 2), [given], 0.5) as (seen,):
        assert seen is given


def test_a_factorised_table_is_left_as_it_is(bert: Bert, examples: Callable[..., Examples]) -> None:
    model, given = bert(), examples(3)
    table = LowRankEmbedding(40, 32, 4, padding_idx=0)
    model.bert.embeddings.word_embeddings = table
    before = [weight.detach().clone() for weight in table.parameters()]
    with select_used_embeddings(model, [given], 0.5) as (seen,):
        assert seen is given
    assert model.bert.embeddings.word_embeddings is table
    assert all(torch.equal(old, new) for old, new in zip(before, table.parameters(), strict=True))


@pytest.mark.parametrize("decayed", [1.0, 0.5])
def test_words_that_do_not_occur_are_scaled(bert: Bert, examples: Callable[..., Examples], decayed: float) -> None:
    model = bert()
    before = model.bert.embeddings.word_embeddings.weight.detach().clone()
    with select_used_embeddings(model, [examples(30)], decayed):
        pass
    after = model.bert.embeddings.word_embeddings.weight.detach()
    torch.testing.assert_close(after[10:], before[10:] * decayed)
    torch.testing.assert_close(after[5:10], before[5:10])
