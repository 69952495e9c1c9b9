"""Rates, latencies and parts of a step on a clock that advances as the model is asked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from pipeline.data import batches
from pipeline.data.batches import Batch, Examples
from pipeline.evaluation.cost import energy, speed, timing
from pipeline.evaluation.cost.energy import Meter
from pipeline.system.distributed import ProcessGroup
from pipeline.training import trainer as running
from pipeline.training.recipe import Recipe

CPU = torch.device("cpu")
WATTS = 40.0


class Clock:
    """Seconds that pass only when something lets them pass."""

    def __init__(self) -> None:
        self.time = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Replace the clock that waits for the device; nothing tells joules."""
    clock = Clock()
    monkeypatch.setattr(timing, "now", lambda device: clock.time)
    monkeypatch.setattr(energy, "measured", metered(clock, None))
    return clock


def metered(clock: Clock, watts: float | None) -> Callable[[torch.device], Any]:
    """Return a meter of a machine that always draws so much."""

    @contextmanager
    def measured(device: torch.device) -> Iterator[Meter]:
        meter, started = Meter(), clock.time
        yield meter
        meter.joules = None if watts is None else watts * (clock.time - started)

    return measured


class Model(nn.Module):
    """A model that takes ``cost`` seconds for a batch, and so much again at a length that it has not seen."""

    def __init__(self, clock: Clock, cost: Callable[[int, int], float], first: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))
        self.clock, self.cost, self.first = clock, cost, first
        self.asked: list[tuple[int, int]] = []
        self.modes: set[tuple[bool, bool, torch.dtype]] = set()

    def forward(self, input_ids: Tensor, **_: Tensor) -> None:
        rows, length = input_ids.shape
        self.clock.time += self.cost(rows, length) + self.first * ((rows, length) not in self.asked)
        self.asked.append((rows, length))
        self.modes.add((self.training, torch.is_inference_mode_enabled(), (self.weight @ self.weight).dtype))


def ask(model: Model, examples: Examples, rows: int = 4, precision: str = "fp32") -> dict[str, float]:
    return speed.inference(model, examples, precision, rows=rows, within=0.05, at_most=9.0)


def test_a_split_that_fits_a_round_is_asked_whole_and_padding_is_no_token(clock: Clock, examples: Examples) -> None:
    found = ask(Model(clock, lambda rows, length: 1e-4 * rows * length, first=2.0), examples)
    by_hand = [np.sort(examples.lengths)[::-1][start : start + 4] for start in range(0, 30, 4)]
    seconds = sum(1e-4 * len(lengths) * lengths.max() for lengths in by_hand)
    assert found == {
        "inference_pairs_per_second": pytest.approx(30 / seconds),
        "inference_pairs_per_second_low": pytest.approx(30 / seconds),
        "inference_pairs_per_second_high": pytest.approx(30 / seconds),
        "inference_tokens_per_second": pytest.approx(examples.lengths.sum() / seconds),
        "inference_rounds": 6,
    }


def test_a_round_of_a_slow_model_asks_batches_spread_over_the_lengths(clock: Clock, examples: Examples) -> None:
    """Of eight batches, each two fifths of a round, three make one: the second, the fifth and the seventh."""
    model = Model(clock, lambda rows, length: speed.ROUND / 2.5)
    found = ask(model, examples)
    ordered = list(batches.by_length(examples.lengths, 4))
    expected = [(len(ordered[place]), int(examples.lengths[ordered[place]].max())) for place in (1, 4, 6)]
    assert model.asked[2:] == expected * (1 + 6)
    assert found["inference_pairs_per_second"] == pytest.approx(12 / (3 * speed.ROUND / 2.5))


def test_the_ends_of_a_rate_are_those_of_its_rounds(clock: Clock, examples: Examples) -> None:
    """One batch of all; rounds of 1, 2, ... 9 seconds: the second and the eighth bound the median of nine."""
    seconds = iter([1.0, 1.0, 1.0, 5, 3, 9, 1, 7, 2, 8, 4, 6])
    found = speed.inference(
        Model(clock, lambda rows, length: next(seconds)), examples, "fp32", rows=30, within=0.01, at_most=45.0
    )
    assert found["inference_pairs_per_second"] == pytest.approx(30 / 5)
    assert found["inference_pairs_per_second_low"] == pytest.approx(30 / 8)
    assert found["inference_pairs_per_second_high"] == pytest.approx(30 / 2)
    assert found["inference_rounds"] == 9


@pytest.mark.parametrize(("precision", "kind"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_a_model_is_asked_in_the_precision_without_dropout_and_left_as_it_was(
    clock: Clock, examples: Examples, precision: str, kind: torch.dtype
) -> None:
    model = Model(clock, lambda rows, length: 0.1).train()
    ask(model, examples, precision=precision)
    speed.latency(model, examples, precision, rows=1, calls=5)
    assert model.modes == {(False, True, kind)}
    assert model.training


def test_joules_are_those_of_the_rounds_that_count(
    clock: Clock, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "measured", metered(clock, WATTS))
    found = ask(Model(clock, lambda rows, length: 1.0, first=9.0), examples, rows=30)
    assert found["inference_joules_per_pair"] == pytest.approx(WATTS * 1.0 / 30)


def test_latencies_are_those_of_calls_in_the_splits_own_order_after_a_warm_up(clock: Clock, examples: Examples) -> None:
    model = Model(clock, lambda rows, length: 0.001 * rows * length, first=9.0)
    found = speed.latency(model, examples, "fp32", rows=2, calls=29)
    lengths = [max(examples.lengths[start : start + 2]) for start in range(29)]
    expected = np.percentile([2.0 * length for length in lengths], [50, 90, 95, 99])
    names = [f"latency_b2_p{share}_ms" for share in (50, 90, 95, 99)]
    assert found == {name: pytest.approx(value) for name, value in zip(names, expected, strict=True)}
    assert model.asked[-29:] == [(2, length) for length in lengths]
    assert len(model.asked) == 29 + len(set(lengths))


def test_calls_are_spread_over_the_split_and_start_over_where_it_is_too_short(clock: Clock, examples: Examples) -> None:
    model = Model(clock, lambda rows, length: 0.001)
    speed.latency(model, examples, "fp32", rows=1, calls=3)
    assert model.asked[-3:] == [(1, examples.lengths[row]) for row in (0, 14, 29)]
    found = speed.latency(model, examples, "fp32", rows=64, calls=2)
    assert model.asked[-1] == (64, examples.lengths.max())
    assert found["latency_b64_p50_ms"] == pytest.approx(1.0)


class Run:
    """Training on a clock: the seconds of each part are given, those of forward and backward for a token."""

    device = CPU

    def __init__(self, clock: Clock, examples: Examples, step: float) -> None:
        self.clock, self.examples, self.step = clock, examples, step
        self.done: list[str] = []
        self.place = 0

    def take(self) -> Batch:
        self._pass("take", 0.1)
        self.place += 1
        return batches.collate(self.examples, np.arange(self.place % 3, self.place % 3 + 4))

    def forward(self, batch: Batch) -> Tensor:
        self._pass("forward", 0.2)
        return torch.tensor(1.0)

    def backward(self, loss: Tensor) -> None:
        self._pass("backward", 0.4)

    def update(self) -> None:
        self._pass("update", 0.3)

    def _pass(self, name: str, share: float) -> None:
        self.done.append(name)
        self.clock.time += share * self.step


def test_rates_count_pairs_and_real_tokens_of_whole_steps(clock: Clock, examples: Examples) -> None:
    """At 0.04 seconds a step four make a round; six rounds follow three steps and 1 + 2 + 4 that find this out."""
    run = Run(clock, examples, step=0.04)
    found = speed.training(run, within=0.05, at_most=2.0)
    firsts = [place % 3 for place in range(11, 11 + 24)]
    tokens = np.array([examples.lengths[first : first + 4].sum() for first in firsts])
    assert found == {
        "train_pairs_per_second": pytest.approx(4 / 0.04),
        "train_pairs_per_second_low": pytest.approx(4 / 0.04),
        "train_pairs_per_second_high": pytest.approx(4 / 0.04),
        "train_tokens_per_second": pytest.approx(np.median(tokens.reshape(6, 4).sum(1)) / 0.16),
        "train_step_ms": pytest.approx(40),
        "train_rounds": 6,
        "train_data_ms": pytest.approx(4),
        "train_forward_ms": pytest.approx(8),
        "train_backward_ms": pytest.approx(16),
        "train_update_ms": pytest.approx(12),
    }
    assert run.done == ["take", "forward", "backward", "update"] * (len(run.done) // 4)
    assert len(run.done) // 4 == 3 + 7 + 24 + 13  # the last, taken apart, fill a quarter of two seconds


def test_joules_of_training_are_those_of_whole_steps(
    clock: Clock, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "measured", metered(clock, WATTS))
    found = speed.training(Run(clock, examples, step=0.5), within=0.05, at_most=2.0)
    assert found["train_joules_per_pair"] == pytest.approx(WATTS * 0.5 / 4)


class Pair(ProcessGroup):
    """Two processes that measure the same, the verdicts of which are those of ``agreed``."""

    def __init__(self, agreed: Callable[[bool], bool]) -> None:
        super().__init__(0, 2)
        object.__setattr__(self, "broadcast", agreed)

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        return 2 * tensor


def test_processes_make_equally_many_steps_though_one_is_slower(clock: Clock, examples: Examples) -> None:
    """The second process hears the first one's verdicts, and so does as it does."""
    verdicts: list[bool] = []
    first = Run(clock, examples, step=0.04)
    speed.training(first, 0.05, 2.0, Pair(lambda own: verdicts.append(own) or own))
    heard = iter(verdicts)
    second = Run(clock, examples, step=0.4)
    speed.training(second, 0.05, 2.0, Pair(lambda own: next(heard)))
    assert second.done == first.done
    assert next(heard, None) is None


def test_rates_are_those_of_all_processes_round_by_round(clock: Clock, examples: Examples) -> None:
    alone = speed.training(Run(clock, examples, step=0.04), 0.05, 2.0)
    both = speed.training(Run(clock, examples, step=0.04), 0.05, 2.0, Pair(bool))
    for name, value in alone.items():
        assert both[name] == pytest.approx(2 * value if "_per_second" in name else value)


def test_a_real_model_answers(model: BertForSequenceClassification, examples: Examples) -> None:
    found = speed.inference(model, examples, "fp32", rows=8, within=0.5, at_most=0.1)
    assert found["inference_pairs_per_second_low"] <= found["inference_pairs_per_second"]
    assert 0 < found["inference_pairs_per_second"] <= found["inference_pairs_per_second_high"]
    waits = speed.latency(model, examples, "bf16", rows=3, calls=10)
    assert 0 < waits["latency_b3_p50_ms"] <= waits["latency_b3_p90_ms"] <= waits["latency_b3_p99_ms"]


def test_real_training_is_taken_apart(
    model: BertForSequenceClassification, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "ROUND", 0.01)
    recipe = Recipe(
        learning_rate=1e-3, batch_size=4, epochs=None, steps=4000, warmup=0.1, weight_decay=0.0, clip=1.0, evaluations=1
    )
    run = running.Trainer(model.train(), examples, recipe, seed=0)
    found = speed.training(run, within=0.5, at_most=0.1)
    assert 0 < found["train_pairs_per_second_low"] <= found["train_pairs_per_second"]
    assert run.rows.sum() < 4000 * 4
    assert found["train_tokens_per_second"] > 4 * found["train_pairs_per_second"]
    parts = [found[f"train_{name}_ms"] for name in ("data", "forward", "backward", "update")]
    assert min(parts) > 0
