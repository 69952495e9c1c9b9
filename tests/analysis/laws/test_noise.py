import numpy as np
import pytest
from scipy import stats

from pipeline.analysis.laws import Observation
from pipeline.analysis.laws import noise as spreads


def places(*values: tuple[float, ...]) -> list[Observation]:
    return [Observation(f"cell-{place}", (float(place + 1),), seeds) for place, seeds in enumerate(values)]


def test_a_spread_of_three_seeds_is_drawn_towards_that_of_all_by_degrees_of_freedom() -> None:
    """Deviations 1%, 0, 1% and 4%, 0, 4%: variances 1e-4 and 16e-4, pooled 8.5e-4; 8 parts of it, 2 of their own."""
    found = spreads.estimate_seed_noise(places((0.99, 1.0, 1.01), (1.92, 2.0, 2.08)))
    assert found.degrees == 4
    assert found.of_one_seed == pytest.approx(np.sqrt(8.5e-4))
    expected = np.sqrt((8 * 8.5e-4 + 2 * np.array([1e-4, 16e-4])) / 10 / 3)
    assert found.of_means == pytest.approx(expected)
    assert found.compute_mean_spread(np.array([1.0, 4.0])) == pytest.approx([found.of_one_seed, found.of_one_seed / 2])


@pytest.mark.parametrize("values", [((0.5,), (0.4,)), ((0.5, 0.5), (0.4, 0.4))])
def test_seeds_that_tell_no_spread_let_the_places_weigh_alike(values: tuple[tuple[float, ...], ...]) -> None:
    found = spreads.estimate_seed_noise(places(*values))
    assert (found.degrees, found.of_one_seed, found.of_means.tolist()) == (0, 1, [1, 1])
    assert found.compute_mean_spread(np.array([1.0, 9.0])).tolist() == [1, 1]
    assert spreads.compute_variation_p(places(*values)) is None


def test_whether_places_differ_is_the_analysis_of_variance_of_scipy() -> None:
    values = ((0.5, 0.52, 0.47), (0.45, 0.5), (0.41, 0.4, 0.44, 0.42))
    expected = stats.f_oneway(*(np.log(seeds) for seeds in values)).pvalue
    assert spreads.compute_variation_p(places(*values)) == pytest.approx(expected)


def test_misses_alone_tell_the_scale_of_one_seed() -> None:
    residuals = np.array([0.02, -0.01, 0.03, -0.02, 0.01])
    found = spreads.estimate_noise_scale(residuals, np.inf, 2, 0)
    assert (found.degrees, found.agreement) == (3, None)
    assert found.size == pytest.approx(np.sqrt((residuals**2).sum() / 3))


def test_seeds_and_misses_tell_the_scale_together_where_they_agree() -> None:
    residuals = np.array([1.0, -0.5, 0.8, -1.2, 0.3])
    found = spreads.estimate_noise_scale(residuals, np.inf, 2, 10)
    missed = (residuals**2).sum()
    assert found.degrees == 13
    assert found.size == pytest.approx(np.sqrt((missed + 10) / 13))
    assert found.agreement == pytest.approx(stats.f.sf(missed / 3, 3, 10))


def test_misses_beyond_what_seeds_explain_stand_alone() -> None:
    found = spreads.estimate_noise_scale(np.array([4.0, -5.0, 3.0, -2.0]), np.inf, 2, 20)
    assert found.degrees == 2
    assert found.size == pytest.approx(np.sqrt(54 / 2))
    assert found.agreement is not None
    assert found.agreement < 0.05


def test_no_place_to_spare_leaves_the_scale_to_the_seeds() -> None:
    assert spreads.estimate_noise_scale(np.zeros(3), 1.345, 3, 6) == spreads.NoiseScale(1.0, 6, None)
    assert spreads.estimate_noise_scale(np.zeros(3), 1.345, 3, 0) == spreads.NoiseScale(1.0, 0, None)


def test_clipped_misses_are_corrected_for_few_places() -> None:
    """One of four beyond 2, two parameters: K = 1 + 2/4 (1/4) / (3/4), K^2 (1 + 1 + 1 + 4) / 2 / (3/4)^2."""
    found = spreads.estimate_noise_scale(np.array([1.0, -1.0, 1.0, 9.0]), 2.0, 2, 0)
    assert found.size == pytest.approx(np.sqrt((7 / 6) ** 2 * 7 / 2 / (9 / 16)))


def test_the_scale_of_normal_misses_is_not_changed_by_clipping_and_hardly_by_an_outlier() -> None:
    residuals = np.random.default_rng(0).standard_normal(2000)
    assert spreads.estimate_noise_scale(residuals, 1.345, 0, 0).size == pytest.approx(1, abs=0.06)
    residuals[0] = 1000
    assert spreads.estimate_noise_scale(residuals, 1.345, 0, 0).size == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("seeds", [1, 3])
def test_places_that_are_all_the_same_do_not_differ(seeds: int) -> None:
    assert spreads.compute_variation_p(places(*[(0.1,) * seeds] * 3)) == 1
