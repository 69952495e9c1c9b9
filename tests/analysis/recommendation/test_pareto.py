from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.analysis.recommendation import pareto
from tests.analysis.places import FEW, beaten, drawn, priced


@given(st.lists(st.tuples(FEW, FEW), min_size=1, max_size=12))
def test_the_front_holds_what_no_other_cell_beats(cells: list[tuple[int, int]]) -> None:
    costs, scores = np.array(cells, float).T
    assert list(pareto.compute_front_mask(costs, scores)) == [not beaten(cell, cells) for cell in cells]


@given(st.lists(st.lists(st.tuples(FEW, FEW), min_size=5, max_size=5), min_size=1, max_size=6))
def test_each_row_has_a_front_of_its_own(draws: list[list[tuple[int, int]]]) -> None:
    costs, scores = np.moveaxis(np.array(draws, float), -1, 0)
    expected = [[not beaten(cell, cells) for cell in cells] for cells in draws]
    assert pareto.compute_front_mask(costs, scores).tolist() == expected
    same = pareto.compute_front_mask(costs[0], scores)
    assert same.tolist() == [pareto.compute_front_mask(costs[0], row).tolist() for row in scores]


def test_cells_equal_in_cost_and_score_stand_on_the_front_together() -> None:
    assert pareto.compute_front_mask(np.array([1.0, 1, 1, 2]), np.array([0.5, 0.5, 0.4, 0.5])).tolist() == [
        True,
        True,
        False,
        False,
    ]


def test_a_front_names_its_cells_from_cheap_to_dear_and_the_others() -> None:
    scores = {"big": 0.9, "small": 0.7, "poor": 0.6, "middle": 0.8}
    (found,) = pareto.compute_fronts(drawn(scores), [priced({"big": 30, "small": 10, "poor": 20, "middle": 20})])
    assert [place.cell for place in found.members] == ["small", "middle", "big"]
    assert [place.cell for place in found.others] == ["poor"]
    assert [place.probability for place in (*found.members, *found.others)] == [1, 1, 1, 0]
    assert (found.members[0].cost, found.members[0].low, found.members[0].high) == (10, 0.7, 0.7)


def test_a_cell_without_the_cost_stands_on_no_front_of_it_and_an_unknown_cost_has_none() -> None:
    scores = drawn({"a": 0.9, "b": 0.7})
    assert [[place.cell for place in one.members] for one in pareto.compute_fronts(scores, [priced({"b": 1})])] == [
        ["b"]
    ]
    assert pareto.compute_fronts(scores, [priced({})]) == ()


def test_the_probability_of_a_place_is_the_one_of_being_best_at_the_price() -> None:
    """Two cells at the same price: the better one stands on the front, each in half of the resamples for equal ones."""
    same = drawn({"a": 0.7, "b": 0.7}, 0.01, 4000)
    (found,) = pareto.compute_fronts(same, [priced({"a": 1, "b": 1}, 4000)])
    assert [place.probability for place in found.members] == pytest.approx([0.5, 0.5], abs=0.03)
    assert sum(place.probability for place in found.members) == pytest.approx(1)


def test_a_cost_that_differs_between_seeds_has_an_interval_and_a_place_that_is_not_sure() -> None:
    latency = pareto.build_cost_samples("latency_p50_ms", {"a": [1.0, 1.4, 1.2], "b": [1.1, 1.3, 1.5], "c": [2, 2, 2]})
    (found,) = pareto.compute_fronts(drawn({"a": 0.7, "b": 0.7, "c": 0.9}, resamples=2000), [latency])
    first, last = found.members
    assert (first.cell, first.cost) == ("a", pytest.approx(1.2))
    assert first.cost_low < first.cost < first.cost_high
    assert last.cost_low < 2 < last.cost_high  # three clocks that agree by chance are not exact
    assert 0 < found.others[0].probability < first.probability < 1


def test_where_no_cell_repeats_a_seed_a_front_has_no_intervals_and_no_probabilities() -> None:
    single = replace(drawn({"a": 0.7, "b": 0.6}), expected_scores=None, intervals=None)
    (found,) = pareto.compute_fronts(single, [priced({"a": 1, "b": 2})])
    assert [(place.cell, place.low, place.high, place.probability) for place in (*found.members, *found.others)] == [
        ("a", None, None, None), ("b", None, None, None),
    ]  # fmt: skip


def test_training_costs_what_all_that_went_into_it_cost() -> None:
    """A student of a teacher, pruned and trained on, then rounded without training; two cells share the teacher."""
    costs = {"teacher": 60.0, "alone": 10.0, "student": 12.0, "pruned": 5.0, "rounded": 0.0, "rounded teacher": 0.0}
    sources = {
        "teacher": None, "alone": None, "student": "teacher", "pruned": "student", "rounded": "pruned",
        "rounded teacher": "teacher",
    }  # fmt: skip
    assert pareto.compute_total_costs(costs, sources) == {
        "teacher": 60, "alone": 10, "student": 72, "pruned": 77, "rounded": 77, "rounded teacher": 60,
    }  # fmt: skip


def test_a_step_without_a_number_leaves_all_behind_it_unknown() -> None:
    sources = {"a": None, "b": "a", "c": "b", "d": "gone"}
    assert pareto.compute_total_costs({"a": 1, "b": None, "c": 2, "d": 3}, sources) == {
        "a": 1,
        "b": None,
        "c": None,
        "d": None,
    }
