from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from pipeline.analysis.statistics import score_intervals
from pipeline.analysis.statistics.score_intervals import CellScores
from tests.analysis import simulated_studies

EXAMPLES = 1500


def make_cell(*scores: float, failed: tuple[int, ...] = (), examples: int = EXAMPLES) -> CellScores:
    """Return a cell whose examples are answered independently."""
    mean = float(np.mean(scores))
    crossed = 0.3 * mean * (1 - mean) / examples / len(scores) if len(scores) > 1 else 0.0
    shared = 0.7 * mean * (1 - mean) / examples
    marks = [seed in failed for seed in range(len(scores))]
    return CellScores(scores, marks, examples, shared + crossed, crossed, 0.5)


def compute(*cells: CellScores) -> list[tuple[float, float]]:
    """Return the interval of each cell of one task."""
    posterior = score_intervals.estimate_scores(score_intervals.stack_cells(cells))
    assert posterior is not None
    low, high = score_intervals.compute_intervals(posterior)
    return list(zip(low.tolist(), high.tolist(), strict=True))


OTHERS = [make_cell(0.70, 0.72, 0.74), make_cell(0.62, 0.66, 0.65), make_cell(0.81, 0.80, 0.83)]


def test_with_many_seeds_and_examples_the_interval_is_student_s() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(0.75, 0.03, 300)
    cell = replace(make_cell(*scores), examples_variance=0.0, crossed_variance=0.0)
    expected = stats.t.interval(0.95, 299, scores.mean(), stats.sem(scores))
    assert compute(cell)[0] == pytest.approx(expected, abs=5e-4)


def test_with_one_example_variance_and_steady_seeds_the_interval_is_a_proportion_s() -> None:
    """Seeds that answer every example alike leave the examples alone: compare with Wilson's interval."""
    shared = 0.9 * 0.1 / 400
    cells = [replace(make_cell(*[0.9] * 5, examples=400), examples_variance=shared, crossed_variance=0.0)] * 12
    assert compute(*cells)[0] == pytest.approx(proportion_confint(360, 400, method="wilson"), abs=6e-3)


def test_a_perfect_score_has_an_interval_below_one_of_a_width_that_the_examples_give() -> None:
    cell = replace(make_cell(*[1.0] * 3, examples=300), examples_variance=0.0, crossed_variance=0.0)
    (low, high), *_ = compute(cell, *OTHERS)
    assert high == 1.0
    assert proportion_confint(300, 300, method="beta")[0] - 0.01 < low < 1 - 0.5 / 300


def test_seeds_that_tie_have_an_interval() -> None:
    tied, *_ = compute(make_cell(0.7, 0.7, 0.7), *OTHERS)
    usual, *_ = compute(make_cell(0.68, 0.70, 0.72), *OTHERS)
    assert tied[1] - tied[0] > 0.5 * (usual[1] - usual[0])


def test_three_seeds_that_differ_widely_do_not_give_a_useless_interval() -> None:
    """Student's t alone gives [35.5, 78.8], as it did for starter-3x96 with 90 pairs."""
    wild = make_cell(0.471, 0.623, 0.619)
    low, high = compute(wild, *OTHERS)[0]
    alone = stats.t.interval(0.95, 2, np.mean(wild.scores), stats.sem(wild.scores))
    assert high - low < 0.6 * (alone[1] - alone[0])


def test_one_seed_has_an_interval_through_the_spread_of_the_others() -> None:
    one, three = compute(make_cell(0.7), make_cell(0.69, 0.70, 0.71), *OTHERS)[:2]
    assert one[1] - one[0] > 1.2 * (three[1] - three[0])


def test_one_seed_everywhere_has_no_interval() -> None:
    stacked = score_intervals.stack_cells([make_cell(0.7), make_cell(0.8)])
    assert score_intervals.estimate_scores(stacked) is None


def test_a_failed_head_lowers_what_is_expected_of_its_neighbours_but_not_far() -> None:
    healthy = [make_cell(0.8, 0.81, 0.79) for _ in range(4)]
    failing = [make_cell(0.8, 0.5, 0.81, failed=(1,)) for _ in range(2)]
    before, after = compute(*healthy)[0], compute(*healthy, *failing)[0]
    assert after[0] < before[0] - 0.02
    assert after[1] <= before[1] + 1e-6


def test_one_class_from_a_model_at_the_baseline_is_no_failure_of_the_others() -> None:
    at_chance = make_cell(0.51, 0.5, 0.505)
    before, *_ = compute(*OTHERS, at_chance)
    after, *_ = compute(*OTHERS, replace(at_chance, failed=[False, True, False]))
    assert after == pytest.approx(before, abs=2e-3)


def test_a_cell_of_failed_heads_only_is_between_the_baseline_and_its_neighbours() -> None:
    low, high = compute(make_cell(0.5, 0.5, 0.5, failed=(0, 1, 2)), *OTHERS)[0]
    assert low <= 0.5
    assert 0.55 < high < 0.83


def test_an_interval_contains_the_mean_that_is_reported() -> None:
    cells = [make_cell(0.9, 0.5, 0.5, failed=(1, 2)), *[make_cell(0.9, 0.89, 0.91) for _ in range(12)]]
    low, high = compute(*cells)[0]
    assert low <= np.mean(cells[0].scores) <= high


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=4), min_size=2, max_size=5),
    st.sampled_from([(0.0, 1.0), (-1.0, 1.0)]),
)
def test_intervals_stay_within_the_metric(right: list[list[int]], bounds: tuple[float, float]) -> None:
    low, high = bounds
    cells = [
        replace(make_cell(*[low + (high - low) * number / 50 for number in numbers], examples=50), bounds=bounds)
        for numbers in right
    ]
    cells = [replace(cell, examples_variance=0.002, baseline=(low + high) / 2) for cell in cells]
    if max(map(len, right)) == 1:
        return
    for cell, (least, most) in zip(cells, compute(*cells), strict=True):
        assert low <= least < most <= high
        assert least <= np.mean(cell.scores) <= most


def test_correlations_are_bounded_by_minus_one_and_one() -> None:
    assert score_intervals.get_bounds("matthews_correlation") == (-1.0, 1.0)
    assert score_intervals.get_bounds("f1") == (0.0, 1.0)


@pytest.mark.parametrize("name", ["spread alike", "near 1", "skewed", "near chance"])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_intervals_contain_the_truth_in_95_of_100_studies_and_are_narrow(name: str, seeds: int) -> None:
    """``benchmarks/interval_coverage.py`` measures more scenarios with more studies."""
    scenario = simulated_studies.find_scenario(name)
    random = np.random.default_rng(seeds)
    studies = [simulated_studies.simulate_study(scenario, np.full(15, seeds), random) for _ in range(60)]
    scores = simulated_studies.stack_studies(scenario, studies)
    posterior = score_intervals.estimate_scores(scores)
    assert posterior is not None
    low, high = score_intervals.compute_intervals(posterior)
    truth = np.stack([study.truth for study in studies])
    variance = np.stack([study.seed_variance for study in studies]) / seeds + scores.examples_variance.mean(0)
    assert ((low <= truth) & (truth <= high)).mean() == pytest.approx(0.95, abs=0.025)
    assert np.median((high - low) / np.sqrt(variance) / 2 / 1.96) < 1.25


def test_repeated_seeds_that_all_failed_have_no_interval() -> None:
    cell = CellScores([0.5, 0.5], [True, True], 40, 0.006, 0.0, baseline=0.5)
    assert score_intervals.estimate_scores(score_intervals.stack_cells([cell])) is None
