import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from pipeline.analysis.statistics import bootstrap, pair_errors, pairwise_tests, task_scores
from pipeline.analysis.statistics.bootstrap import CellPredictions, ScoreSamples
from pipeline.analysis.statistics.pairwise_tests import BETTER, NOT_SIGNIFICANT, WORSE, PairwiseTest, PairwiseTests
from pipeline.analysis.statistics.task_scores import CellTraits


def make_draws(*by_seed: list[float], covariance: np.ndarray | None = None) -> ScoreSamples:
    cells, values = len(by_seed), tuple(np.array(numbers) for numbers in by_seed)
    return ScoreSamples(
        "t", "accuracy", 1000, tuple("abcdefgh"[:cells]), np.array([numbers.mean() for numbers in values]), values,
        np.zeros((cells, cells)) if covariance is None else covariance, np.zeros(cells),
    )  # fmt: skip


def compare(drawn: ScoreSamples) -> PairwiseTests:
    """Return differences with errors from the spread that the cells share, as a comparison computes them."""
    facts = {name: CellTraits("m", 1.0, [False] * len(of)) for name, of in zip(drawn.names, drawn.by_seed, strict=True)}
    posterior = task_scores.estimate_posterior(drawn, facts, 0.0)
    errors = None if posterior is None else pair_errors.compute_pair_errors(posterior, drawn.covariance)
    return pairwise_tests.compute_pairwise_tests(drawn, errors)


def test_a_pair_is_tested_by_students_t() -> None:
    (found,) = pairwise_tests.compute_pairwise_tests(
        make_draws([0.70], [0.79]), (np.array([0.03]), np.array([4.0]))
    ).pairs
    assert (found.difference, found.error, found.degrees) == pytest.approx((-0.09, 0.03, 4))
    assert found.p == found.corrected_p == pytest.approx(2 * stats.t.sf(3, 4))
    half = 0.03 * stats.t.isf(0.025, 4)
    assert (found.low, found.high) == pytest.approx((-0.09 - half, -0.09 + half))
    assert found.verdict == WORSE


def test_one_seed_per_cell_gives_no_statement_of_significance() -> None:
    """Cells that are forty points apart: nothing is known about the spread over seeds."""
    found = compare(make_draws([0.95], [0.55], [0.54], covariance=1e-6 * np.eye(3)))
    for pair in found.pairs:
        assert pair == PairwiseTest(
            pair.one, pair.other, pair.difference, None, None, None, None, None, None, None, None, NOT_SIGNIFICANT
        )
        assert pair.opposite.opposite == pair
    assert not found.is_significant("a", "c")


def test_examples_that_two_cells_share_do_not_blur_their_difference() -> None:
    alike, apart = (np.array([[4e-4, shared], [shared, 4e-4]]) for shared in (3.9e-4, 0))
    steady = [0.800, 0.801, 0.799], [0.770, 0.771, 0.769]
    assert compare(make_draws(*steady, covariance=alike)).pairs[0].verdict == BETTER
    assert compare(make_draws(*steady, covariance=apart)).pairs[0].verdict == NOT_SIGNIFICANT


def test_seeds_that_agree_by_chance_are_taken_to_spread_as_those_of_other_cells() -> None:
    lucky = compare(make_draws([0.70, 0.70, 0.70], [0.72, 0.72, 0.72], [0.5, 0.6, 0.7], [0.4, 0.5, 0.6]))
    assert lucky.get_test("a", "b").verdict == NOT_SIGNIFICANT
    assert (lucky.get_test("a", "b").error or 0) > 0.01


def test_a_cell_with_a_larger_spread_than_the_others_keeps_it() -> None:
    steady = [[0.70, 0.701, 0.702], [0.71, 0.711, 0.712], [0.72, 0.721, 0.722], [0.73, 0.731, 0.732]]
    found = compare(make_draws(*steady, [0.6, 0.7, 0.8]))
    assert (found.get_test("a", "e").error or 0) > 5 * (found.get_test("a", "b").error or 1)


def test_cells_of_one_seed_take_the_spread_of_the_others() -> None:
    found = compare(make_draws([0.78, 0.80, 0.82], [0.81], [0.80]))
    assert (found.get_test("b", "c").error or 0) > 0.015
    assert (found.get_test("b", "c").error or 0) > (found.get_test("a", "b").error or 1)


def test_holm_corrects_for_all_pairs() -> None:
    random = np.random.default_rng(0)
    found = compare(make_draws(*[list(random.normal(0.7 + 0.03 * cell, 0.02, 3)) for cell in range(6)]))
    significant, corrected, *_ = multipletests([pair.p for pair in found.pairs], 0.05, "holm")
    assert [pair.corrected_p for pair in found.pairs] == pytest.approx(corrected)
    assert [pair.verdict != NOT_SIGNIFICANT for pair in found.pairs] == list(significant)
    assert {pair.verdict for pair in found.pairs} >= {NOT_SIGNIFICANT, WORSE}


@pytest.mark.parametrize("seed", range(20))
def test_the_corrected_interval_agrees_with_the_verdict(seed: int) -> None:
    random = np.random.default_rng(seed)
    scores = [[score] for score in np.linspace(0, 0.2, 8) + random.normal(0, 0.02, 8)]
    errors = (random.uniform(0.01, 0.03, 28), random.uniform(4, 30, 28))
    for pair in pairwise_tests.compute_pairwise_tests(make_draws(*scores), errors).pairs:
        ends = (pair.corrected_low, pair.corrected_high, pair.corrected_p, pair.p)
        low, high, corrected, p = (float("nan") if end is None else end for end in ends)
        assert low <= pair.difference <= high
        assert (low < 0 < high) == (pair.verdict == NOT_SIGNIFICANT)
        assert pair.verdict == NOT_SIGNIFICANT or (pair.verdict == BETTER) == (pair.difference > 0)
        assert corrected >= p


def test_a_pair_reads_from_both_sides() -> None:
    names = "abcd"
    found = compare(make_draws([0.1, 0.12], [0.3, 0.32], [0.5, 0.52], [0.9, 0.92]))
    assert [(pair.one, pair.other) for pair in found.pairs] == list(itertools.combinations(names, 2))
    for one, other in itertools.permutations(names, 2):
        pair = found.get_test(one, other)
        assert (pair.one, pair.other) == (one, other)
        assert pair.difference == pytest.approx(found.scores[names.index(one)] - found.scores[names.index(other)])
    there, back = found.get_test("d", "a"), found.get_test("a", "d")
    assert there.opposite == back
    assert (there.verdict, back.verdict) == (BETTER, WORSE)


def test_the_best_cells_are_those_not_significantly_different_from_the_best() -> None:
    found = compare(make_draws([0.5, 0.51, 0.52], [0.8, 0.81, 0.82], [0.805, 0.815, 0.825]))
    assert found.list_best() == ("c", "b")
    assert found.is_significant("a", "b")
    assert not found.is_significant("b", "c")
    assert not found.is_significant("b", "b")


def test_a_single_cell_has_no_pairs() -> None:
    found = compare(make_draws([0.5, 0.6]))
    assert ([*found.pairs], found.list_best()) == ([], ("a",))


def test_cells_that_truly_differ_are_significantly_different_from_their_answers() -> None:
    """From predictions to verdicts: 90, 80 and 79 right of a hundred, 1500 examples, three seeds."""
    random = np.random.default_rng(3)
    labels = random.integers(0, 2, 1500)

    def cell(name: str, right: float) -> CellPredictions:
        hit = random.random((3, 1500)) < right
        return CellPredictions(name, "t", np.where(hit, labels, 1 - labels), labels, "accuracy")

    found = compare(bootstrap.sample_scores([cell("good", 0.9), cell("fair", 0.8), cell("even", 0.79)]))
    assert [found.is_significant("good", other) for other in ("fair", "even")] == [True, True]
    assert not found.is_significant("fair", "even")


def test_a_difference_turned_twice_is_itself() -> None:
    pair = PairwiseTest("a", "b", 0.1, 0.02, 4, 0.05, 0.15, 0.01, 0.0, 0.2, 0.04, BETTER)
    assert pair.opposite.opposite == pair
    assert pair.opposite == replace(
        pair, one="b", other="a", difference=-0.1, low=-0.15, high=-0.05, corrected_low=-0.2, corrected_high=-0.0,
        verdict=WORSE,
    )  # fmt: skip


def test_cells_that_answer_alike_are_never_significantly_different_and_every_number_is_finite() -> None:
    """What seeds make of single examples is then all that seeds make, and the variance is rounding alone."""
    random = np.random.default_rng(0)
    labels = (np.arange(400) >= 40).astype(int)  # 0.1 once is not the mean of 0.1 thrice, by the last digit
    answers = np.where(random.random((3, 400)) < 0.8, labels, 1 - labels)
    one = np.zeros((1, 400), int)
    cells = {"a": answers, "b": answers, "c": answers[::-1], "all 0": one, "all 0 thrice": np.repeat(one, 3, 0)}
    found = compare(
        bootstrap.sample_scores(
            [CellPredictions(name, "t", values, labels, "accuracy") for name, values in cells.items()], 200
        )
    )
    for pair in found.pairs:
        ends = (pair.low, pair.high, pair.corrected_low, pair.p, pair.corrected_p)
        assert all(np.isfinite(np.array(ends, float)))
        assert (pair.degrees or 0) >= 2
    for name, other in (("a", "b"), ("a", "c"), ("all 0", "all 0 thrice")):
        pair = found.get_test(name, other)
        assert (pair.difference, pair.corrected_p, pair.verdict) == (0, 1, NOT_SIGNIFICANT)
