"""A fitted law: parameters, predictions and slopes with 95% intervals."""

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
    """One parameter in natural units with its 95% interval.

    ``determined`` is False if the data do not determine it.
    """

    name: str
    value: float
    low: float
    high: float
    determined: bool


@dataclass(frozen=True)
class Law:
    """A form fitted to observations; ``parameters`` are in natural units.

    ``agreement`` is the probability that a true law has residuals this large, given the spread over seeds; None if that
    spread is unknown. The other fields serve predictions: ``params`` in fitted units (log axes minus ``centre``, values
    divided by ``scale``), ``param_samples`` (samples, size) of the bootstrap, empty if the noise is unknown, and the
    noise scale of each sample.
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
        """Return values at coordinates (points, axes) in natural units: (points,)."""
        values: Floats = self.scale * self.shape.compute_values(self.params[None], self._center_logs(at))[0]
        return values

    def predict_band(self, at: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Return the 95% interval of the law at (points, axes); 0 and infinite if unknown."""
        return self._compute_ends(self.scale * self.shape.compute_values(self.param_samples, self._center_logs(at)))

    def predict_mean_interval(self, at: npt.ArrayLike, seeds: Sequence[int]) -> tuple[Floats, Floats]:
        """Return the 95% interval of a new mean over the given number of ``seeds`` per point."""
        from scipy import stats

        values = self.scale * self.shape.compute_values(self.param_samples, self._center_logs(at))
        own = stats.norm.ppf(_sample_uniform(values.shape[1], 1))[: len(values)]
        spread = self.noise.compute_mean_spread(np.asarray(seeds, dtype=float))
        return self._compute_ends(
            values * np.exp(np.clip(self.noise_scales[:, None] * spread * own, -MAX_LOG_NOISE, MAX_LOG_NOISE))
        )

    def compute_slope(self, at: Sequence[float], axis: int) -> tuple[float, float, float]:
        """Return the change of the value per unit of an axis, with its 95% interval.

        A negative slope is a gain.
        """
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

    def _compute_ends(self, samples: Floats) -> tuple[Floats, Floats]:
        if not len(samples):
            return np.zeros(samples.shape[1]), np.full(samples.shape[1], np.inf)
        low, high = _compute_quantiles(samples)
        return low, high


def get_symbols(dataset: LawDataset) -> tuple[str, ...]:
    """Return the symbol of each axis in formulas: N for size, D for data, C for compute."""
    return tuple(SYMBOLS.get(axis, "N") for axis in dataset.axes)


def fit_law(form: Form, observations: Sequence[Observation], letters: tuple[str, ...]) -> Law:
    """Fit a form to at least as many positive observations as it has parameters.

    Huber loss on log residuals (Hoffmann et al. 2022, eq. 3), standardised by the spread over seeds, started at every
    point of a grid over the exponents. Intervals come from a parametric bootstrap (``_sample_params``).
    """
    logs, log_values, centre, log_scale = _center(observations)
    spread = noise.estimate_seed_noise(observations)
    params, huber_delta = _find_optimum(form, logs, log_values, spread)
    residuals = (np.log(form.compute_values(params[None], logs))[0] - log_values) / spread.of_means
    size = noise.estimate_noise_scale(residuals, huber_delta, form.size, spread.degrees)
    drawn, scales = _sample_params(form, logs, params, spread, size, huber_delta)
    natural = _convert_to_natural(form, np.vstack([params, drawn]), centre, log_scale)
    parameters = tuple(_build_parameter(form, index, natural) for index in form.get_display_order())
    formula = form.format_formula(letters)
    return Law(
        form.name,
        formula,
        parameters,
        size.agreement,
        form,
        centre,
        float(np.exp(log_scale)),
        params,
        drawn,
        scales,
        spread,
    )


def predict_without_intervals(form: Form, observations: Sequence[Observation], at: npt.ArrayLike) -> Floats:
    """Return the predictions of a form fitted to ``observations`` at (points, axes): (points,).

    The values equal those of ``fit_law``; the bootstrap, which takes most of its time, is skipped.
    """
    logs, log_values, centre, log_scale = _center(observations)
    params, _ = _find_optimum(form, logs, log_values, noise.estimate_seed_noise(observations))
    values: Floats = (
        np.exp(log_scale) * form.compute_values(params[None], np.log(np.asarray(at, dtype=float)) - centre)[0]
    )
    return values


def _center(observations: Sequence[Observation]) -> tuple[Floats, Floats, Floats, float]:
    """Return centred logs of coordinates (points, axes) and values (points,), and both means."""
    logs = np.log(np.array([observation.at for observation in observations], dtype=float))
    log_values = np.log([observation.mean for observation in observations])
    centre, log_scale = logs.mean(axis=0), float(log_values.mean())
    return logs - centre, log_values - log_scale, centre, log_scale


def _find_optimum(form: Form, logs: Floats, log_values: Floats, spread: SeedNoise) -> tuple[Floats, float]:
    """Return the fitted parameters and the Huber delta in units of the spread.

    The delta follows the spread over seeds, or the median residual if that is larger or the only estimate.
    """
    params = fitting.build_starts(form, logs, np.exp(log_values), spread.of_means)
    left = len(log_values) - form.size
    huber_delta = HUBER_DELTA
    for _ in range(3):
        many = np.broadcast_to(log_values, (len(params), len(log_values)))
        refined, losses = fitting.refine_params(
            form, logs, many, spread.of_means, np.full(len(params), huber_delta), params
        )
        params = refined[[int(np.argmin(losses))]]
        if left <= 0:
            break
        residuals = np.abs(np.log(form.compute_values(params, logs))[0] - log_values) / spread.of_means
        typical = float(np.median(residuals)) / 0.6745 * np.sqrt(len(log_values) / left)
        huber_delta = HUBER_DELTA * max(typical, 1.0 if spread.degrees else 1e-6)
    return params[0], huber_delta


def _sample_params(
    form: Form, logs: Floats, params: Floats, spread: SeedNoise, size: NoiseScale, huber_delta: float
) -> tuple[Floats, Floats]:
    """Return bootstrap samples of the parameters (samples, size) and their noise scales.

    Each sample simulates new values around the law. The noise scale itself is sampled (scaled inverse chi-squared), so
    on a linear law the quantiles are those of Student's t.
    """
    from scipy import stats

    if not size.degrees:
        return np.empty((0, form.size)), np.empty(0)
    evenly = _sample_uniform(len(logs) + 1, 0)
    relative = np.sqrt(size.degrees / stats.chi2.ppf(evenly[:, 0], size.degrees))
    scales = size.size * relative
    drawn = np.clip(stats.norm.ppf(evenly[:, 1:]) * scales[:, None] * spread.of_means, -MAX_LOG_NOISE, MAX_LOG_NOISE)
    log_values = np.log(form.compute_values(params[None], logs)) + drawn
    refined, _ = fitting.refine_params(
        form, logs, log_values, spread.of_means, huber_delta * relative, np.tile(params, (BOOTSTRAP_SAMPLES, 1))
    )
    return refined, scales


def _sample_uniform(columns: int, seed: int) -> Floats:
    """Return evenly spread samples in (0, 1): (BOOTSTRAP_SAMPLES, columns).

    Scrambled Sobol points (Owen 1998): the ends from 512 of them cover 95 +- 0.5%, from random numbers +- 1%.
    """
    from scipy.stats import qmc

    random = np.random.default_rng(seed)
    points: Floats = random.permutation(
        qmc.Sobol(columns, rng=random).random(BOOTSTRAP_SAMPLES)
    )  # two seeds are independent
    return np.clip(points, 1e-9, 1 - 1e-9)


def _compute_quantiles(samples: Floats) -> Floats:
    """Return the ends of the central 95% along the first dimension."""
    ends: Floats = np.quantile(samples, INTERVAL_LEVELS, axis=0, method="weibull")  # unbiased in the tails
    return ends


def _convert_to_natural(form: Form, params: Floats, centre: Floats, log_scale: float) -> Floats:
    """Convert coefficients to units of value x axis^exponent."""
    split = len(form.terms)
    lifted = np.einsum("bx,x,tx->bt", params[:, split:], centre, np.array(form.terms, dtype=float))
    return np.concatenate([params[:, :split] * np.exp(lifted + log_scale), params[:, split:]], axis=1)


def _build_parameter(form: Form, index: int, natural: Floats) -> Parameter:
    """Build one parameter from its value (first row) and its samples.

    It is determined if its interval touches no bound and its ends differ by at most ``MAX_INTERVAL_RATIO``.
    """
    value, samples, exponent = float(natural[0, index]), natural[1:, index], index >= len(form.terms)
    top = MAX_EXPONENT if exponent else np.inf
    low, high = (float(end) for end in _compute_quantiles(samples)) if len(samples) else (0.0, top)
    determined = low > 0 and high < top and high <= MAX_INTERVAL_RATIO * low
    return Parameter(form.get_names()[index], value, low, high, determined)
