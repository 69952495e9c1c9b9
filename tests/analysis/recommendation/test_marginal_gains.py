from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.analysis.recommendation import marginal_gains
from pipeline.analysis.recommendation.marginal_gains import Improvement, LawPosition, MarginalGain


class Power:
    """error = E + A x^-a along one axis, its interval 20% to either side of the slope."""

    E, A, a = 0.05, 3.0, 0.4

    def error(self, x: float) -> float:
        return self.E + self.A * x**-self.a

    def predict(self, at: Sequence[tuple[float, ...]]) -> np.ndarray:
        return np.array([self.error(x) for (x,) in at])

    def predict_band(self, at: Sequence[tuple[float, ...]]) -> tuple[np.ndarray, np.ndarray]:
        return 0.9 * self.predict(at), 1.1 * self.predict(at)

    def compute_slope(self, at: tuple[float, ...], axis: int) -> tuple[float, float, float]:
        slope = -self.a * self.A * at[axis] ** (-self.a - 1)
        return slope, 1.2 * slope, 0.8 * slope


@pytest.mark.parametrize(
    ("key", "unit", "amount"),
    [("latency_p50_ms", "1 ms", 1), ("storage_bytes", "1e-06 MB", 1), ("inference_memory_mib", "1 MiB", 1)],
)
def test_one_more_unit_of_a_cost_that_follows_size_buys_what_the_law_and_the_cost_say(
    key: str, unit: str, amount: float
) -> None:
    """cost = 0.002 N^0.7, 19.5 at N = 500,000: against the law at the size that a little more cost allows."""
    law, size = Power(), 5e5
    costs = [(number, 0.002 * number**0.7) for number in (1e5, 5e5, 2e6)]
    cost = 0.002 * size**0.7
    found = marginal_gains.compute_gain(key, LawPosition(law, (size,)), cost, costs)
    step = 1e-5 * cost
    bought = (law.error(size) - law.error(((cost + step) / 0.002) ** (1 / 0.7))) / step * amount
    assert found.unit == unit
    assert found.value == pytest.approx(bought, rel=1e-4)
    assert (found.low, found.high) == (pytest.approx(0.8 * found.value), pytest.approx(1.2 * found.value))


def test_more_examples_buy_the_slope_of_the_law_of_data() -> None:
    law = Power()
    found = marginal_gains.compute_gain("train_examples", LawPosition(law, (7.0, 900.0), axis=1), 900, ())
    assert found == MarginalGain("train_examples", "100 labelled examples", *(pytest.approx(100 * x) for x in (
        0.4 * 3 * 900**-1.4, 0.8 * 0.4 * 3 * 900**-1.4, 1.2 * 0.4 * 3 * 900**-1.4,
    )))  # fmt: skip


def test_one_more_second_buys_flops_at_the_rate_of_the_cell() -> None:
    law = Power()
    found = marginal_gains.compute_gain("train_seconds", LawPosition(law, (6e11,)), 6.0, ())
    assert found.value == pytest.approx(law.error(6e11) - law.error(7e11), rel=0.15)
    assert found.value == pytest.approx(0.4 * 3 * 6e11**-0.4 / 6)


def test_what_cannot_be_known_says_why() -> None:
    route, rising, level = LawPosition(Power(), (1e5,)), [(1e5, 1.0), (2e5, 2.0)], [(1e5, 2.0), (2e5, 1.0)]
    assert (
        marginal_gains.compute_gain("latency_p50_ms", LawPosition(None, why_not="two sizes"), 1, rising).why_not
        == "two sizes"
    )
    assert (
        marginal_gains.compute_gain("latency_p50_ms", route, None, rising).why_not
        == "the cell's own cost was not measured"
    )
    falls = "the cost does not grow with size over these models"
    assert marginal_gains.compute_gain("latency_p50_ms", route, 1, level).why_not == falls
    assert marginal_gains.compute_gain("latency_p50_ms", route, 1, rising[:1]).why_not == falls
    (found,) = marginal_gains.compute_gains({}, {"train_examples": 90}, {})
    assert found == MarginalGain("train_examples", "10 labelled examples", why_not="there is no law")


def test_the_gain_of_each_stated_budget_takes_the_law_of_its_kind() -> None:
    routes = {marginal_gains.SIZE: LawPosition(Power(), (1e5,)), marginal_gains.DATA: LawPosition(Power(), (900.0,))}
    sizes = {"storage_bytes": [(1e5, 4e5), (2e5, 8e5)]}
    found = marginal_gains.compute_gains(
        routes, {"storage_bytes": 4e5, "train_examples": 900, "train_seconds": 3}, sizes
    )
    assert [(gain.key, gain.value is None) for gain in found] == [
        ("storage_bytes", False), ("train_examples", False), ("train_seconds", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("key", "cost", "unit"),
    [
        ("latency_p50_ms", 0.88, "0.1 ms"),
        ("latency_p50_ms", 5.0, "1 ms"),
        ("storage_bytes", 59.1e6, "10 MB"),
        ("storage_bytes", 600e3, "0.1 MB"),
        ("train_examples", 3.0, "1 labelled examples"),
        ("train_seconds", 0.0, "1 s of training"),
    ],
)
def test_a_unit_is_small_against_the_cost(key: str, cost: float, unit: str) -> None:
    assert marginal_gains.compute_gain(key, LawPosition(None), cost, ()).unit == unit


def test_a_unit_of_a_cost_that_hardly_follows_size_is_small_in_size() -> None:
    """500 MiB that go as N^0.02: 10 MiB more would double the size, 1 MiB more takes a tenth."""
    sizes = [(size, 400 * size**0.02) for size in (1e4, 1e5, 1e6)]
    found = marginal_gains.compute_gain("inference_memory_mib", LawPosition(Power(), (1e5,)), 500.0, sizes)
    assert found.unit == "1 MiB"
    assert found.value == pytest.approx(0.4 * 3 * 1e5**-0.4 / (0.02 * 500))


def test_the_exponent_of_a_cost_is_found() -> None:
    assert marginal_gains.fit_elasticity([(size, 3 * size**0.6) for size in (10, 50, 90)]) == pytest.approx(0.6)
    assert marginal_gains.fit_elasticity([(10, 1), (10, 2)]) is None


def test_the_way_to_beat_a_baseline_is_the_smallest_step_whose_whole_interval_does() -> None:
    """error = 0.05 + 3 x^-0.4; the upper interval's end is 1.1 times that."""
    law = Power()
    found = marginal_gains.find_improvement(marginal_gains.DATA, LawPosition(law, (100.0,)), 0.6)
    assert found == Improvement(marginal_gains.DATA, 5, 500.0, pytest.approx(1 - law.error(500)))
    assert 1 - 1.1 * law.error(200) < 0.6 < 1 - 1.1 * law.error(500)
    assert marginal_gains.find_improvement(marginal_gains.DATA, LawPosition(law, (100.0,)), 0.99) is None
    assert marginal_gains.find_improvement(marginal_gains.DATA, LawPosition(None), 0.6) is None
