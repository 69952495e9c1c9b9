from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pipeline.analysis.statistics import pair_errors, score_intervals
from pipeline.analysis.statistics.score_intervals import CellScores
from tests.analysis import simulated_studies
from tests.analysis.statistics.test_score_intervals import make_cell


def compute(cells: list[CellScores], covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    posterior = score_intervals.estimate_scores(score_intervals.stack_cells(cells))
    assert posterior is not None
    return pair_errors.compute_pair_errors(posterior, covariance)


def test_with_many_seeds_the_error_is_welch_s() -> None:
    random = np.random.default_rng(0)
    one, other = random.normal(0.7, 0.03, 200), random.normal(0.75, 0.05, 200)
    cells = [make_cell(*one), make_cell(*other)]
    error, degrees = compute(cells, np.zeros((2, 2)))
    expected = stats.ttest_ind(one, other, equal_var=False)
    assert error[0] == pytest.approx((one.mean() - other.mean()) / expected.statistic, rel=0.05)
    assert degrees[0] > 100


def test_examples_that_two_cells_share_do_not_blur_their_difference() -> None:
    cells = [make_cell(0.70, 0.70, 0.71), make_cell(0.74, 0.75, 0.74)]
    shared, apart = (np.array([[4e-4, value], [value, 4e-4]]) for value in (3.9e-4, 0.0))
    assert compute(cells, shared)[0][0] < 0.7 * compute(cells, apart)[0][0]


def test_cells_that_tie_in_all_seeds_have_an_error() -> None:
    cells = [make_cell(0.7, 0.7, 0.7), make_cell(0.72, 0.72, 0.72), make_cell(0.6, 0.65, 0.7)]
    error, _ = compute(cells, np.zeros((3, 3)))
    assert (error > 0.003).all()


def test_a_failed_head_adds_its_drop_to_the_error() -> None:
    steady = [make_cell(0.8, 0.81, 0.79) for _ in range(5)]
    failing = [*steady[:4], make_cell(0.8, 0.5, 0.81, failed=(1,))]
    before, after = (compute(cells, np.zeros((5, 5)))[0] for cells in (steady, failing))
    assert after[-1] > 2 * before[-1]


@pytest.mark.parametrize("seeds", [2, 5])
def test_equal_cells_differ_significantly_in_5_of_100_pairs_and_plans(seeds: int) -> None:
    """Single pairs at their own level, and some pair of a plan after Bonferroni's correction."""
    scenario = replace(simulated_studies.find_scenario("fivefold"), skills=np.full(15, 0.7))
    random = np.random.default_rng(seeds)
    studies = [simulated_studies.simulate_study(scenario, np.full(15, seeds), random) for _ in range(100)]
    scores = simulated_studies.stack_studies(scenario, studies)
    posterior = score_intervals.estimate_scores(scores)
    assert posterior is not None
    error, degrees = pair_errors.compute_pair_errors(posterior, np.stack([study.covariance for study in studies]))
    one, other = np.triu_indices(15, 1)
    p = 2 * stats.t.sf(np.abs(scores.mean[:, one] - scores.mean[:, other]) / error, degrees)
    assert 0.03 < (p < 0.05).mean() < 0.08
    assert (p.min(axis=1) < 0.05 / 105).mean() <= 0.08
