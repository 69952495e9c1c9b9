"""What settings may say, told without a model, every mistake in whole words."""

from typing import Any

import pytest

from pipeline.compression import (
    head_pruning,
    layer_removal,
    low_rank,
    magnitude,
    n_m_sparsity,
    quantisation,
    weight_sharing,
    width_pruning,
)
from pipeline.compression.argument_checks import EncoderShape
from pipeline.compression.compressed_model import validate_for_model
from pipeline.compression.singular_values import is_smaller
from pipeline.core.errors import UserError
from pipeline.models import quantised_layers

SHAPE = EncoderShape(layers=4, hidden=32, heads=4, intermediate=48, vocabulary=60)
SHARE = {"parts": "all", "groups": 2, "take": "first"}
MAGNITUDE = {"share": 0.5, "scope": "global"}
HEADS = {"remove": 0.5, "importance": "gradient"}
SVD = {"rank": {"fraction": 0.25}, "parts": "all", "weighted": False, "embeddings": None}

GOOD: list[tuple[Any, dict[str, Any]]] = [
    (weight_sharing.check, SHARE),
    (magnitude.check, MAGNITUDE),
    (n_m_sparsity.check, {"keep": 2, "of": 4}),
    (head_pruning.check, HEADS),
    (width_pruning.check, HEADS),
    (layer_removal.check, {"remove": 2, "importance": "magnitude"}),
    (low_rank.check, SVD),
    (low_rank.check, SVD | {"rank": {"budget": 0.5}, "embeddings": {"energy": 0.9}}),
    (quantisation.check, {"activations": "dynamic"}),
]


@pytest.mark.parametrize(("check", "arguments"), GOOD)
@pytest.mark.parametrize("shape", [SHAPE, None])
def test_what_can_be_is_allowed(check: Any, arguments: dict[str, Any], shape: EncoderShape | None) -> None:
    assert check(shape, **arguments) == []


BAD: list[tuple[Any, dict[str, Any], str]] = [
    (
        weight_sharing.check,
        SHARE | {"groups": 0},
        "groups: got 0; write a whole number from 1, below the number of layers",
    ),
    (
        weight_sharing.check,
        SHARE | {"groups": True},
        "groups: got True; write a whole number from 1, below the number of layers",
    ),
    (weight_sharing.check, SHARE | {"groups": 4}, "groups: got 4 for 4 layers, so nothing is shared; use at most 3"),
    (
        magnitude.check,
        MAGNITUDE | {"share": 0},
        "share: got 0; write a share of the weights, above 0 and below 1",
    ),
    (
        magnitude.check,
        MAGNITUDE | {"scope": "globl"},
        "scope: got 'globl'; did you mean 'global'? (allowed: global, layer)",
    ),
    (
        n_m_sparsity.check,
        {"keep": 0, "of": 4},
        "keep: got 0; write a whole number from 1 to 3, the weights kept in each group of 4",
    ),
    (n_m_sparsity.check, {"keep": 1, "of": 1}, "of: got 1; write a whole number from 2, the weights of a group"),
    (
        n_m_sparsity.check,
        {"keep": 2, "of": 5},
        "of: got 5, but rows of 32 weights do not divide into such groups",
    ),
    (head_pruning.check, HEADS | {"remove": 0.01}, "remove: 0.01 of 16 heads is none; use at least 0.0625"),
    (
        head_pruning.check,
        HEADS | {"remove": 0.8},
        "remove: 0.8 of 16 heads leaves a layer without any; use at most 0.75, or remove whole layers",
    ),
    (
        head_pruning.check,
        HEADS | {"remove": "half"},
        "remove: got 'half'; write a share of the heads, above 0 and below 1",
    ),
    (width_pruning.check, HEADS | {"remove": 0.999}, "remove: 0.999 of 48 leaves nothing"),
    (width_pruning.check, HEADS | {"remove": 0.001}, "remove: 0.001 of 48 leaves all of them"),
    (
        layer_removal.check,
        HEADS | {"remove": 0.5},
        "remove: got 0.5; write a whole number from 1, below the number of layers",
    ),
    (layer_removal.check, HEADS | {"remove": 4}, "remove: got 4 of 4 layers; use at most 3"),
    (
        low_rank.check,
        SVD | {"rank": {"fraction": 0.5}},
        "rank: fraction 0.5 is rank 16 of matrices of 32 x 32, which saves nothing; use rank "
        "15 at most, a fraction of 0.4688",
    ),
    (low_rank.check, SVD | {"weighted": 1}, "weighted: got 1; write true or false"),
    (
        low_rank.check,
        SVD | {"rank": {"enegy": 0.9}},
        "rank: enegy: unknown; did you mean 'energy'? (allowed: budget, energy, fraction)",
    ),
    (
        low_rank.check,
        SVD | {"rank": 8},
        "rank: got 8; write one of {fraction: share of the full rank} or {energy: share of "
        "the squared singular values} or {budget: share of the parameters}",
    ),
    (
        low_rank.check,
        SVD | {"embeddings": {"budget": 0.5}},
        "embeddings: budget: unknown; allowed: energy, fraction",
    ),
    (
        low_rank.check,
        SVD | {"embeddings": {"fraction": 0.8}},
        "embeddings: fraction 0.8 is rank 26 of matrices of 60 x 32, which saves nothing; use "
        "rank 20 at most, a fraction of 0.625",
    ),
    (quantisation.check, {"activations": "static"}, "activations: got 'static'; allowed: dynamic, none"),
]


@pytest.mark.parametrize(("check", "arguments", "message"), BAD)
def test_a_mistake_is_told(check: Any, arguments: dict[str, Any], message: str) -> None:
    assert check(SHAPE, **arguments) == [message]


def test_the_rank_that_is_told_is_the_largest_that_saves() -> None:
    for rows, columns in ((32, 32), (32, 48), (60, 32), (128, 512)):
        most = (rows * columns - 1) // (rows + columns)
        assert is_smaller(most, rows, columns)
        assert not is_smaller(most + 1, rows, columns)
        assert most * (rows + columns) < rows * columns <= (most + 1) * (rows + columns)


def test_a_shape_is_read_where_a_config_speaks_of_bert() -> None:
    config = {"num_hidden_layers": 4, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}
    assert EncoderShape.from_config(config | {"vocab_size": 60}) == SHAPE
    assert EncoderShape.from_config(config) is None


@pytest.mark.parametrize(("check", "arguments"), [pair for pair in GOOD if pair[0] is not quantisation.check])
def test_int8_weights_come_last(bert: Any, monkeypatch: Any, check: Any, arguments: dict[str, Any]) -> None:
    monkeypatch.setattr(quantised_layers, "get_int8_kind", lambda model: "int8-dynamic")
    with pytest.raises(UserError) as error:
        validate_for_model(bert(), check, **arguments)
    assert str(error.value) == ("the model's weights are int8 already; put int8 last in the chain, behind this method")
