import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation import scores
from pipeline.scaling import draws, weighted
from pipeline.scaling.draws import Answers

CLASSES = ("accuracy", "f1", "matthews_correlation")


def table(metric: str, seed: int, cells: int = 3, seeds: int = 3, examples: int = 60) -> list[Answers]:
    random = np.random.default_rng(seed)
    if metric in CLASSES:
        labels = random.integers(0, 2, examples)
        said = [np.where(random.random((seeds, examples)) < 0.8, labels, 1 - labels) for _ in range(cells)]
    else:
        labels = np.round(random.normal(size=examples), 1)
        said = [np.round(labels + random.normal(size=(seeds, examples)), 1) for _ in range(cells)]
    return [Answers(f"c{cell}", "t", of_cell, labels, metric) for cell, of_cell in enumerate(said)]


@settings(deadline=None)  # scipy is imported by the first that needs it
@given(
    st.sampled_from(sorted(weighted.WEIGHTED)), st.integers(0, 2**16), st.integers(2, 40), st.integers(1, 4),
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
    written_out = np.stack([scores.SCORES[metric](trial[rows], labels[rows]) for trial in answers], 1)
    np.testing.assert_allclose(weighted.WEIGHTED[metric](answers, labels)(counts), written_out, atol=1e-9)


def test_every_metric_that_a_task_may_name_can_be_drawn() -> None:
    assert weighted.WEIGHTED.keys() == scores.SCORES.keys()


@pytest.mark.parametrize("metric", sorted(weighted.WEIGHTED))
def test_the_score_is_the_mean_over_seeds_of_the_metric(metric: str) -> None:
    answers = table(metric, 0)
    found = draws.draw(answers, resamples=10)
    by_seed = [scores.SCORES[metric](cell.predictions, cell.labels[None]) for cell in answers]
    np.testing.assert_allclose(np.stack(found.by_seed), by_seed, atol=1e-12)
    np.testing.assert_allclose(found.scores, np.mean(by_seed, 1), atol=1e-12)


@pytest.mark.parametrize("metric", sorted(weighted.WEIGHTED))
def test_cells_that_say_the_same_score_the_same_on_every_resample(metric: str) -> None:
    """So examples and seeds are the same for all: otherwise the two would differ by noise."""
    (cell,) = table(metric, 1, cells=1)
    found = draws.draw([cell, Answers("copy", "t", cell.predictions, cell.labels, metric)], resamples=50)
    np.testing.assert_array_equal(found.draws[:, 0], found.draws[:, 1])
    assert found.draws[:, 0].std() > 0


def test_the_variance_of_an_accuracy_over_examples_is_the_one_of_a_mean() -> None:
    examples = 500
    answers = table("accuracy", 2, cells=2, seeds=4, examples=examples)
    found = draws.draw(answers, resamples=20_000)
    means = np.stack([(cell.predictions == cell.labels).mean(0) for cell in answers])
    np.testing.assert_allclose(found.covariance, np.cov(means, ddof=0) / examples, rtol=0.1, atol=2e-6)


def test_what_seeds_make_of_single_examples_is_told_from_what_examples_do_to_all() -> None:
    """Against the two-way analysis of variance of one number for each seed and example (closed form)."""
    random = np.random.default_rng(3)
    examples, seeds = 1000, 4
    easy = random.random(examples)
    right = random.random((seeds, examples)) < easy
    labels = np.ones(examples, int)
    found = draws.draw([Answers("a", "t", right.astype(int), labels, "accuracy")], resamples=20_000)
    residual = right - right.mean(0) - right.mean(1, keepdims=True) + right.mean()
    interaction = (residual**2).sum() / ((seeds - 1) * (examples - 1))
    assert found.crossed[0] == pytest.approx(interaction / (seeds * examples), rel=0.05)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_seeds_drawn_anew_vary_as_a_mean_over_seeds_does(seeds: int) -> None:
    """k - 1 of k: the variance of the draws is s²/k, not (k - 1)/k of it."""
    values = np.random.default_rng(4).normal(size=seeds)
    drawn = draws.means([values], 100_000, np.random.default_rng(5))
    assert drawn.var() == pytest.approx(values.var(ddof=1) / seeds, rel=0.02)
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.01)


def test_draws_spread_as_the_score_of_another_training_on_other_examples_does() -> None:
    """The scores of 1,000 studies, each of 3 seeds and of examples of its own."""
    random = np.random.default_rng(5)

    def study() -> Answers:
        skill, ease = 0.7 + 0.03 * random.normal(size=(3, 1)), 0.1 * random.normal(size=200)
        right = random.random((3, 200)) < skill + ease
        return Answers("a", "t", right.astype(int), np.ones(200, int), "accuracy")

    found = [draws.draw([study()], resamples=100) for _ in range(1000)]
    truth = np.var([one.scores[0] for one in found])
    assert np.mean([one.draws.var(ddof=1) for one in found]) == pytest.approx(truth, rel=0.15)


def test_cells_with_fewer_seeds_take_theirs_and_one_seed_is_taken_each_time() -> None:
    first, second, third = table("accuracy", 6)
    answers = [
        first,
        Answers("two", "t", second.predictions[:2], second.labels, "accuracy"),
        Answers("one", "t", third.predictions[:1], third.labels, "accuracy"),
    ]
    found = draws.draw(answers, resamples=4000)
    assert [len(values) for values in found.by_seed] == [3, 2, 1]
    examples_alone = np.diag(found.covariance)
    assert found.of("one").var(ddof=1) == pytest.approx(examples_alone[2])
    assert found.crossed[2] == 0
    assert found.of("two").mean() == pytest.approx(found.score("two"), abs=0.01)


def test_the_same_answers_give_the_same_draws_and_another_seed_others() -> None:
    answers = table("f1", 7)
    np.testing.assert_array_equal(draws.draw(answers, 20).draws, draws.draw(answers, 20).draws)
    assert (draws.draw(answers, 20).draws != draws.draw(answers, 20, seed=8).draws).any()


def test_many_examples_are_weighed_a_few_resamples_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def spied(answers: np.ndarray, labels: np.ndarray) -> weighted.Weighted:
        score = weighted.accuracy(answers, labels)

        def spying(weights: weighted.Weights) -> weighted.Floats:
            seen.append(weights.shape)
            return score(weights)

        return spying

    monkeypatch.setitem(weighted.WEIGHTED, "accuracy", spied)
    monkeypatch.setattr(draws, "NUMBERS_AT_ONCE", 1000)
    assert draws.draw(table("accuracy", 8, examples=60), resamples=50).draws.shape == (50, 3)
    assert seen == [*[(16, 60)] * 3, (2, 60), (1, 60)]


def test_the_interval_holds_95_of_100_draws() -> None:
    found = draws.draw(table("accuracy", 9), resamples=2000)
    low, high = found.interval("c1")
    assert ((found.of("c1") >= low) & (found.of("c1") <= high)).mean() >= 0.95
    assert low < found.score("c1") < high
