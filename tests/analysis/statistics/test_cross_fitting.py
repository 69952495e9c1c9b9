import numpy as np
import pytest

from pipeline.analysis.statistics import cross_fitting, weighted_metrics
from pipeline.analysis.statistics.bootstrap import CellPredictions
from pipeline.metrics import registry

METRICS = sorted(weighted_metrics.WEIGHTED_METRICS)
NO_COSTS = (0.0,)


def make_cells(
    skills: list[float], seeds: int | list[int] = 3, examples: int = 200, metric: str = "accuracy", seed: int = 0
) -> list[CellPredictions]:
    """Return cells whose trainings are right with a probability that varies by 4 points over seeds."""
    random = np.random.default_rng(seed)
    counts = [seeds] * len(skills) if isinstance(seeds, int) else seeds
    labels = np.resize([0, 1, 1], examples)
    cells = []
    for number, (skill, count) in enumerate(zip(skills, counts, strict=True)):
        right = random.random((count, examples)) < skill + 0.04 * random.normal(size=(count, 1))
        predictions = np.where(right, labels, 1 - labels)
        if metric in ("pearson", "spearmanr"):
            predictions = predictions + 0.1 * random.normal(size=predictions.shape)
        cells.append(CellPredictions(f"c{number}", "t", predictions, labels, metric))
    return cells


def build_plain_rule(cells: list[CellPredictions]) -> cross_fitting.Rule:
    return cross_fitting.build_rule([NO_COSTS] * len(cells))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("seeds", [1, 2, 3, 10])
def test_a_cell_that_wins_every_choice_keeps_its_score(metric: str, seeds: int) -> None:
    cells = make_cells([0.55, 0.99, 0.6], seeds, metric=metric)
    found = cross_fitting.cross_fit_score(cells, build_plain_rule(cells))
    expected = registry.SCORES[metric](cells[1].predictions, cells[1].labels[None]).mean()
    assert found.name == "c1"
    assert found.choices == {"c1": 1.0}
    assert found.measured == pytest.approx(expected, abs=1e-9)
    assert found.score == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("metric", METRICS)
def test_equal_cells_score_less_than_the_luckiest_of_them_measured(metric: str) -> None:
    cells = make_cells([0.7] * 30, metric=metric)
    found = cross_fitting.cross_fit_score(cells, build_plain_rule(cells))
    assert found.measured == pytest.approx(
        max(registry.SCORES[metric](cell.predictions, cell.labels[None]).mean() for cell in cells), abs=1e-9
    )
    assert found.optimism > 0.02
    assert found.seeds_held_out


def test_the_score_of_the_best_of_equal_cells_is_unbiased_and_the_measured_one_is_not() -> None:
    studies = [make_cells([0.7] * 15, examples=100, seed=seed) for seed in range(60)]
    found = [cross_fitting.cross_fit_score(cells, build_plain_rule(cells)) for cells in studies]
    errors = np.array([(one.measured - 0.7, one.score - 0.7) for one in found])
    deviation = errors.std(0, ddof=1) / len(studies) ** 0.5
    assert errors[:, 0].mean() > 8 * deviation[0]
    assert abs(errors[:, 1].mean()) < 2 * deviation[1]


def test_the_choice_never_sees_the_answers_that_score_it() -> None:
    """Each cell is right on a third of the examples at one seed alone: chosen for them, it is wrong on all others."""
    labels = np.ones(150, np.int64)
    lucky = [np.zeros((3, 150), np.int64) for _ in range(9)]
    for number, predictions in enumerate(lucky):
        predictions[number % 3, number // 3 :: 3] = 1
    cells = [
        CellPredictions(f"c{number}", "t", predictions, labels, "accuracy") for number, predictions in enumerate(lucky)
    ]
    seen: list[np.ndarray] = []

    def choose(means: np.ndarray) -> int:
        seen.append(means)
        return int(means.argmax())

    found = cross_fitting.cross_fit_score(cells, choose)
    assert found.measured == pytest.approx(1 / 9)
    assert found.score < 0.06
    for means in seen[1:]:  # one seed is held out: the three cells that are right at that seed score nothing
        assert (means == 0).sum() == 3


def test_single_seeds_cannot_be_held_out_and_that_is_reported() -> None:
    studies = [make_cells([0.7] * 20, seeds=1, seed=seed) for seed in range(10)]
    found = [cross_fitting.cross_fit_score(cells, build_plain_rule(cells)) for cells in studies]
    assert not any(one.seeds_held_out for one in found)
    assert np.mean([one.optimism for one in found]) > 0.01  # the luck of the examples is taken off all the same


@pytest.mark.parametrize("seeds", [[1, 3, 3, 2], [3, 1, 10, 3], [2, 5, 5, 1]])
def test_cells_may_have_different_numbers_of_seeds(seeds: list[int]) -> None:
    cells = make_cells([0.75, 0.72, 0.74, 0.75], seeds)
    found = cross_fitting.cross_fit_score(cells, build_plain_rule(cells))
    assert 0.6 < found.score < 0.85
    assert sum(found.choices.values()) == pytest.approx(1)
    assert found.seeds_held_out


def test_the_estimate_is_the_same_each_time() -> None:
    cells = make_cells([0.7] * 8)
    assert cross_fitting.cross_fit_score(cells, build_plain_rule(cells)) == cross_fitting.cross_fit_score(
        cells, build_plain_rule(cells)
    )


def test_a_rare_class_is_in_every_fold() -> None:
    """Ten of 200 rows have label 1: F1 without one of them in a fold could not choose."""
    labels = np.zeros(200, np.int64)
    labels[3:13] = 1
    folds = cross_fitting._assign_folds(labels, np.random.default_rng(0))
    assert np.bincount(folds).tolist() == [40] * 5
    assert np.bincount(folds[labels == 1]).tolist() == [2] * 5


@pytest.mark.parametrize(
    ("means", "costs", "least_score", "chosen"),
    [
        ([0.7, 0.9, 0.8], [(1.0,), (2.0,), (3.0,)], None, 1),
        ([0.9, 0.9, 0.8], [(2.0, 1.0), (1.0, 9.0), (1.0, 1.0)], None, 1),
        ([0.9, 0.9, 0.9], [(1.0, np.inf), (1.0, 5.0), (1.0, 5.0)], None, 1),
        ([0.7, 0.9, 0.8], [(1.0,), (3.0,), (2.0,)], 0.75, 2),
        ([0.8, 0.9, 0.7], [(2.0,), (2.0,), (1.0,)], 0.75, 1),
        ([0.7, 0.6, 0.7], [(2.0,), (0.5,), (1.0,)], 0.75, 2),
    ],
    ids=[
        "the highest score", "ties go to the lower cost", "then to the next cost, then to the first",
        "the cheapest that reaches the least score", "equal costs go to the higher score",
        "where none reaches it the highest score",
    ],
)  # fmt: skip
def test_the_rule_chooses(
    means: list[float], costs: list[tuple[float, ...]], least_score: float | None, chosen: int
) -> None:
    assert cross_fitting.build_rule(costs, least_score)(np.array(means)) == chosen


def test_a_least_score_is_corrected_too() -> None:
    """The cheapest of many equal cells that reaches a score above all of theirs did so by luck."""
    cells = make_cells([0.7] * 20)
    rule = cross_fitting.build_rule([(float(cost),) for cost in range(20)], 0.72)
    found = cross_fitting.cross_fit_score(cells, rule)
    assert found.measured >= 0.72
    assert found.optimism > 0.02


def test_the_interval_is_widened_by_the_optimism_and_contains_both_scores() -> None:
    found = cross_fitting.CrossFittedScore("c0", 0.84, 0.80, {"c0": 1.0}, True)
    low, high = found.compute_interval(0.81, 0.86)
    assert low == pytest.approx(0.80 - np.hypot(0.03, 0.04))
    assert high == pytest.approx(0.80 + np.hypot(0.02, 0.04))
    assert low < 0.80 < 0.84 < high


def test_without_optimism_the_interval_stays_as_it_is() -> None:
    found = cross_fitting.CrossFittedScore("c0", 0.84, 0.84, {"c0": 1.0}, True)
    assert found.compute_interval(0.81, 0.86) == pytest.approx((0.81, 0.86))


def test_the_interval_stays_within_the_range_of_the_metric() -> None:
    found = cross_fitting.CrossFittedScore("c0", 0.99, 0.95, {"c0": 1.0}, True)
    assert found.compute_interval(0.95, 1.0)[1] <= 1.0
    found = cross_fitting.CrossFittedScore("c0", 0.05, -0.02, {"c0": 1.0}, True)
    assert found.compute_interval(-0.9, 0.9, (-1.0, 1.0))[0] >= -1.0
    assert found.compute_interval(0.0, 0.1)[0] == 0.0


def test_a_thousand_cells_take_seconds() -> None:
    """Work grows with the cells alone: the rule is called once per fold (4 x 5) and group (3), and once before."""
    cells = make_cells([0.7] * 1000, examples=100)
    calls = []
    rule = build_plain_rule(cells)

    def count_calls(means: np.ndarray) -> int:
        calls.append(len(means))
        return rule(means)

    cross_fitting.cross_fit_score(cells, count_calls)
    assert calls == [1000] * (1 + 4 * 5 * 3)
