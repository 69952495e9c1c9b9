import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from pipeline.analysis.statistics import failure_rate


def estimate(failed: list[int], seeds: list[int], models: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of the rate of each cell."""
    weights = failure_rate.estimate_failure_rate(np.array(failed, float), np.array(seeds, float), np.array(models))
    mean = weights @ failure_rate.NODES
    return mean, np.sqrt(weights @ failure_rate.NODES**2 - mean**2)


def test_a_cell_with_many_trainings_has_its_own_rate() -> None:
    mean, deviation = estimate([60, 0], [200, 200], [0, 1])
    low, high = proportion_confint(60, 200, method="jeffreys")
    assert low < mean[0] < high
    assert deviation[0] == pytest.approx((high - low) / 4, rel=0.25)
    assert mean[1] < 0.01


def test_cells_that_fail_alike_share_a_rate() -> None:
    random = np.random.default_rng(0)
    failed = random.binomial(3, 0.2, 60)
    mean, _ = estimate(failed.tolist(), [3] * 60, (np.arange(60) // 3).tolist())
    assert mean.mean() == pytest.approx(failed.mean() / 3, abs=0.02)
    assert mean.max() < 0.5


def test_a_cell_without_a_failure_learns_from_its_model_more_than_from_others() -> None:
    failed, models = [2, 2, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 2, 2, 2]
    mean, _ = estimate(failed, [3] * 9, models)
    assert mean[2] > 2 * mean[3] > 0


def test_the_posterior_is_that_of_the_model_drawn_at_random() -> None:
    """Against importance sampling of the three levels."""
    random = np.random.default_rng(1)
    draws, failed, models = 400_000, np.array([1, 0, 2, 0]), np.array([0, 0, 1, 1])
    width = np.gradient(failure_rate.MEANS) / np.sqrt(failure_rate.MEANS * (1 - failure_rate.MEANS))
    mean = random.choice(failure_rate.MEANS, draws, p=width / width.sum())
    of_models, of_cells = (random.choice(failure_rate.CONCENTRATIONS, draws) for _ in range(2))
    rates = random.beta(mean * of_models, (1 - mean) * of_models, (2, draws)).clip(1e-9, 1 - 1e-9)
    cells = np.array([random.beta(rates[m] * of_cells, (1 - rates[m]) * of_cells) for m in models])
    weight = np.prod(cells ** failed[:, None] * (1 - cells) ** (3 - failed[:, None]), axis=0)
    found, _ = estimate(failed.tolist(), [3] * 4, models.tolist())
    assert found == pytest.approx((cells * weight).sum(axis=1) / weight.sum(), abs=0.02)
