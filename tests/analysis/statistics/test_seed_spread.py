import numpy as np
import pytest
from scipy import stats

from pipeline.analysis.statistics import seed_spread


def estimate(variance: list[float], degrees: list[int], data: list[float] | None = None) -> seed_spread.SeedSpread:
    cells = len(variance)
    found = seed_spread.estimate_spread(
        np.array(variance), np.array(degrees, float), np.ones(cells), np.full(cells, 1e-9),
        np.array(data or [1.0] * cells),
    )  # fmt: skip
    assert found is not None
    return found


def test_a_cell_with_many_seeds_keeps_its_own_variance() -> None:
    found = estimate([0.04, 0.01], [400, 400])
    assert found.mean == pytest.approx([0.04, 0.01], rel=0.05)


def test_cells_that_spread_alike_get_the_pooled_variance() -> None:
    """Against the mean square within cells of a one-way analysis of variance."""
    random = np.random.default_rng(0)
    scores = random.normal(0, 0.1, (100, 3))
    found = estimate(scores.var(axis=1, ddof=1).tolist(), [2] * 100)
    pooled = scores.var(axis=1, ddof=1).mean()
    assert found.mean.mean() == pytest.approx(pooled, rel=0.05)
    assert found.mean.max() < 2 * pooled < scores.var(axis=1, ddof=1).max()


def test_a_cell_with_one_seed_has_the_spread_of_the_others() -> None:
    found = estimate([0.0, *[0.01] * 20], [0, *[2] * 20])
    assert found.mean[0] == pytest.approx(found.mean[1:].mean(), rel=0.15)
    assert found.covariance[0, 0] > found.covariance[1, 1]


def test_without_a_repeated_seed_there_is_no_estimate() -> None:
    ones = np.ones(3)
    assert seed_spread.estimate_spread(0 * ones, 0 * ones, ones, ones, ones) is None


def test_seeds_that_tie_by_chance_are_not_taken_as_steady() -> None:
    found = estimate([0.0, *[0.01] * 14], [1] * 15)
    assert found.mean[0] > 0.2 * found.mean[1]


def test_more_data_makes_a_cell_with_one_seed_steadier() -> None:
    data = [0.1, 0.3, 1.0] * 5
    variance = [0.04, 0.01, 0.0025] * 5
    found = estimate([*variance, 0, 0], [2] * 15 + [0, 0], [*data, 0.1, 1.0])
    assert found.mean[-2] > 3 * found.mean[-1]


def test_the_posterior_is_that_of_the_model_drawn_at_random() -> None:
    """Against importance sampling of the hierarchical model: settings, spreads, and scipy's chi-squared density."""
    random = np.random.default_rng(1)
    variance, degrees = np.array([0.002, 0.01, 0.03]), np.array([2, 1, 4])
    draws = 200_000
    centre = random.uniform(seed_spread.CENTRES[0], seed_spread.CENTRES[-1], draws)
    weight = stats.norm.pdf(centre, seed_spread.USUAL_CENTRE, seed_spread.CENTRE_DEVIATION)
    deviation = np.abs(random.normal(0, seed_spread.USUAL_DEVIATION, draws))
    spreads = np.exp(centre[:, None] + deviation[:, None] * random.normal(size=(draws, 3))) ** 2 + 1e-9
    likelihood = stats.chi2.pdf(degrees * variance / spreads, degrees) * degrees / spreads
    weight = weight * likelihood.prod(axis=1)
    expected = weight @ spreads / weight.sum()
    found = estimate(variance.tolist(), degrees.tolist())
    assert found.mean == pytest.approx(expected, rel=0.1)


def test_a_study_is_estimated_alike_by_itself_and_among_others() -> None:
    random = np.random.default_rng(2)
    variance = random.chisquare(2, (4, 6)) * 0.005
    shape = np.ones((4, 6))
    together = seed_spread.estimate_spread(variance, 2 * shape, shape, 1e-4 * shape, np.ones(6))
    assert together is not None
    for study, row in enumerate(variance):
        alone = seed_spread.estimate_spread(row, 2 * shape[0], shape[0], 1e-4 * shape[0], np.ones(6))
        assert alone is not None
        np.testing.assert_allclose(together.mean[study], alone.mean)
        np.testing.assert_allclose(together.covariance[study], alone.covariance, atol=1e-15)
