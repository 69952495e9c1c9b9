"""The interval of a median against scipy and against many samples; rounds that end when they should."""

from collections.abc import Callable, Iterable

import numpy as np
import pytest
import torch
from scipy.stats import quantile_test

from pipeline.evaluation.cost import timing
from pipeline.evaluation.cost.timing import Timing, interval, measure, percentiles


def of(rounds: Iterable[float]) -> Callable[[], float]:
    """Return a round whose seconds are those given, one after another."""
    return iter(rounds).__next__


@pytest.mark.parametrize("count", [6, 7, 8, 17, 30, 101])
def test_the_interval_of_a_median_is_that_of_scipys_quantile_test(count: int) -> None:
    samples = np.random.default_rng(count).lognormal(0, 0.3, count)
    expected = quantile_test(samples, q=float(np.median(samples)), p=0.5).confidence_interval(0.95)
    assert interval(list(samples)) == (pytest.approx(np.median(samples)), expected.low, expected.high)


def test_below_six_samples_the_extremes_stand_for_the_interval() -> None:
    assert interval([3.0, 1.0, 2.0, 9.0]) == (2.5, 1.0, 9.0)
    assert interval([4.0]) == (4.0, 4.0, 4.0)


@pytest.mark.parametrize("count", [6, 20, 50])
def test_the_interval_holds_the_true_median_as_often_as_it_says(count: int) -> None:
    """2,000 samples of a skewed distribution with median 1: at least 95%, less three standard errors of the share."""
    random = np.random.default_rng(count)
    samples = random.lognormal(0, 0.5, (2000, count))
    held = [low <= 1 <= high for _, low, high in map(interval, samples.tolist())]
    assert 0.95 - 3 * np.sqrt(0.95 * 0.05 / 2000) <= np.mean(held) <= 0.985


def test_ending_when_the_interval_is_narrow_costs_it_little_of_its_confidence() -> None:
    random = np.random.default_rng(0)
    held = []
    for _ in range(1000):
        found = measure(lambda: float(random.lognormal(0, 0.1)), within=0.05, at_most=200)
        assert found.narrow
        held.append(found.low <= 1 <= found.high)
    assert np.mean(held) >= 0.92


def test_rounds_end_when_both_ends_are_near_the_median() -> None:
    """Six rounds have their extremes as interval; of nine the second smallest and the second largest."""
    rounds = [1.0, 1.0, 1.0, 1.0, 1.0, 1.2, 1.0, 1.0, 1.0, 1.0]
    assert measure(of(rounds), within=0.1, at_most=99) == Timing(1.0, 1.0, 1.0, 9, True)
    assert measure(of(rounds), within=0.2, at_most=99) == Timing(1.0, 1.0, 1.2, 6, True)


def test_five_equal_rounds_are_too_few_to_be_sure() -> None:
    assert measure(of([1.0] * 9), within=0.1, at_most=0, least=5) == Timing(1.0, 1.0, 1.0, 5, False)


def test_rounds_end_when_the_time_is_up_but_not_before_there_are_enough() -> None:
    rounds = [1.0, 3.0] * 50
    assert measure(of(rounds), within=0.1, at_most=12).rounds == 6
    assert measure(of(rounds), within=0.1, at_most=0, least=7) == Timing(1.0, 1.0, 3.0, 7, False)


def test_the_verdict_that_counts_is_the_one_agreed_on() -> None:
    """A process that has seen enough goes on with the others, and one that has not ends with them."""
    verdicts = []

    def first(own: bool) -> bool:
        verdicts.append(own)
        return len(verdicts) == 8

    assert measure(of([1.0] * 9), within=0.1, at_most=99, agree=first).rounds == 8
    assert verdicts == [False] * 5 + [True] * 3
    assert measure(of([1.0, 2.0]), within=0.1, at_most=99, agree=lambda own: True) == Timing(1.0, 1.0, 1.0, 1, False)


def test_percentiles_are_interpolated() -> None:
    assert percentiles(range(101)) == {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}
    assert percentiles([1.0, 3.0])["p50"] == 2.0


def test_the_clock_waits_for_a_gpu_and_for_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[object] = []
    monkeypatch.setattr(torch.cuda, "synchronize", events.append)
    monkeypatch.setattr(timing.time, "perf_counter", lambda: events.append("clock") or 7.0)
    gpu = torch.device("cuda", 1)
    assert timing.now(gpu) == 7.0
    assert events == [gpu, "clock"]
    timing.now(torch.device("cpu"))
    assert events == [gpu, "clock", "clock"]
