import numpy as np
import pytest
from scipy.optimize import curve_fit, least_squares

from pipeline.analysis.laws import fitting
from pipeline.analysis.laws.forms import ADDITIVE, FLOOR, MULTIPLICATIVE, POWER, Form

FORMS = (POWER, FLOOR, ADDITIVE, MULTIPLICATIVE)
TRUE = {
    POWER: (0.7, 0.4),
    FLOOR: (0.3, 0.4, 0.5),
    ADDITIVE: (0.3, 0.3, 0.2, 0.5, 0.4),
    MULTIPLICATIVE: (0.2, 0.6, 0.4, 0.3),
}
NOISE = 0.03


def table(form: Form, noise: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return places as logarithms, and the logarithms of what was measured there."""
    axes = [np.linspace(-1.6, 1.6, 5)] * len(form.exponents)
    logs = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, len(axes))
    exact = np.log(form.compute_values(np.array([TRUE[form]]), logs))[0]
    return logs, exact + noise * np.random.default_rng(seed).standard_normal(len(logs))


def optimum(form: Form, logs: np.ndarray, wanted: np.ndarray, turn: float = 1.345) -> tuple[np.ndarray, float]:
    spread = np.full(len(wanted), NOISE)
    starts = fitting.build_starts(form, logs, np.exp(wanted), spread)
    many = np.tile(wanted, (len(starts), 1))
    found, losses = fitting.refine_params(form, logs, many, spread, np.full(len(starts), turn), starts)
    return found[np.argmin(losses)], float(losses.min())


@pytest.mark.parametrize("form", FORMS)
def test_without_noise_the_truth_is_found_and_so_does_scipy(form: Form) -> None:
    logs, wanted = table(form, 0, 0)
    found, _ = optimum(form, logs, wanted)

    def law(_: object, *theta: float) -> np.ndarray:
        return form.compute_values(np.array([theta]), logs)[0]

    by_scipy, _ = curve_fit(law, logs, np.exp(wanted), p0=[0.5] * form.size)
    assert found == pytest.approx(TRUE[form], rel=1e-4)
    assert found == pytest.approx(by_scipy, rel=1e-4)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(6))
def test_no_start_of_scipy_finds_less_huber_loss_within_the_bounds(form: Form, seed: int) -> None:
    logs, wanted = table(form, NOISE, seed)
    wanted[seed % len(wanted)] += 8 * NOISE
    _, loss = optimum(form, logs, wanted)

    def residuals(theta: np.ndarray) -> np.ndarray:
        return (np.log(form.compute_values(theta[None], logs)[0] + 1e-12) - wanted) / NOISE

    random = np.random.default_rng(seed)
    bounds = tuple(np.clip(bound, 0, 1e3) for bound in form.get_bounds())
    tries = (
        least_squares(residuals, random.uniform(0.05, 1, form.size), bounds=bounds, loss="huber", f_scale=1.345)
        for _ in range(5)
    )
    assert loss <= min(one.cost for one in tries) + 1e-6


def test_many_tables_at_once_give_what_each_gives_alone() -> None:
    tables = [table(FLOOR, NOISE, seed) for seed in range(7)]
    logs, wanted = tables[0][0], np.array([values for _, values in tables])
    spread, start = np.full(len(logs), NOISE), np.tile([0.3, 0.4, 0.5], (7, 1))
    together, losses = fitting.refine_params(FLOOR, logs, wanted, spread, np.full(7, 1.345), start)
    for place in range(7):
        one = slice(place, place + 1)
        alone, loss = fitting.refine_params(FLOOR, logs, wanted[one], spread, np.array([1.345]), start[one])
        assert together[one] == pytest.approx(alone)
        assert losses[one] == pytest.approx(loss)


def test_a_gross_outlier_moves_the_law_less_than_a_fifth_as_far_as_by_least_squares() -> None:
    logs, wanted = table(ADDITIVE, 0.01, 3)
    clean, _ = optimum(ADDITIVE, logs, wanted)
    wanted[7] += 0.8
    away = [np.abs(optimum(ADDITIVE, logs, wanted, turn)[0] - clean).max() for turn in (1.345, np.inf)]
    assert away[0] < 0.2 * away[1]


def test_places_count_by_their_spread() -> None:
    """Two places that say different things of a constant: the mean in logs, weighted by 1 / variance."""
    logs, wanted = np.zeros((2, 1)), np.log([[1.0, 1.1]])
    spread = np.array([0.1, 0.2])
    found, _ = fitting.refine_params(POWER, logs, wanted, spread, np.array([np.inf]), np.array([[1.0, 0.5]]))
    assert np.log(found[0, 0]) == pytest.approx(wanted[0] @ (1 / spread**2) / (1 / spread**2).sum())


def test_a_rising_table_rests_at_an_exponent_of_nought() -> None:
    logs = np.linspace(-1, 1, 5)[:, None]
    found, _ = optimum(POWER, logs, 0.2 * logs[:, 0])
    assert found == pytest.approx([1, 0], abs=0.01)
