from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.analysis.recommendation import equal_quality
from pipeline.analysis.recommendation.equal_quality import BELOW, BEYOND, CHEAPER, DEARER, NO_GAIN, WITHIN
from tests.analysis.places import FEW, beaten, drawn, priced

PLAIN = {"small": 0.6, "middle": 0.7, "large": 0.8}
BYTES = {"small": 1e6, "middle": 4e6, "large": 16e6}


def at_equal_quality(score: float, cost: float, spread: float = 0.0) -> equal_quality.EqualQualityCost:
    scores, costs = {**PLAIN, "cell": score}, {**BYTES, "cell": cost}
    (found,) = equal_quality.compute_equal_quality(drawn(scores, spread), priced(costs), list(PLAIN))
    return found


def test_a_plain_model_between_two_sizes_costs_what_lies_between_on_a_logarithmic_scale() -> None:
    found = at_equal_quality(0.75, 2e6)
    assert (found.plain_cost, found.ratio) == (pytest.approx(8e6), pytest.approx(0.25))
    assert (found.low, found.high) == (pytest.approx(0.25), pytest.approx(0.25))
    assert (found.where, found.verdict) == (WITHIN, CHEAPER)
    assert at_equal_quality(0.7, 4e6).ratio == pytest.approx(1)
    assert at_equal_quality(0.65, 4e6).verdict == DEARER


def test_a_score_above_the_best_plain_model_gives_a_bound_from_above() -> None:
    found = at_equal_quality(0.9, 8e6)
    assert (found.where, found.plain_cost, found.ratio) == (BEYOND, pytest.approx(16e6), pytest.approx(0.5))
    assert (found.low, found.high, found.verdict) == (0, pytest.approx(0.5), CHEAPER)
    assert at_equal_quality(0.9, 32e6).verdict == NO_GAIN


def test_a_score_below_the_smallest_plain_model_gives_a_bound_from_below_and_shows_no_gain() -> None:
    found = at_equal_quality(0.5, 5e5)
    assert (found.where, found.ratio) == (BELOW, pytest.approx(0.5))
    assert (found.low, found.high, found.verdict) == (pytest.approx(0.5), np.inf, NO_GAIN)
    assert at_equal_quality(0.5, 2e6).verdict == DEARER


def test_a_plain_model_that_another_beats_is_no_part_of_the_route() -> None:
    scores = {"small": 0.6, "worse": 0.55, "large": 0.8, "cell": 0.7}
    costs = {"small": 1e6, "worse": 2e6, "large": 16e6, "cell": 1e6}
    (found,) = equal_quality.compute_equal_quality(drawn(scores), priced(costs), ["worse", "large", "small"])
    assert found.plain_cost == pytest.approx(4e6)


def test_a_ratio_whose_interval_holds_one_is_no_gain_shown() -> None:
    sure, unsure = at_equal_quality(0.7, 3e6, 0.001), at_equal_quality(0.7, 3e6, 0.03)
    assert sure.high < 1
    assert sure.verdict == CHEAPER
    assert unsure.low < 1 < unsure.high
    assert unsure.verdict == NO_GAIN
    assert unsure.ratio == sure.ratio


def test_where_no_cell_repeats_a_seed_nothing_is_cheaper_or_dearer() -> None:
    scores, costs = {**PLAIN, "cell": 0.8}, {**BYTES, "cell": 1e6}
    (found,) = equal_quality.compute_equal_quality(
        replace(drawn(scores), expected_scores=None, intervals=None), priced(costs), list(PLAIN)
    )
    assert (found.ratio, found.low, found.high, found.verdict) == (pytest.approx(1 / 16), 0, np.inf, NO_GAIN)


@given(st.lists(st.tuples(FEW, st.integers(1, 5)), min_size=1, max_size=5), st.integers(-1, 9))
def test_the_plain_cost_is_interpolated_on_the_front(plain: list[tuple[int, int]], doubled: int) -> None:
    """Against numpy's interpolation over the cells that nothing beats."""
    kept = sorted({(cost, score) for score, cost in plain if not beaten((cost, score), [(c, s) for s, c in plain])})
    wanted = doubled / 2
    names = [f"p{index}" for index in range(len(plain))]
    scores = {**{name: float(score) for name, (score, _) in zip(names, plain, strict=True)}, "cell": wanted}
    costs = {**{name: 10.0**cost for name, (_, cost) in zip(names, plain, strict=True)}, "cell": 1.0}
    (found,) = equal_quality.compute_equal_quality(drawn(scores, resamples=2), priced(costs, 2), names)
    expected = 10 ** np.interp(wanted, [score for _, score in kept], [cost for cost, _ in kept])
    assert found.plain_cost == pytest.approx(expected)
    side = BEYOND if wanted > kept[-1][1] else BELOW if wanted < kept[0][1] else WITHIN
    assert found.where == side


def test_without_a_plain_cost_or_another_cell_there_is_nothing_to_compare() -> None:
    scores = drawn({"small": 0.6, "cell": 0.7})
    assert equal_quality.compute_equal_quality(scores, priced({"cell": 1}), ["small"]) == ()
    assert equal_quality.compute_equal_quality(scores, priced({"small": 1}), ["small"]) == ()
