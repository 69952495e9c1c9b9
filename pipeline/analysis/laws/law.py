"""A fitted law: its parameters with intervals, its predictions with theirs, and what one more unit buys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.analysis.laws import fitting, noise
from pipeline.analysis.laws.forms import MAX_EXPONENT, Form
from pipeline.analysis.laws.law_types import Floats, LawDataset, Observation
from pipeline.analysis.laws.noise import NoiseScale, SeedNoise

BOOTSTRAP_SAMPLES = 512  # a power of 2, as Sobol takes
INTERVAL_LEVELS = (0.025, 0.975)
HUBER_DELTA = (
    1.345  # standard deviations; Huber's loss is then 95% as efficient as squares on normal noise (Huber 1981)
)
MAX_LOG_NOISE = 50.0  # in logarithms that a draw of the noise may lie off; with one degree of freedom it has no end
MAX_INTERVAL_RATIO = 10.0  # a parameter whose ends differ by a larger factor is not known to an order of magnitude
SYMBOLS = {"train_examples": "D", "train_flops": "C"}  # every other axis is a size: N


@dataclass(frozen=True)
class Parameter:
    """One number of a law in natural units with its 95% interval; not ``determined`` where the data do not tell it."""

    name: str
    value: float
    low: float
    high: float
    determined: bool


@dataclass(frozen=True)
class Law:
    """A form fitted to places: ``parameters`` in natural units, as ``formula`` names them.

    ``agreement`` is how likely a true law would miss the places as far as this one does, by the spread over seeds; None
    where that is not known. What follows serves predictions: theta in the units in which it was fitted (logarithms of
    the axes less ``centre``, values over ``level``), its bootstrap draws (draws, size), empty where nothing tells the
    noise, and the noise of each draw.
    """

    form: str
    formula: str
    parameters: tuple[Parameter, ...]
    agreement: float | None
    shape: Form = field(repr=False, compare=False)
    centre: Floats = field(repr=False, compare=False)
    scale: float = field(repr=False, compare=False)
    params: Floats = field(repr=False, compare=False)
    param_samples: Floats = field(repr=False, compare=False)
    noise_scales: Floats = field(repr=False, compare=False)
    noise: SeedNoise = field(repr=False, compare=False)

    def predict(self, at: npt.ArrayLike) -> Floats:
        """Return the law's values at places ``(points, axes)`` in natural units: (points,)."""
        values: Floats = self.scale * self.shape.compute_values(self.params[None], self._center_logs(at))[0]
        return values

    def predict_band(self, at: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Return the ends of the 95% interval of the law itself at ``(points, axes)``: 0 and infinite if unknown."""
        return self._compute_ends(self.scale * self.shape.compute_values(self.param_samples, self._center_logs(at)))

    def predict_mean_interval(self, at: npt.ArrayLike, seeds: Sequence[int]) -> tuple[Floats, Floats]:
        """Return the ends of the 95% interval of a mean over so many seeds, measured anew at each place."""
        from scipy import stats

        values = self.scale * self.shape.compute_values(self.param_samples, self._center_logs(at))
        own = stats.norm.ppf(_sample_uniform(values.shape[1], 1))[: len(values)]
        spread = self.noise.compute_mean_spread(np.asarray(seeds, dtype=float))
        return self._compute_ends(
            values * np.exp(np.clip(self.noise_scales[:, None] * spread * own, -MAX_LOG_NOISE, MAX_LOG_NOISE))
        )

    def compute_slope(self, at: Sequence[float], axis: int) -> tuple[float, float, float]:
        """Return what one more unit of an axis adds to the value at a place, negative for a gain, and its 95% ends."""
        logs = self._center_logs([at])
        unit = self.scale / at[axis]
        slope = unit * self.shape.compute_slopes(self.params[None], logs, axis)[0, 0]
        if not len(self.param_samples):
            return float(slope), -np.inf, 0.0
        low, high = _compute_quantiles(unit * self.shape.compute_slopes(self.param_samples, logs, axis)[:, 0])
        return float(slope), float(low), float(high)

    def _center_logs(self, at: npt.ArrayLike) -> Floats:
        logs: Floats = np.log(np.asarray(at, dtype=float)) - self.centre
        return logs

    def _compute_ends(self, draws: Floats) -> tuple[Floats, Floats]:
        if not len(draws):
            return np.zeros(draws.shape[1]), np.full(draws.shape[1], np.inf)
        low, high = _compute_quantiles(draws)
        return low, high


def get_symbols(question: LawDataset) -> tuple[str, ...]:
    """Return the letter of each axis in formulas: N a size, D data, C compute."""
    return tuple(SYMBOLS.get(axis, "N") for axis in question.axes)


def fit_law(form: Form, points: Sequence[Observation], letters: tuple[str, ...]) -> Law:
    """Return the law of a form through at least as many places as it has parameters, all above 0.

    Huber's loss on log residuals (Hoffmann et al. 2022, eq. 3), standardised by the spread over seeds, from a start at
    every point of a grid over the exponents; intervals by a parametric bootstrap (``_sample_params``).
    """
    logs, wanted, centre, level = _center(points)
    spread = noise.estimate_seed_noise(points)
    theta, turn = _find_optimum(form, logs, wanted, spread)
    residuals = (np.log(form.compute_values(theta[None], logs))[0] - wanted) / spread.of_means
    size = noise.estimate_noise_scale(residuals, turn, form.size, spread.degrees)
    drawn, scales = _sample_params(form, logs, theta, spread, size, turn)
    natural = _convert_to_natural(form, np.vstack([theta, drawn]), centre, level)
    parameters = tuple(_build_parameter(form, place, natural) for place in form.get_display_order())
    formula = form.format_formula(letters)
    return Law(
        form.name, formula, parameters, size.agreement, form, centre, float(np.exp(level)), theta, drawn, scales, spread
    )


def predict_without_intervals(form: Form, points: Sequence[Observation], at: npt.ArrayLike) -> Floats:
    """Return what a form fitted to ``points`` predicts at places (points, axes) in natural units: (points,).

    The values are those of ``fit_law``'s law; the bootstrap, which takes most of its time, is left out.
    """
    logs, wanted, centre, level = _center(points)
    theta, _ = _find_optimum(form, logs, wanted, noise.estimate_seed_noise(points))
    values: Floats = np.exp(level) * form.compute_values(theta[None], np.log(np.asarray(at, dtype=float)) - centre)[0]
    return values


def _center(points: Sequence[Observation]) -> tuple[Floats, Floats, Floats, float]:
    """Return the logarithms of places (points, axes) and values (points,) less their means, and the means."""
    logs = np.log(np.array([point.at for point in points], dtype=float))
    wanted = np.log([point.mean for point in points])
    centre, level = logs.mean(axis=0), float(wanted.mean())
    return logs - centre, wanted - level, centre, level


def _find_optimum(form: Form, logs: Floats, wanted: Floats, spread: SeedNoise) -> tuple[Floats, float]:
    """Return theta and where Huber's loss turns linear, in units of the spread.

    The turn is set by the seeds' spread, or by the misses' median where that is larger or the only one known.
    """
    theta = fitting.build_starts(form, logs, np.exp(wanted), spread.of_means)
    left = len(wanted) - form.size
    turn = HUBER_DELTA
    for _ in range(3):
        many = np.broadcast_to(wanted, (len(theta), len(wanted)))
        found, losses = fitting.refine_params(form, logs, many, spread.of_means, np.full(len(theta), turn), theta)
        theta = found[[int(np.argmin(losses))]]
        if left <= 0:
            break
        misses = np.abs(np.log(form.compute_values(theta, logs))[0] - wanted) / spread.of_means
        typical = float(np.median(misses)) / 0.6745 * np.sqrt(len(wanted) / left)
        turn = HUBER_DELTA * max(typical, 1.0 if spread.degrees else 1e-6)
    return theta[0], turn


def _sample_params(
    form: Form, logs: Floats, theta: Floats, spread: SeedNoise, size: NoiseScale, turn: float
) -> tuple[Floats, Floats]:
    """Return the parameters (draws, size) of tables that might have been measured instead, and their noise's size.

    Each draw measures every place anew around the law, the noise's size itself drawn from what is known of it (scaled
    inverse chi-squared), so that on a linear law the quantiles are those of Student's t.
    """
    from scipy import stats

    if not size.degrees:
        return np.empty((0, form.size)), np.empty(0)
    evenly = _sample_uniform(len(logs) + 1, 0)
    relative = np.sqrt(size.degrees / stats.chi2.ppf(evenly[:, 0], size.degrees))
    scales = size.size * relative
    drawn = np.clip(stats.norm.ppf(evenly[:, 1:]) * scales[:, None] * spread.of_means, -MAX_LOG_NOISE, MAX_LOG_NOISE)
    wanted = np.log(form.compute_values(theta[None], logs)) + drawn
    found, _ = fitting.refine_params(
        form, logs, wanted, spread.of_means, turn * relative, np.tile(theta, (BOOTSTRAP_SAMPLES, 1))
    )
    return found, scales


def _sample_uniform(columns: int, seed: int) -> Floats:
    """Return draws between 0 and 1 that fill the cube evenly, so that few of them place the ends of an interval.

    Scrambled Sobol points (Owen 1998): of 512 the ends hold 95 +- 0.5%, of as many random numbers +- 1%.
    """
    from scipy.stats import qmc

    random = np.random.default_rng(seed)
    points: Floats = random.permutation(
        qmc.Sobol(columns, rng=random).random(BOOTSTRAP_SAMPLES)
    )  # two seeds are independent
    return np.clip(points, 1e-9, 1 - 1e-9)


def _compute_quantiles(draws: Floats) -> Floats:
    """Return the ends of the middle 95% of the first dimension."""
    ends: Floats = np.quantile(draws, INTERVAL_LEVELS, axis=0, method="weibull")  # unbiased in the tails
    return ends


def _convert_to_natural(form: Form, theta: Floats, centre: Floats, level: float) -> Floats:
    """Return parameter sets with the coefficients in the unit of value x axis^exponent."""
    split = len(form.terms)
    lifted = np.einsum("bx,x,tx->bt", theta[:, split:], centre, np.array(form.terms, dtype=float))
    return np.concatenate([theta[:, :split] * np.exp(lifted + level), theta[:, split:]], axis=1)


def _build_parameter(form: Form, place: int, natural: Floats) -> Parameter:
    """Return a parameter from its value, in the first row, and its draws.

    It is determined where its interval touches no bound and its ends are within a factor of ``MAX_INTERVAL_RATIO``.
    """
    value, draws, exponent = float(natural[0, place]), natural[1:, place], place >= len(form.terms)
    top = MAX_EXPONENT if exponent else np.inf
    low, high = (float(end) for end in _compute_quantiles(draws)) if len(draws) else (0.0, top)
    determined = low > 0 and high < top and high <= MAX_INTERVAL_RATIO * low
    return Parameter(form.get_names()[place], value, low, high, determined)
