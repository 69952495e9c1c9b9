import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.scaling import equal, fronts
from pipeline.scaling.draws import Draws
from pipeline.scaling.equal import BELOW, BEYOND, CHEAPER, DEARER, NO_GAIN, WITHIN
from pipeline.scaling.fronts import Prices

FEW = st.integers(0, 4)  # few values, so that there are ties


def drawn(scores: dict[str, float], spread: float = 0.0, resamples: int = 400) -> Draws:
    random, cells = np.random.default_rng(0), len(scores)
    values = np.array(list(scores.values()))
    return Draws(
        "t", "accuracy", 100, tuple(scores), ("",) * cells, values,
        values + spread * random.normal(size=(resamples, cells)), tuple(np.array([value]) for value in values),
        np.zeros((cells, cells)), np.zeros(cells),
    )  # fmt: skip


def priced(costs: dict[str, float], resamples: int = 400) -> Prices:
    return fronts.prices("storage_bytes", {name: [cost] for name, cost in costs.items()}, resamples)


def beaten(cell: tuple[int, int], others: list[tuple[int, int]]) -> bool:
    cost, score = cell
    return any(c <= cost and s >= score and (c < cost or s > score) for c, s in others)


@given(st.lists(st.tuples(FEW, FEW), min_size=1, max_size=12))
def test_the_front_holds_what_no_other_cell_beats(cells: list[tuple[int, int]]) -> None:
    costs, scores = np.array(cells, float).T
    assert list(fronts.front(costs, scores)) == [not beaten(cell, cells) for cell in cells]


@given(st.lists(st.lists(st.tuples(FEW, FEW), min_size=5, max_size=5), min_size=1, max_size=6))
def test_each_row_has_a_front_of_its_own(draws: list[list[tuple[int, int]]]) -> None:
    costs, scores = np.moveaxis(np.array(draws, float), -1, 0)
    expected = [[not beaten(cell, cells) for cell in cells] for cells in draws]
    assert fronts.front(costs, scores).tolist() == expected
    same = fronts.front(costs[0], scores)
    assert same.tolist() == [fronts.front(costs[0], row).tolist() for row in scores]


def test_cells_equal_in_cost_and_score_stand_on_the_front_together() -> None:
    assert fronts.front(np.array([1.0, 1, 1, 2]), np.array([0.5, 0.5, 0.4, 0.5])).tolist() == [True, True, False, False]


def test_a_front_names_its_cells_from_cheap_to_dear_and_the_others() -> None:
    scores = {"big": 0.9, "small": 0.7, "poor": 0.6, "middle": 0.8}
    (found,) = fronts.fronts(drawn(scores), [priced({"big": 30, "small": 10, "poor": 20, "middle": 20})])
    assert [place.cell for place in found.members] == ["small", "middle", "big"]
    assert [place.cell for place in found.others] == ["poor"]
    assert [place.probability for place in (*found.members, *found.others)] == [1, 1, 1, 0]
    assert (found.members[0].cost, found.members[0].low, found.members[0].high) == (10, 0.7, 0.7)


def test_a_cell_without_the_cost_stands_on_no_front_of_it_and_an_unknown_cost_has_none() -> None:
    scores = drawn({"a": 0.9, "b": 0.7})
    assert [[place.cell for place in one.members] for one in fronts.fronts(scores, [priced({"b": 1})])] == [["b"]]
    assert fronts.fronts(scores, [priced({})]) == ()


def test_the_probability_of_a_place_is_the_one_of_being_best_at_the_price() -> None:
    """Two cells at the same price: the better one stands on the front, each in half of the resamples for equal ones."""
    same = drawn({"a": 0.7, "b": 0.7}, 0.01, 4000)
    (found,) = fronts.fronts(same, [priced({"a": 1, "b": 1}, 4000)])
    assert [place.probability for place in found.members] == pytest.approx([0.5, 0.5], abs=0.03)
    assert sum(place.probability for place in found.members) == pytest.approx(1)


def test_a_cost_that_differs_between_seeds_has_an_interval_and_a_place_that_is_not_sure() -> None:
    latency = fronts.prices("latency_p50_ms", {"a": [1.0, 1.4, 1.2], "b": [1.1, 1.3, 1.5], "c": [2, 2, 2]})
    (found,) = fronts.fronts(drawn({"a": 0.7, "b": 0.7, "c": 0.9}, resamples=2000), [latency])
    first, last = found.members
    assert (first.cell, first.cost) == ("a", pytest.approx(1.2))
    assert first.cost_low < first.cost < first.cost_high
    assert (last.cost_low, last.cost_high) == (2, 2)
    assert 0 < found.others[0].probability < first.probability < 1


def test_training_costs_what_all_that_went_into_it_cost() -> None:
    """A student of a teacher, pruned and trained on, then rounded without training; two cells share the teacher."""
    costs = {"teacher": 60.0, "alone": 10.0, "student": 12.0, "pruned": 5.0, "rounded": 0.0, "rounded teacher": 0.0}
    sources = {
        "teacher": None, "alone": None, "student": "teacher", "pruned": "student", "rounded": "pruned",
        "rounded teacher": "teacher",
    }  # fmt: skip
    assert fronts.total(costs, sources) == {
        "teacher": 60, "alone": 10, "student": 72, "pruned": 77, "rounded": 77, "rounded teacher": 60,
    }  # fmt: skip


def test_a_step_without_a_number_leaves_all_behind_it_unknown() -> None:
    sources = {"a": None, "b": "a", "c": "b", "d": "gone"}
    assert fronts.total({"a": 1, "b": None, "c": 2, "d": 3}, sources) == {"a": 1, "b": None, "c": None, "d": None}


PLAIN = {"small": 0.6, "middle": 0.7, "large": 0.8}
BYTES = {"small": 1e6, "middle": 4e6, "large": 16e6}


def at_equal_quality(score: float, cost: float, spread: float = 0.0) -> equal.Equal:
    scores, costs = {**PLAIN, "cell": score}, {**BYTES, "cell": cost}
    (found,) = equal.equal(drawn(scores, spread), priced(costs), list(PLAIN))
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
    (found,) = equal.equal(drawn(scores), priced(costs), ["worse", "large", "small"])
    assert found.plain_cost == pytest.approx(4e6)


def test_a_ratio_whose_interval_holds_one_is_no_gain_shown() -> None:
    sure, unsure = at_equal_quality(0.7, 3e6, 0.001), at_equal_quality(0.7, 3e6, 0.03)
    assert sure.high < 1
    assert sure.verdict == CHEAPER
    assert unsure.low < 1 < unsure.high
    assert unsure.verdict == NO_GAIN
    assert unsure.ratio == sure.ratio


@given(st.lists(st.tuples(FEW, st.integers(1, 5)), min_size=1, max_size=5), st.integers(-1, 9))
def test_the_plain_cost_is_interpolated_on_the_front(plain: list[tuple[int, int]], doubled: int) -> None:
    """Against numpy's interpolation over the cells that nothing beats."""
    kept = sorted({(cost, score) for score, cost in plain if not beaten((cost, score), [(c, s) for s, c in plain])})
    wanted = doubled / 2
    names = [f"p{index}" for index in range(len(plain))]
    scores = {**{name: float(score) for name, (score, _) in zip(names, plain, strict=True)}, "cell": wanted}
    costs = {**{name: 10.0**cost for name, (_, cost) in zip(names, plain, strict=True)}, "cell": 1.0}
    (found,) = equal.equal(drawn(scores, resamples=2), priced(costs, 2), names)
    expected = 10 ** np.interp(wanted, [score for _, score in kept], [cost for cost, _ in kept])
    assert found.plain_cost == pytest.approx(expected)
    side = BEYOND if wanted > kept[-1][1] else BELOW if wanted < kept[0][1] else WITHIN
    assert found.where == side


def test_without_a_plain_cost_or_another_cell_there_is_nothing_to_compare() -> None:
    scores = drawn({"small": 0.6, "cell": 0.7})
    assert equal.equal(scores, priced({"cell": 1}), ["small"]) == ()
    assert equal.equal(scores, priced({"small": 1}), ["small"]) == ()
