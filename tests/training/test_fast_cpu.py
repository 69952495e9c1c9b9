"""Quick passes: the same numbers as transformers' own, and nothing left behind."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from transformers.models.bert.modeling_bert import BertForSequenceClassification
from transformers.models.distilbert.configuration_distilbert import DistilBertConfig
from transformers.models.distilbert.modeling_distilbert import DistilBertForSequenceClassification

from pipeline.data import batches
from pipeline.data.batches import Batch, Examples
from pipeline.models import layer_surgery
from pipeline.models.low_rank_layers import LowRankLinear
from pipeline.training.fast_cpu import FastDropout, apply_dropout, apply_fast_passes

Bert = Callable[..., BertForSequenceClassification]


@pytest.fixture(params=["of one length", "padded"])
def batch(request: pytest.FixtureRequest, examples: Callable[..., Examples]) -> Batch:
    given = examples(60)
    rows = np.flatnonzero(given.lengths == 6) if request.param == "of one length" else np.arange(12)
    made = batches.collate(given, rows)
    assert ("attention_mask" in made.inputs) == (request.param == "padded")
    return made


def test_logits_are_those_of_transformers(bert: Bert, batch: Batch) -> None:
    model = bert()
    plain = model(**batch.inputs).logits
    with apply_fast_passes(model):
        torch.testing.assert_close(model(**batch.inputs).logits, plain)


def test_gradients_are_those_of_transformers(bert: Bert, batch: Batch) -> None:
    model = bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()

    def gradients() -> dict[str, torch.Tensor]:
        model.zero_grad()
        model(**batch.inputs, labels=batch.labels).loss.backward()
        return {name: weight.grad for name, weight in model.named_parameters()}

    plain = gradients()
    with apply_fast_passes(model):
        fast = gradients()
    assert fast.keys() == plain.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(fast[name], gradient, msg=lambda text, name=name: f"{name}: {text}")


def test_nothing_is_left_behind(bert: Bert) -> None:
    model = bert()
    kinds = [type(module) for module in model.modules()]
    names, attention = list(model.state_dict()), model.config._attn_implementation
    with apply_fast_passes(model):
        assert list(model.state_dict()) == names
        assert not any(type(module) is nn.Dropout for module in model.modules())
    assert [type(module) for module in model.modules()] == kinds
    assert model.config._attn_implementation == attention
    assert "forward" not in vars(model.bert.encoder.layer[-1])


def heads_of_the_last_removed(model: BertForSequenceClassification) -> None:
    layer_surgery.select_heads(model.bert.encoder.layer[-1].attention, [1])


def factors(model: BertForSequenceClassification) -> None:
    for name in ("attention.self.query", "attention.output.dense"):
        layer_surgery.replace_module(model, f"bert.encoder.layer.1.{name}", LowRankLinear(32, 32, 3, bias=True))


def shared(model: BertForSequenceClassification) -> None:
    first, last = model.bert.encoder.layer
    last.attention, last.intermediate, last.output = first.attention, first.intermediate, first.output


@pytest.mark.parametrize("change", [heads_of_the_last_removed, factors, shared])
def test_a_compressed_model_keeps_its_logits(
    bert: Bert, batch: Batch, change: Callable[[BertForSequenceClassification], None]
) -> None:
    model = bert()
    change(model)
    plain = model(**batch.inputs).logits
    with apply_fast_passes(model):
        torch.testing.assert_close(model(**batch.inputs).logits, plain)
    assert type(model.bert.encoder.layer[0].attention.output.dropout) is nn.Dropout


def test_whole_layers_are_computed_for_who_reads_them(bert: Bert, batch: Batch) -> None:
    model = bert()
    plain = model(**batch.inputs, output_hidden_states=True)
    with apply_fast_passes(model, all_tokens=True):
        fast = model(**batch.inputs, output_hidden_states=True)
    assert fast.hidden_states[-1].shape == plain.hidden_states[-1].shape
    real = batch.inputs.get("attention_mask", torch.ones_like(batch.inputs["input_ids"])).bool()
    torch.testing.assert_close(fast.hidden_states[-1][real], plain.hidden_states[-1][real])
    torch.testing.assert_close(fast.logits, plain.logits)


def test_training_drops_and_evaluation_does_not(bert: Bert, batch: Batch) -> None:
    model = bert(hidden_dropout_prob=0.5)
    with apply_fast_passes(model):
        assert torch.equal(model(**batch.inputs).logits, model(**batch.inputs).logits)
        model.train()
        assert not torch.equal(model(**batch.inputs).logits, model(**batch.inputs).logits)


def test_the_attention_drops_too(bert: Bert, batch: Batch) -> None:
    model = bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.5).train()
    with apply_fast_passes(model):
        assert not torch.equal(model(**batch.inputs).logits, model(**batch.inputs).logits)


def test_another_architecture_keeps_its_logits(batch: Batch) -> None:
    model = DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=40, dim=16, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=32)
    ).eval()
    inputs = {name: tensor for name, tensor in batch.inputs.items() if name != "token_type_ids"}
    plain = model(**inputs).logits
    with apply_fast_passes(model):
        torch.testing.assert_close(model(**inputs).logits, plain)
        assert any(type(module) is FastDropout for module in model.modules())


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_rate_is_met_and_the_mean_is_kept(rate: float) -> None:
    torch.manual_seed(0)
    count = 400_000
    out = apply_dropout(torch.ones(count), rate)
    deviation = (rate * (1 - rate) / count) ** 0.5  # of a binomial share
    assert abs((out == 0).float().mean().item() - rate) < 5 * deviation
    assert out.max().item() == pytest.approx(1 / (1 - rate), rel=1e-4)
    for lane in range(4):  # of the four elements that share a drawn number, none is special
        assert abs((out[lane::4] == 0).float().mean().item() - rate) < 5 * 2 * deviation


def test_elements_that_share_a_number_drop_independently() -> None:
    torch.manual_seed(0)
    zero = (apply_dropout(torch.ones(400_000), 0.5) == 0).float().view(-1, 4)
    correlation = torch.corrcoef(zero.T) - torch.eye(4)
    assert correlation.abs().max().item() < 5 / zero.shape[0] ** 0.5


def test_a_rate_of_zero_changes_nothing() -> None:
    states = torch.randn(7, 3)
    assert apply_dropout(states, 0.0) is states
