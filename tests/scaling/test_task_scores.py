import numpy as np
import pytest

from pipeline.scaling import draws, task_scores
from pipeline.scaling.draws import Answers, Draws
from pipeline.scaling.task_scores import CellFacts


def draw(seeds: int, metric: str = "accuracy") -> tuple[Draws, dict[str, CellFacts]]:
    """Return the draws of four cells whose skill grows from 0.6 to 0.9, and what is known of them."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 500)
    answers, facts = [], {}
    for cell in range(4):
        skill = 0.6 + 0.1 * cell + 0.03 * random.normal(size=(seeds, 1))
        answered = np.where(random.random((seeds, 500)) < skill, labels, 1 - labels)
        answers.append(Answers(f"c{cell}", "t", answered, labels, metric))
        facts[f"c{cell}"] = CellFacts("m", 1.0, [False] * seeds)
    return draws.draw(answers, resamples=4000), facts


@pytest.mark.parametrize("metric", ["accuracy", "f1", "matthews_correlation"])
def test_the_draws_of_a_task_agree_with_its_intervals(metric: str) -> None:
    drawn, facts = draw(3, metric)
    posterior = task_scores.estimate_task(drawn, facts, 0.0)
    assert posterior is not None
    found = task_scores.add_intervals(drawn, posterior, resamples=4000)
    assert found.draws is not None
    quantiles = np.quantile(found.draws, [0.025, 0.975], axis=0).T
    for name, ends in zip(found.names, quantiles, strict=True):
        low, high = found.interval(name)
        assert (low, high) == pytest.approx(tuple(ends), abs=0.01)
        assert (low or 1) < drawn.score(name) < (high or 0)


def test_the_interval_covers_examples_and_seeds() -> None:
    drawn, facts = draw(3)
    posterior = task_scores.estimate_task(drawn, facts, 0.5)
    assert posterior is not None
    low, high = task_scores.add_intervals(drawn, posterior).intervals  # type: ignore[misc]
    assert (high - low > 2 * 1.96 * np.diag(drawn.covariance) ** 0.5).all()


def test_a_task_with_one_seed_has_no_intervals() -> None:
    drawn, facts = draw(1)
    assert task_scores.estimate_task(drawn, facts, 0.5) is None
