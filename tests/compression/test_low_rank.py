"""Low rank against numpy and closed forms, on two narrow layers."""

import copy
import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from pipeline.compression import low_rank, quantisation
from pipeline.compression.calibration import Calibration
from pipeline.compression.linear_factors import create_factors
from pipeline.compression.singular_values import Spectrum, decompose, select_by_budget, select_by_energy
from pipeline.core.errors import UserError
from pipeline.data.batches import Examples
from pipeline.models import bert_layers
from pipeline.models.low_rank_layers import LowRankEmbedding, LowRankLinear

HIDDEN, INNER, WORDS = 32, 48, 60
WHOLE = 4 * HIDDEN**2 + 2 * HIDDEN * INNER  # weights of the Linears of a layer
BIASES = 5 * HIDDEN + INNER
ARGUMENTS: dict[str, Any] = {"rank": {"fraction": 0.25}, "parts": "all", "weighted": False, "embeddings": None}


@pytest.fixture
def model() -> BertForSequenceClassification:
    config = BertConfig(
        vocab_size=WORDS, hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=2, intermediate_size=INNER,
        max_position_embeddings=24, initializer_range=0.2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = BertForSequenceClassification(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    return model


@pytest.fixture
def calibration(examples: Examples) -> Calibration:
    return Calibration(examples)


def parts(model: nn.Module, names: str = "all") -> list[nn.Module]:
    return [layer.get_part(name) for layer in bert_layers.list_layers(model) for name in bert_layers.PARTS[names]]


def matrix(part: nn.Module) -> np.ndarray:
    """Return the matrix that a Linear or two factors multiply by."""
    if isinstance(part, LowRankLinear):
        return (part[1].weight.double() @ part[0].weight.double()).detach().numpy()
    return part.weight.double().detach().numpy()


def weights(found: list[nn.Module]) -> int:
    return sum(parameter.numel() for part in set(found) for parameter in part.parameters())


@pytest.mark.parametrize(("rows", "columns"), [(12, 12), (20, 8), (8, 20)])
@pytest.mark.parametrize("bias", [True, False])
def test_at_full_rank_a_linear_says_the_same(rows: int, columns: int, bias: bool) -> None:
    torch.manual_seed(1)
    linear, states = nn.Linear(columns, rows, bias=bias), torch.randn(3, 5, columns)
    root = torch.linalg.cholesky(torch.cov(torch.randn(columns, 50).double()))
    with torch.no_grad():
        for spectrum in (decompose(linear.weight), decompose(linear.weight, root)):
            both = create_factors(linear, spectrum, min(rows, columns))
            torch.testing.assert_close(both(states), linear(states), atol=1e-5, rtol=0)
            assert (both[1].bias is not None) == bias


def test_the_error_at_a_rank_is_that_of_eckart_and_young(
    model: BertForSequenceClassification, calibration: Calibration
) -> None:
    before = [matrix(part) for part in parts(model)]
    low_rank.apply(model, calibration, **ARGUMENTS)
    for was, part in zip(before, parts(model), strict=True):
        discarded = np.linalg.svd(was, compute_uv=False)[8:]
        assert isinstance(part, LowRankLinear)
        assert part.rank == 8
        np.testing.assert_allclose(np.linalg.norm(was - matrix(part)), np.sqrt((discarded**2).sum()), rtol=1e-5)


def test_the_singular_values_are_split_evenly_and_the_bias_is_kept(
    model: BertForSequenceClassification, calibration: Calibration
) -> None:
    linear = model.bert.encoder.layer[1].intermediate.dense
    low_rank.apply(model, calibration, **ARGUMENTS)
    reading, writing = model.bert.encoder.layer[1].intermediate.dense
    values = np.linalg.svd(linear.weight.detach().numpy(), compute_uv=False)[:8]
    np.testing.assert_allclose(reading.weight.detach().norm(dim=1).square(), values, rtol=1e-5)
    np.testing.assert_allclose(writing.weight.detach().norm(dim=0).square(), values, rtol=1e-5)
    assert torch.equal(writing.bias, linear.bias)
    assert reading.bias is None


def inputs_of(model: BertForSequenceClassification, calibration: Calibration, part: nn.Module) -> np.ndarray:
    """Return what a part reads, a row for each token that is no padding, asked one example at a time."""
    seen: list[Tensor] = []
    hook = part.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))
    examples = calibration.examples
    with torch.no_grad():
        for start, end in pairwise(examples.starts):
            model(input_ids=torch.from_numpy(examples.tokens[None, start:end]))
    hook.remove()
    return torch.cat(seen).double().numpy()


@pytest.mark.parametrize("name", ["attention.self.key", "intermediate.dense", "output.dense"])
def test_weighted_is_the_optimum_for_what_the_task_puts_in(
    model: BertForSequenceClassification, calibration: Calibration, name: str
) -> None:
    """The least of ||X W^T - X W'^T|| over rank r is the tail of the singular values of X W^T, whatever W' is."""
    said = {}
    asked = inputs_of(model, calibration, bert_layers.list_layers(model)[1].get_part(name))
    was = matrix(bert_layers.list_layers(model)[1].get_part(name))
    for weighted in (True, False):
        other = low_rank.apply(copy.deepcopy(model), calibration, **ARGUMENTS | {"weighted": weighted}).model
        said[weighted] = np.linalg.norm(asked @ (was - matrix(bert_layers.list_layers(other)[1].get_part(name))).T)
    optimum = np.sqrt((np.linalg.svd(asked @ was.T, compute_uv=False)[8:] ** 2).sum())
    assert said[True] == pytest.approx(optimum, rel=1e-3)
    assert said[False] > 1.01 * said[True]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("budget", [0.3, 0.5, 0.9])
def test_a_budget_is_kept_and_nearly_all_of_it_used(
    model: BertForSequenceClassification, calibration: Calibration, budget: float, weighted: bool
) -> None:
    before = weights(parts(model))
    assert before == 2 * (WHOLE + BIASES)
    low_rank.apply(model, calibration, **ARGUMENTS | {"rank": {"budget": budget}, "weighted": weighted})
    assert budget * before - (HIDDEN + INNER) < weights(parts(model)) <= budget * before


def test_a_budget_is_spread_by_the_error_that_a_rank_saves_for_its_parameters() -> None:
    """Every rank that was taken saves at least as much for each number as every rank that was not."""
    torch.manual_seed(0)
    spectra = [decompose(torch.randn(rows, 24) * size) for rows, size in ((24, 1.0), (48, 0.7), (16, 1.4))]
    ranks = select_by_budget(spectra, 700)
    pairs = list(zip(spectra, ranks, strict=True))
    assert None not in ranks
    taken = [float(one.values[rank - 1] ** 2) / sum(one.size) for one, rank in pairs]
    left = [float(one.values[rank] ** 2) / sum(one.size) for one, rank in pairs]
    spent = sum(rank * sum(one.size) for one, rank in pairs)
    affordable = [gain for gain, (one, _) in zip(left, pairs, strict=True) if sum(one.size) <= 700 - spent]
    assert min(taken) > max(affordable, default=0)
    assert spent <= 700
    assert len(set(ranks)) > 1


def test_a_matrix_that_no_rank_makes_smaller_is_left_whole_under_a_budget() -> None:
    steep = Spectrum(torch.eye(16), torch.tensor([10.0, 0.1] + 14 * [0.01]), torch.eye(16))
    flat = Spectrum(torch.eye(16), torch.full((16,), 5.0), torch.eye(16))
    assert select_by_budget([steep, flat], 16 * 16 + 2 * 32) == [2, None]


def test_energy_takes_the_least_rank_that_holds_it() -> None:
    values = torch.tensor([3.0, 2.0, 1.0, 1.0, 1.0])  # squares 9, 4, 1, 1, 1 of 16
    assert [select_by_energy(values, share) for share in (0.5, 9 / 16, 0.57, 13 / 16, 0.9, 0.99)] == [1, 1, 2, 2, 4, 5]
    assert select_by_energy(torch.zeros(4), 0.9) == 1


def test_energy_leaves_whole_what_it_would_not_make_smaller(
    model: BertForSequenceClassification, calibration: Calibration
) -> None:
    low = model.bert.encoder.layer[0].attention.self.query
    with torch.no_grad():
        low.weight.copy_(torch.outer(torch.arange(1.0, HIDDEN + 1), torch.ones(HIDDEN)))
    changed = low_rank.apply(model, calibration, **ARGUMENTS | {"rank": {"energy": 0.97}}).changed
    assert [type(part).__name__ for part in parts(model)] == ["LowRankLinear", *(11 * ["Linear"])]
    assert changed == (
        f"1 of 12 Linears as two factors of rank 1, {2 * WHOLE:,} -> {2 * WHOLE - HIDDEN**2 + 2 * HIDDEN:,} weights, "
        "relative error 0.000; 11 stay whole, for there a rank that is good enough saves nothing"
    )


def test_the_table_of_words_becomes_narrow_and_keeps_its_padding(
    model: BertForSequenceClassification, calibration: Calibration
) -> None:
    was = model.bert.embeddings.word_embeddings.weight.detach().numpy()
    arguments = ARGUMENTS | {"parts": "attention", "embeddings": {"fraction": 0.25}}
    changed = low_rank.apply(model, calibration, **arguments).changed
    table = model.bert.embeddings.word_embeddings
    assert isinstance(table, LowRankEmbedding)
    assert (table.rank, table[0].padding_idx) == (8, 0)
    lost = np.linalg.norm(was - table(torch.arange(WORDS)).detach().numpy())
    values = np.linalg.svd(was, compute_uv=False)
    assert lost == pytest.approx(np.sqrt((values[8:] ** 2).sum()), rel=1e-5)
    share = lost / np.linalg.norm(was)
    assert changed.split("; ")[1] == (
        f"the table of words as 8 columns and a Linear, {WORDS * HIDDEN:,} -> {8 * (WORDS + HIDDEN):,} parameters, "
        f"relative error {share:.3f}"
    )
    assert not any(isinstance(part, LowRankLinear) for part in parts(model, "feed_forward"))
    again = low_rank.apply(model, calibration, **arguments | {"parts": "feed_forward"}).changed
    assert again.split("; ")[1] == "the table of words is factors already and stays as it is"


def test_shared_linears_are_factorised_once_and_stay_shared(
    model: BertForSequenceClassification, calibration: Calibration
) -> None:
    first, second = model.bert.encoder.layer
    second.attention = first.attention
    second.output.dense = first.output.dense
    alone = matrix(first.attention.self.query)
    changed = low_rank.apply(model, calibration, **ARGUMENTS | {"weighted": True}).changed
    assert second.attention.self.query is first.attention.self.query
    assert second.output.dense is first.output.dense
    assert isinstance(second.output.dense, LowRankLinear)
    assert np.linalg.matrix_rank(matrix(first.attention.self.query), tol=1e-4) == 8 < np.linalg.matrix_rank(alone)
    assert re.match(r"7 of 7 Linears as two factors of rank 8, .* in the norm of the task's inputs$", changed)


def test_factors_are_left_alone_and_lost_zeros_are_told(
    model: BertForSequenceClassification, calibration: Calibration
) -> None:
    low_rank.apply(model, calibration, **ARGUMENTS | {"parts": "attention"})
    kept = [matrix(part) for part in parts(model, "attention")]
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.weight[:, ::2] = 0
    changed = low_rank.apply(model, calibration, **ARGUMENTS).changed
    assert all(np.array_equal(was, matrix(part)) for was, part in zip(kept, parts(model, "attention"), strict=True))
    assert changed.split("; ")[1:] == [
        "8 are factors already and stay as they are",
        f"{HIDDEN * INNER // 2} weights that were exactly zero are so no longer",
    ]


def test_asking_for_activations_leaves_the_mode_and_no_hooks(
    model: BertForSequenceClassification, calibration: Calibration
) -> None:
    model.train()
    linears = parts(model)
    low_rank.apply(model, calibration, **ARGUMENTS | {"weighted": True})
    assert all(module.training for module in model.modules())
    assert not any(linear._forward_pre_hooks for linear in linears)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"rank": {"fraction": 0.5}},
            "rank: fraction 0.5 is rank 16 of matrices of 32 x 32, which saves nothing; "
            "use rank 15 at most, a fraction of 0.4688",
        ),
        (
            {"rank": {"energy": 0.9999999}},
            "rank: energy 0.9999999 saves nothing in any of 12 Linears; use a smaller energy",
        ),
        (
            {"rank": {"budget": 0.05}},
            "rank: budget: 321 weights are too few for rank 1 of 12 Linears, which is 832; use a larger budget",
        ),
        (
            {"embeddings": {"energy": 0.9999999}},
            "embeddings: energy 0.9999999 is rank 32 of a table of 60 x 32, which saves nothing; "
            "use a smaller energy, or null",
        ),
    ],
)
def test_what_saves_nothing_is_refused(
    model: BertForSequenceClassification, calibration: Calibration, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        low_rank.apply(model, calibration, **ARGUMENTS | arguments)
    assert str(caught.value) == message


def test_a_fraction_that_saves_nothing_in_a_narrowed_matrix_is_refused(
    model: BertForSequenceClassification, calibration: Calibration
) -> None:
    """The configuration still states the width that the layers once had."""
    for layer in model.bert.encoder.layer:
        layer.intermediate.dense, layer.output.dense = nn.Linear(HIDDEN, 1), nn.Linear(1, HIDDEN)
    with pytest.raises(UserError) as caught:
        low_rank.apply(model, calibration, **ARGUMENTS)
    assert str(caught.value) == (
        "rank: fraction 0.25 is rank 1 of bert.encoder.layer.0.intermediate.dense, 1 x 32, which saves nothing; "
        "use a smaller fraction, or an energy, which leaves such matrices whole"
    )


def test_factors_of_factors_and_of_int8_weights_are_refused(
    model: BertForSequenceClassification, calibration: Calibration
) -> None:
    low_rank.apply(model, calibration, **ARGUMENTS)
    with pytest.raises(UserError) as caught:
        low_rank.apply(model, calibration, **ARGUMENTS)
    assert str(caught.value) == (
        "parts: all of these Linears are factors already; name other parts, or leave this step out"
    )
    quantisation.apply(model, "none")
    with pytest.raises(UserError) as caught:
        low_rank.apply(model, calibration, **ARGUMENTS)
    assert str(caught.value) == "the model's weights are int8 already; put int8 last in the chain, behind this method"
