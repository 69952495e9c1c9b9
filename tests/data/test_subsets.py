"""Subsets are nested, stratified at every size, and the same wherever they are drawn."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.core.errors import UserError
from pipeline.data import subsets

SEEDS = st.integers(0, 2**32 - 1)
TWO_OR_THREE_CLASSES = st.lists(st.integers(0, 2), min_size=1, max_size=300)


@given(TWO_OR_THREE_CLASSES, SEEDS)
def test_an_order_holds_every_row_once(strata: list[int], seed: int) -> None:
    assert sorted(subsets.order(strata, seed)) == list(range(len(strata)))


@settings(deadline=None)
@given(TWO_OR_THREE_CLASSES, SEEDS)
def test_every_prefix_holds_each_class_in_proportion_to_less_than_one_row(strata: list[int], seed: int) -> None:
    assert worst_deviation(strata, subsets.order(strata, seed)) < 1


@settings(deadline=None)
@given(st.lists(st.integers(0, 7), min_size=1, max_size=200), SEEDS)
def test_with_many_classes_the_deviation_keeps_to_the_bound_that_is_stated(strata: list[int], seed: int) -> None:
    classes = len(set(strata))
    largest = max(strata.count(stratum) for stratum in set(strata)) / len(strata)
    assert worst_deviation(strata, subsets.order(strata, seed)) <= 0.5 + largest * max(classes - 2, 0) / 2 + 1e-9


def worst_deviation(strata: list[int], order: list[int]) -> float:
    """The largest distance, over all prefixes and classes, of a class's rows from its share of the prefix."""
    drawn = np.array([strata[row] for row in order])
    sizes = np.arange(1, len(drawn) + 1)
    return max(
        float(np.abs(np.cumsum(drawn == stratum) - sizes * (drawn == stratum).mean()).max()) for stratum in set(strata)
    )


@settings(deadline=None)
@given(st.integers(1, 500), st.floats(0.001, 1), st.floats(0.001, 1))
def test_a_smaller_subset_lies_inside_a_larger_one(rows: int, one: float, other: float) -> None:
    assume(subsets.size(rows, min(one, other)))
    table = pa.table({"idx": list(range(rows))})
    small, large = (subsets.take(table, ratio)["idx"].to_pylist() for ratio in sorted((one, other)))
    assert large[: len(small)] == small
    assert abs(len(large) - rows * max(one, other)) <= 0.5


def test_the_whole_is_a_subset_of_itself() -> None:
    table = pa.table({"idx": [3, 1, 2]})
    assert subsets.take(table, 1).equals(table)


@pytest.mark.parametrize(("labels", "least"), [([1, 1, 0] * 100, 0.01), ([0] * 299 + [1], 1), ([0.5] * 300, 0.0034)])
def test_a_subset_without_rows_is_refused_with_the_least_ratio_that_holds_every_class(
    labels: list[float], least: float
) -> None:
    table = pa.table({"label": labels})
    with pytest.raises(UserError) as error:
        subsets.take(table, 0.001)
    assert str(error.value) == (
        f"ratio: got 0.001, which is none of the 300 rows; give at least {least:g}, with which every class appears"
    )
    assert set(subsets.take(table, least)["label"].to_pylist()) == set(labels)


@pytest.mark.parametrize("ratio", [0, -0.1, 1.5, math.nan])
def test_a_ratio_outside_zero_to_one_is_refused(ratio: float) -> None:
    with pytest.raises(UserError) as error:
        subsets.size(10, ratio)
    assert str(error.value) == f"ratio: got {ratio}; a ratio is a number above 0 and at most 1"


def test_the_order_is_that_of_the_seed_and_of_no_library_version() -> None:
    assert subsets.order([0, 0, 0, 1, 1, 1, 0, 0], seed=0) == [7, 5, 2, 6, 4, 1, 3, 0]
    assert subsets.order([0, 0, 0, 1, 1, 1, 0, 0], seed=1) == [2, 5, 6, 0, 4, 7, 3, 1]


def test_other_seeds_draw_other_rows_about_as_often() -> None:
    drawn = np.zeros(40)
    for seed in range(300):
        drawn[subsets.order([0] * 30 + [1] * 10, seed)[:10]] += 1
    assert drawn.min() > 300 * 10 / 40 * 0.6
    assert drawn.max() < 300 * 10 / 40 * 1.4


def test_the_rows_that_select_are_stratified_and_are_gone_from_train() -> None:
    labels = np.array([0] * 70 + [1] * 30)
    kept, chosen = subsets.carve(labels, False, 0.1, seed=5)
    assert sorted(kept + chosen) == list(range(100))
    assert np.bincount(labels[chosen]).tolist() == [7, 3]
    assert kept == sorted(kept)
    assert chosen == sorted(chosen)


def test_other_seeds_of_selection_carve_other_rows() -> None:
    labels = np.array([0, 1] * 20)
    assert subsets.carve(labels, False, 0.2, seed=0) != subsets.carve(labels, False, 0.2, seed=1)


def test_a_regression_is_stratified_by_tenths_of_its_labels() -> None:
    labels = np.random.RandomState(0).permutation(200) / 40
    strata = subsets.strata(labels, regression=True)
    assert sorted(strata) == sorted(list(range(10)) * 20)
    for low in range(9):
        highest = max(label for label, stratum in zip(labels, strata, strict=True) if stratum == low)
        lowest = min(label for label, stratum in zip(labels, strata, strict=True) if stratum == low + 1)
        assert highest < lowest
    assert worst_deviation(strata, subsets.order(strata, 0)) < 1


def test_many_equal_labels_of_a_regression_still_make_even_strata() -> None:
    assert subsets.strata(np.zeros(20), regression=True) == [rank // 2 for rank in range(20)]
