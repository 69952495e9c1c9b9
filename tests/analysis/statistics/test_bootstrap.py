import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.analysis.statistics import bootstrap, weighted_metrics
from pipeline.analysis.statistics.bootstrap import CellPredictions
from pipeline.metrics import registry

CLASSES = ("accuracy", "f1", "matthews_correlation")


def table(metric: str, seed: int, cells: int = 3, seeds: int = 3, examples: int = 60) -> list[CellPredictions]:
    random = np.random.default_rng(seed)
    if metric in CLASSES:
        labels = random.integers(0, 2, examples)
        said = [np.where(random.random((seeds, examples)) < 0.8, labels, 1 - labels) for _ in range(cells)]
    else:
        labels = np.round(random.normal(size=examples), 1)
        said = [np.round(labels + random.normal(size=(seeds, examples)), 1) for _ in range(cells)]
    return [CellPredictions(f"c{cell}", "t", of_cell, labels, metric) for cell, of_cell in enumerate(said)]


@settings(deadline=None)  # scipy is imported by the first that needs it
@given(
    st.sampled_from(sorted(weighted_metrics.WEIGHTED_METRICS)), st.integers(0, 2**16),
    st.integers(2, 40), st.integers(1, 4),
)  # fmt: skip
def test_a_weighted_metric_is_the_metric_of_the_examples_written_out(
    metric: str, seed: int, examples: int, classes: int
) -> None:
    """Few classes and few distinct numbers, so that ties and resamples of one class alone occur."""
    random = np.random.default_rng(seed)
    answers, labels = random.integers(0, classes, (3, examples)), random.integers(0, classes, examples)
    if metric not in CLASSES:
        answers, labels = answers / 7, labels / 3
    rows = random.integers(examples, size=(20, examples))
    counts = np.stack([np.bincount(row, minlength=examples) for row in rows]).astype(np.float32)
    written_out = np.stack([registry.SCORES[metric](trial[rows], labels[rows]) for trial in answers], 1)
    np.testing.assert_allclose(
        weighted_metrics.WEIGHTED_METRICS[metric](answers, labels)(counts), written_out, atol=1e-9
    )


def test_every_metric_that_a_task_may_name_can_be_drawn() -> None:
    assert weighted_metrics.WEIGHTED_METRICS.keys() == registry.SCORES.keys()


@pytest.mark.parametrize("metric", sorted(weighted_metrics.WEIGHTED_METRICS))
def test_the_score_is_the_mean_over_seeds_of_the_metric(metric: str) -> None:
    answers = table(metric, 0)
    found = bootstrap.sample_scores(answers, resamples=10)
    by_seed = [registry.SCORES[metric](cell.predictions, cell.labels[None]) for cell in answers]
    np.testing.assert_allclose(np.stack(found.by_seed), by_seed, atol=1e-12)
    np.testing.assert_allclose(found.scores, np.mean(by_seed, 1), atol=1e-12)


@pytest.mark.parametrize("metric", sorted(weighted_metrics.WEIGHTED_METRICS))
def test_cells_that_say_the_same_score_the_same_on_every_resample(metric: str) -> None:
    """So the examples are the same for all: otherwise the two would differ by noise."""
    (cell,) = table(metric, 1, cells=1)
    found = bootstrap.sample_scores(
        [cell, CellPredictions("copy", "t", cell.predictions, cell.labels, metric)], resamples=50
    )
    np.testing.assert_allclose(found.covariance, found.covariance[0, 0], rtol=1e-12)
    assert found.covariance[0, 0] > 0


def test_the_variance_of_an_accuracy_over_examples_is_the_one_of_a_mean() -> None:
    examples = 500
    answers = table("accuracy", 2, cells=2, seeds=4, examples=examples)
    found = bootstrap.sample_scores(answers, resamples=20_000)
    means = np.stack([(cell.predictions == cell.labels).mean(0) for cell in answers])
    np.testing.assert_allclose(found.covariance, np.cov(means, ddof=0) / examples, rtol=0.1, atol=2e-6)


def test_what_seeds_make_of_single_examples_is_told_from_what_examples_do_to_all() -> None:
    """Against the two-way analysis of variance of one number for each seed and example (closed form)."""
    random = np.random.default_rng(3)
    examples, seeds = 1000, 4
    easy = random.random(examples)
    right = random.random((seeds, examples)) < easy
    labels = np.ones(examples, int)
    found = bootstrap.sample_scores(
        [CellPredictions("a", "t", right.astype(int), labels, "accuracy")], resamples=20_000
    )
    residual = right - right.mean(0) - right.mean(1, keepdims=True) + right.mean()
    interaction = (residual**2).sum() / ((seeds - 1) * (examples - 1))
    assert found.crossed_variances[0] == pytest.approx(interaction / (seeds * examples), rel=0.05)


def test_cells_may_have_different_numbers_of_seeds() -> None:
    first, second, third = table("accuracy", 6)
    answers = [
        first,
        CellPredictions("two", "t", second.predictions[:2], second.labels, "accuracy"),
        CellPredictions("one", "t", third.predictions[:1], third.labels, "accuracy"),
    ]
    found = bootstrap.sample_scores(answers, resamples=400)
    assert [len(values) for values in found.by_seed] == [3, 2, 1]
    assert found.crossed_variances[2] == 0
    assert found.get_score("two") == pytest.approx(found.by_seed[1].mean())


def test_the_same_answers_give_the_same_covariance_and_another_seed_another() -> None:
    answers = table("f1", 7)
    np.testing.assert_array_equal(
        bootstrap.sample_scores(answers, 20).covariance, bootstrap.sample_scores(answers, 20).covariance
    )
    assert (
        bootstrap.sample_scores(answers, 20).covariance != bootstrap.sample_scores(answers, 20, seed=8).covariance
    ).any()


def test_many_examples_are_weighed_a_few_resamples_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def spied(answers: np.ndarray, labels: np.ndarray) -> weighted_metrics.WeightedMetric:
        score = weighted_metrics.prepare_accuracy(answers, labels)

        def spying(weights: weighted_metrics.ResampleWeights) -> weighted_metrics.Floats:
            seen.append(weights.shape)
            return score(weights)

        return spying

    monkeypatch.setitem(weighted_metrics.WEIGHTED_METRICS, "accuracy", spied)
    monkeypatch.setattr(bootstrap, "MAX_WEIGHTS_IN_MEMORY", 1000)
    bootstrap.sample_scores(table("accuracy", 8, examples=60), resamples=50)
    assert seen == [*[(16, 60)] * 3, (2, 60), (1, 60)]


def test_scores_alone_have_no_interval() -> None:
    """The examples are one source of chance of two; ``task_scores`` adds the seeds."""
    assert bootstrap.sample_scores(table("accuracy", 9), resamples=20).get_interval("c1") == (None, None)
