"""Growth of a step's cost: places along the axes, FLOPs in closed form."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from transformers.models.bert.configuration_bert import BertConfig

from pipeline.evaluation.cost import step_scaling, timing
from pipeline.evaluation.cost.step_scaling import Training, points

CPU = torch.device("cpu")


def shape(**settings: Any) -> BertConfig:
    usual = {
        "vocab_size": 60, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 96,
        "max_position_embeddings": 40,
    }  # fmt: skip
    return BertConfig(**(usual | settings))


def test_each_axis_moves_alone() -> None:
    config = shape()
    found = [
        (at.axis, at.value, at.config.num_hidden_layers, at.config.hidden_size, at.length, at.rows)
        for at in points(config, rows=5, length=20)
    ]
    assert found == [
        *(("depth", value, value, 32, 20, 5) for value in (1, 2, 4, 8)),
        *(("width", value, 3, value, 20, 5) for value in (16, 32, 64, 128)),
        *(("length", value, 3, 32, value, 5) for value in (16, 32, 40)),
        *(("batch", value, 3, 32, 20, value) for value in (1, 4, 16, 64)),
    ]
    assert (config.num_hidden_layers, config.hidden_size) == (3, 32)


def test_a_wider_shape_has_heads_of_the_same_size_and_feed_forward_in_proportion() -> None:
    for at in points(shape(), rows=5, length=20):
        assert at.config.hidden_size == 16 * at.config.num_attention_heads
        assert at.config.intermediate_size == 3 * at.config.hidden_size


def test_lengths_end_at_the_positions_or_at_256() -> None:
    def lengths(positions: int) -> list[int]:
        found = points(shape(max_position_embeddings=positions), rows=1, length=8)
        return [at.value for at in found if at.axis == "length"]

    assert lengths(512) == lengths(256) == [16, 32, 64, 128, 256]
    assert lengths(96) == [16, 32, 64, 96]


def flops(at: step_scaling.Point) -> int:
    """Return those of forward and backward in closed form: a product goes forward once and backward twice.

    Per layer four projections and the feed-forward of every token, scores and mixing of every pair of tokens; pooler
    and head on the first token.
    """
    tokens, hidden, inner = at.rows * at.length, at.config.hidden_size, at.config.intermediate_size
    layer = tokens * (8 * hidden**2 + 4 * hidden * inner) + 4 * at.rows * at.length**2 * hidden
    return 3 * (at.config.num_hidden_layers * layer + at.rows * (2 * hidden**2 + 4 * hidden))


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a second pass at each look at the clock."""
    looks = iter(range(10**6))
    monkeypatch.setattr(timing, "now", lambda device: float(next(looks)))


@pytest.mark.usefixtures("seconds")
def test_every_place_tells_seconds_flops_and_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_scaling, "DEPTHS", (1, 2))
    timed: list[tuple[int, int, int, int]] = []
    measure = Training.measure

    def watched(self: Training, rows: int, length: int, at_most: float) -> timing.Timing:
        body = self.model.bert
        timed.append((len(body.encoder.layer), body.embeddings.word_embeddings.embedding_dim, length, rows))
        return measure(self, rows, length, at_most)

    monkeypatch.setattr(Training, "measure", watched)
    found = step_scaling.growth(shape(), 2, 10, "fp32", CPU)
    places = list(points(shape(), 2, 10))
    assert timed == [(at.config.num_hidden_layers, at.config.hidden_size, at.length, at.rows) for at in places]
    assert [(one["axis"], one["value"]) for one in found] == [(at.axis, at.value) for at in places]
    assert [one["flops"] for one in found] == [flops(at) for at in places]
    assert {(one["seconds"], one["seconds_low"], one["seconds_high"]) for one in found} == {(1.0, 1.0, 1.0)}
    kept = {(one["axis"], one["value"]): one["activation_bytes"] for one in found}
    assert kept["batch", 64] == 64 * kept["batch", 1] > 0


@pytest.mark.usefixtures("seconds")
def test_places_beyond_the_stated_flops_are_left_out() -> None:
    places = list(points(shape(), 2, 10))
    limit = sorted(map(flops, places))[7]
    found = step_scaling.growth(shape(), 2, 10, "fp32", CPU, most_flops=limit)
    expected = [(at.axis, at.value) for at in places if flops(at) <= limit]
    assert [(one["axis"], one["value"]) for one in found] == expected
    assert 8 <= len(expected) < len(places)


@pytest.mark.usefixtures("seconds")
def test_the_randomness_of_others_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step_scaling, "BATCHES", ())
    monkeypatch.setattr(step_scaling, "DEPTHS", ())
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    step_scaling.growth(shape(), 1, 8, "fp32", CPU)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize(("precision", "kind"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
@pytest.mark.usefixtures("seconds")
def test_a_step_goes_forward_and_back_and_moves_the_weights(precision: str, kind: torch.dtype) -> None:
    training = Training(shape(), precision, CPU)
    kinds, shapes, weights = set(), set(), []
    dense = training.model.bert.encoder.layer[0].output.dense
    dense.register_forward_hook(lambda _, given, said: kinds.add(said.dtype) or shapes.add(tuple(said.shape)))
    training.model.register_forward_pre_hook(lambda *_: weights.append(dense.weight.detach().clone()))
    found = training.measure(rows=3, length=7, at_most=4.0)
    assert kinds == {kind}
    assert shapes == {(3, 7, 32)}
    assert found.rounds == 4
    assert len(weights) == 1 + 4
    assert all(not torch.equal(*pair) for pair in pairwise(weights))
    assert dense.weight.grad is None
