"""A fitted law: its parameters with intervals, its predictions with theirs, and what one more unit buys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from pipeline.analysis.laws import fitting, noise
from pipeline.analysis.laws.forms import STEEPEST, Form
from pipeline.analysis.laws.law_types import Floats, Measured, Question
from pipeline.analysis.laws.noise import Noise, Scale

DRAWS = 512  # a power of 2, as Sobol takes
ENDS = (0.025, 0.975)
TURN = 1.345  # standard deviations; Huber's loss is then 95% as efficient as squares on normal noise (Huber 1981)
FARTHEST = 50.0  # in logarithms that a draw of the noise may lie off; with one degree of freedom it has no end
KNOWN = 10.0  # a parameter whose ends differ by a larger factor is not known to an order of magnitude
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
    level: float = field(repr=False, compare=False)
    theta: Floats = field(repr=False, compare=False)
    draws: Floats = field(repr=False, compare=False)
    scales: Floats = field(repr=False, compare=False)
    noise: Noise = field(repr=False, compare=False)

    def predict(self, at: npt.ArrayLike) -> Floats:
        """Return the law's values at places ``(points, axes)`` in natural units: (points,)."""
        values: Floats = self.level * self.shape.values(self.theta[None], self._logs(at))[0]
        return values

    def band(self, at: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Return the ends of the 95% interval of the law itself at ``(points, axes)``: 0 and infinite if unknown."""
        return self._ends(self.level * self.shape.values(self.draws, self._logs(at)))

    def measured(self, at: npt.ArrayLike, seeds: Sequence[int]) -> tuple[Floats, Floats]:
        """Return the ends of the 95% interval of a mean over so many seeds, measured anew at each place."""
        from scipy import stats

        values = self.level * self.shape.values(self.draws, self._logs(at))
        own = stats.norm.ppf(_evenly(values.shape[1], 1))[: len(values)]
        spread = self.noise.of_mean(np.asarray(seeds, dtype=float))
        return self._ends(values * np.exp(np.clip(self.scales[:, None] * spread * own, -FARTHEST, FARTHEST)))

    def slope(self, at: Sequence[float], axis: int) -> tuple[float, float, float]:
        """Return what one more unit of an axis adds to the value at a place, negative for a gain, and its 95% ends."""
        logs = self._logs([at])
        unit = self.level / at[axis]
        slope = unit * self.shape.slopes(self.theta[None], logs, axis)[0, 0]
        if not len(self.draws):
            return float(slope), -np.inf, 0.0
        low, high = _quantiles(unit * self.shape.slopes(self.draws, logs, axis)[:, 0])
        return float(slope), float(low), float(high)

    def _logs(self, at: npt.ArrayLike) -> Floats:
        logs: Floats = np.log(np.asarray(at, dtype=float)) - self.centre
        return logs

    def _ends(self, draws: Floats) -> tuple[Floats, Floats]:
        if not len(draws):
            return np.zeros(draws.shape[1]), np.full(draws.shape[1], np.inf)
        low, high = _quantiles(draws)
        return low, high


def symbols(question: Question) -> tuple[str, ...]:
    """Return the letter of each axis in formulas: N a size, D data, C compute."""
    return tuple(SYMBOLS.get(axis, "N") for axis in question.axes)


def fit(form: Form, points: Sequence[Measured], letters: tuple[str, ...]) -> Law:
    """Return the law of a form through at least as many places as it has parameters, all above 0.

    Huber's loss on log residuals (Hoffmann et al. 2022, eq. 3), standardised by the spread over seeds, from a start at
    every point of a grid over the exponents; intervals by a parametric bootstrap (``_bootstrap``).
    """
    logs, wanted, centre, level = _centre(points)
    spread = noise.over_seeds(points)
    theta, turn = _optimum(form, logs, wanted, spread)
    residuals = (np.log(form.values(theta[None], logs))[0] - wanted) / spread.means
    size = noise.scale(residuals, turn, form.size, spread.freedom)
    drawn, scales = _bootstrap(form, logs, theta, spread, size, turn)
    natural = _natural(form, np.vstack([theta, drawn]), centre, level)
    parameters = tuple(_parameter(form, place, natural) for place in form.order())
    formula = form.formula(letters)
    return Law(
        form.name, formula, parameters, size.agreement, form, centre, float(np.exp(level)), theta, drawn, scales, spread
    )


def predict_without_intervals(form: Form, points: Sequence[Measured], at: npt.ArrayLike) -> Floats:
    """Return what a form fitted to ``points`` predicts at places (points, axes) in natural units: (points,).

    The values are those of ``fit``'s law; the bootstrap, which takes most of its time, is left out.
    """
    logs, wanted, centre, level = _centre(points)
    theta, _ = _optimum(form, logs, wanted, noise.over_seeds(points))
    values: Floats = np.exp(level) * form.values(theta[None], np.log(np.asarray(at, dtype=float)) - centre)[0]
    return values


def _centre(points: Sequence[Measured]) -> tuple[Floats, Floats, Floats, float]:
    """Return the logarithms of places (points, axes) and values (points,) less their means, and the means."""
    logs = np.log(np.array([point.at for point in points], dtype=float))
    wanted = np.log([point.mean for point in points])
    centre, level = logs.mean(axis=0), float(wanted.mean())
    return logs - centre, wanted - level, centre, level


def _optimum(form: Form, logs: Floats, wanted: Floats, spread: Noise) -> tuple[Floats, float]:
    """Return theta and where Huber's loss turns linear, in units of the spread.

    The turn is set by the seeds' spread, or by the misses' median where that is larger or the only one known.
    """
    theta = fitting.starts(form, logs, np.exp(wanted), spread.means)
    left = len(wanted) - form.size
    turn = TURN
    for _ in range(3):
        many = np.broadcast_to(wanted, (len(theta), len(wanted)))
        found, losses = fitting.refine(form, logs, many, spread.means, np.full(len(theta), turn), theta)
        theta = found[[int(np.argmin(losses))]]
        if left <= 0:
            break
        misses = np.abs(np.log(form.values(theta, logs))[0] - wanted) / spread.means
        typical = float(np.median(misses)) / 0.6745 * np.sqrt(len(wanted) / left)
        turn = TURN * max(typical, 1.0 if spread.freedom else 1e-6)
    return theta[0], turn


def _bootstrap(
    form: Form, logs: Floats, theta: Floats, spread: Noise, size: Scale, turn: float
) -> tuple[Floats, Floats]:
    """Return the parameters (draws, size) of tables that might have been measured instead, and their noise's size.

    Each draw measures every place anew around the law, the noise's size itself drawn from what is known of it (scaled
    inverse chi-squared), so that on a linear law the quantiles are those of Student's t.
    """
    from scipy import stats

    if not size.freedom:
        return np.empty((0, form.size)), np.empty(0)
    evenly = _evenly(len(logs) + 1, 0)
    relative = np.sqrt(size.freedom / stats.chi2.ppf(evenly[:, 0], size.freedom))
    scales = size.size * relative
    drawn = np.clip(stats.norm.ppf(evenly[:, 1:]) * scales[:, None] * spread.means, -FARTHEST, FARTHEST)
    wanted = np.log(form.values(theta[None], logs)) + drawn
    found, _ = fitting.refine(form, logs, wanted, spread.means, turn * relative, np.tile(theta, (DRAWS, 1)))
    return found, scales


def _evenly(columns: int, seed: int) -> Floats:
    """Return draws between 0 and 1 that fill the cube evenly, so that few of them place the ends of an interval.

    Scrambled Sobol points (Owen 1998): of 512 the ends hold 95 +- 0.5%, of as many random numbers +- 1%.
    """
    from scipy.stats import qmc

    random = np.random.default_rng(seed)
    points: Floats = random.permutation(qmc.Sobol(columns, rng=random).random(DRAWS))  # two seeds are independent
    return np.clip(points, 1e-9, 1 - 1e-9)


def _quantiles(draws: Floats) -> Floats:
    """Return the ends of the middle 95% of the first dimension."""
    ends: Floats = np.quantile(draws, ENDS, axis=0, method="weibull")  # unbiased in the tails
    return ends


def _natural(form: Form, theta: Floats, centre: Floats, level: float) -> Floats:
    """Return parameter sets with the coefficients in the unit of value x axis^exponent."""
    split = len(form.terms)
    lifted = np.einsum("bx,x,tx->bt", theta[:, split:], centre, np.array(form.terms, dtype=float))
    return np.concatenate([theta[:, :split] * np.exp(lifted + level), theta[:, split:]], axis=1)


def _parameter(form: Form, place: int, natural: Floats) -> Parameter:
    """Return a parameter from its value, in the first row, and its draws.

    It is determined where its interval touches no bound and its ends are within a factor of ``KNOWN``.
    """
    value, draws, exponent = float(natural[0, place]), natural[1:, place], place >= len(form.terms)
    top = STEEPEST if exponent else np.inf
    low, high = (float(end) for end in _quantiles(draws)) if len(draws) else (0.0, top)
    determined = low > 0 and high < top and high <= KNOWN * low
    return Parameter(form.names()[place], value, low, high, determined)
