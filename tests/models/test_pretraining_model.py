"""The objective L = L_MLM + L_NSP, against torch's own cross entropy and transformers' own heads."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers.models.bert.modeling_bert import BertForPreTraining

from pipeline.models import pretraining_model
from pipeline.models.pretraining_model import IGNORED

MASK, WORDS = 4, np.arange(5, 40)


@pytest.fixture(scope="module")
def model() -> BertForPreTraining:
    return pretraining_model.create_model(layers=2, hidden=32, heads=2, vocabulary=40, positions=24, seed=0)


@pytest.fixture(scope="module")
def batch() -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    tokens = torch.from_numpy(np.random.default_rng(0).integers(5, 40, (6, 20)))
    inputs = {
        "input_ids": tokens,
        "token_type_ids": (torch.arange(20) > 9).long().expand(6, 20),
        "attention_mask": torch.ones_like(tokens),
    }
    targets = torch.full_like(tokens, IGNORED)
    targets[:, 3::5] = tokens[:, 3::5]
    return inputs, targets, torch.tensor([0, 1, 1, 0, 0, 1])


def test_the_loss_is_the_sum_of_both_cross_entropies(model, batch):
    inputs, targets, following = batch
    outputs = model(**inputs)
    mlm = cross_entropy(outputs.prediction_logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    nsp = cross_entropy(outputs.seq_relationship_logits, following)
    losses = pretraining_model.compute_losses(model, inputs, targets, following)
    torch.testing.assert_close(losses.mlm, mlm)
    torch.testing.assert_close(losses.nsp, nsp)
    torch.testing.assert_close(losses.total, mlm + nsp)
    torch.testing.assert_close(losses.total, model(**inputs, labels=targets, next_sentence_label=following).loss)


def test_accuracies_count_what_was_asked(model, batch):
    inputs, targets, following = batch
    outputs = model(**inputs)
    losses = pretraining_model.compute_losses(model, inputs, targets, following)
    selected = targets != IGNORED
    assert losses.mlm_accuracy == (outputs.prediction_logits.argmax(-1)[selected] == targets[selected]).float().mean()
    assert losses.nsp_accuracy == (outputs.seq_relationship_logits.argmax(-1) == following).float().mean()


def test_class_0_of_the_next_sentence_head_means_that_the_second_segment_follows(model, batch):
    inputs, targets, _ = batch
    with torch.no_grad():
        model.cls.seq_relationship.bias.copy_(torch.tensor([50.0, -50.0]))
        sure = pretraining_model.compute_losses(model, inputs, targets, torch.full((6,), pretraining_model.IS_NEXT))
        model.cls.seq_relationship.bias.zero_()
    assert sure.nsp < 1e-6
    assert sure.nsp_accuracy == 1


def within(share: float, expected: float, count: int) -> bool:
    """Return whether a share lies within four standard errors of a binomial one."""
    return bool(abs(share - expected) < 4 * np.sqrt(expected * (1 - expected) / count))


def test_masking_shows_80_10_10_of_the_chosen_tokens_and_never_asks_for_a_special_one():
    random = np.random.default_rng(1)
    tokens = random.integers(0, 40, (2000, 50))
    special = tokens < 5
    shown, targets = pretraining_model.mask_tokens(tokens, special, MASK, WORDS, 0.2, random)
    selected = targets != IGNORED
    count = int(selected.sum())
    assert not selected[special].any()
    assert (targets[selected] == tokens[selected]).all()
    assert (shown[~selected] == tokens[~selected]).all()
    assert within((shown[selected] == MASK).mean(), 0.8, count)
    changed = (shown != tokens) & (shown != MASK)
    assert within(changed[selected].mean(), 0.1 * (1 - 1 / len(WORDS)), count)  # a random word may be the word itself
    assert np.isin(shown[changed], WORDS).all()


def test_each_row_has_a_rate_of_its_own_between_none_and_twice_the_mean():
    random = np.random.default_rng(2)
    tokens = random.integers(5, 40, (3000, 400))
    _, targets = pretraining_model.mask_tokens(tokens, tokens < 5, MASK, WORDS, 0.2, random)
    shares = (targets != IGNORED).mean(axis=1)
    assert abs(shares.mean() - 0.2) < 4 * 0.4 / np.sqrt(12 * len(shares))
    quartiles = np.quantile(shares, [0.25, 0.5, 0.75])  # of a uniform law over 0 to 0.4
    np.testing.assert_allclose(quartiles, [0.1, 0.2, 0.3], atol=0.02)


def test_the_same_seed_gives_the_same_weights():
    sizes = {"layers": 1, "hidden": 16, "heads": 2, "vocabulary": 30, "positions": 8}
    one, two, other = (pretraining_model.create_model(**sizes, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["bert.pooler.dense.weight"], other["bert.pooler.dense.weight"])


def test_a_token_first_attends_to_its_like():
    """In half of the heads a query meets its own key with a score near sqrt(head size), any other with about zero."""
    model = pretraining_model.create_model(layers=1, hidden=128, heads=4, vocabulary=40, positions=24, seed=0)
    attention = model.bert.encoder.layer[0].attention.self
    states = torch.nn.functional.layer_norm(torch.randn(50, 128), (128,))
    query, key = (part(states)[:, :32] for part in (attention.query, attention.key))
    scores = (query @ key.T / 32**0.5).detach()
    assert scores.diagonal().mean() > 4
    assert abs(scores.fill_diagonal_(0).mean()) < 0.5
