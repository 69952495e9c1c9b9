"""One 95% interval per cell: what it would score on average over new trainings and new examples of the same kind.

The interval covers two sources of chance: the seeds of the training and the examples of the report split. The spread
over seeds is shrunk towards that of similar cells (``seed_spread``), failed heads are a second component of the
distribution (``failure_rate``), and the ends are computed on the logit scale, so they never leave the metric's range.
Without any repeated seed there is no interval and no statement of significance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import logit, ndtr

from pipeline.analysis.statistics import failure_rate, seed_spread
from pipeline.analysis.statistics.seed_spread import SeedSpread

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
# The variance over seeds grows with what is learned beyond the baseline: it is little for a model that learns nothing.
UNLEARNED = 0.05
LEARNED = 3.0  # standard deviations above the baseline, of a training whose skill does not vary
MIN_DOUBT = 0.5  # on the logit scale, about the healthy mean of a cell whose trainings all failed
STEPS = 26  # of bisection: the ends are exact to 3e-8
CORRELATIONS = ("matthews_correlation", "pearson", "spearmanr")


@dataclass(frozen=True)
class CellScores:
    """The scores of one cell, one per seed.

    ``failed`` marks the seeds whose head answers one class only. ``examples_variance`` is the variance of the mean
    score when the report examples are resampled; ``crossed_variance`` is the part of it that comes from seeds answering
    single examples differently. ``data`` is the share of the training data, ``baseline`` the score of the best constant
    prediction. Heads of one ``model`` fail about equally often.
    """

    scores: Sequence[float]
    failed: Sequence[bool]
    examples: int
    examples_variance: float
    crossed_variance: float
    baseline: float = 0.0
    data: float = 1.0
    model: str = ""
    bounds: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class ScoreStatistics:
    """Statistics of cells that are estimated together, as arrays (..., cells).

    ``mean`` is over all seeds, ``healthy_mean`` over those that did not fail, ``variance`` their sample variance.
    Leading axes are independent studies; ``data`` and ``models`` (the number of each cell's model) have none.
    """

    mean: Floats
    healthy_mean: Floats
    variance: Floats
    seeds: Floats
    failed: Floats
    examples: Floats
    examples_variance: Floats
    crossed_variance: Floats
    baseline: Floats
    data: Floats
    models: npt.NDArray[np.int64]
    bounds: tuple[float, float] = (0.0, 1.0)

    @property
    def healthy(self) -> Floats:
        """Return the number of seeds behind the healthy mean: all of them where every head failed."""
        healthy = self.seeds - self.failed
        return np.asarray(np.where(healthy > 0, healthy, self.seeds))

    @property
    def resolution(self) -> Floats:
        """Return half an example in score units: scores that tie are rounded, not certain."""
        return np.asarray(0.5 / self.examples * (self.bounds[1] - self.bounds[0]))


@dataclass(frozen=True)
class Posterior:
    """What is known of the cells' expected scores: the inputs, the spread over seeds and the rate of failed heads.

    ``centre`` (..., cells) is the healthy mean on the logit scale, ``slope`` the change of the score per unit of it,
    ``scale`` the unit in which similar cells spread alike, ``degrees`` those of the cells' own variances, and ``floor``
    the variance over seeds from single examples.
    ``variances`` (..., cells, nodes) are those of the healthy mean, in score units, for each node of the spread.
    ``failures`` (..., cells, nodes) are weights of ``failure_rate.NODES``, None where no head failed.
    """

    scores: ScoreStatistics
    spread: SeedSpread
    centre: Floats
    slope: Floats
    scale: Floats
    degrees: Floats
    floor: Floats
    variances: Floats
    failures: Floats | None


def get_bounds(metric: str) -> tuple[float, float]:
    """Return the least and the greatest value of a metric."""
    return (-1.0, 1.0) if metric in CORRELATIONS else (0.0, 1.0)


def stack_cells(cells: Sequence[CellScores]) -> ScoreStatistics:
    """Return the statistics of the cells of one task as arrays (cells,)."""
    failed = [np.asarray(cell.failed, bool) for cell in cells]
    every = [np.asarray(cell.scores, float) for cell in cells]
    healthy = [values if lost.all() else values[~lost] for values, lost in zip(every, failed, strict=True)]
    return ScoreStatistics(
        mean=np.array([values.mean() for values in every]),
        healthy_mean=np.array([values.mean() for values in healthy]),
        variance=np.array([values.var(ddof=1) if len(values) > 1 else 0.0 for values in healthy]),
        seeds=np.array([len(values) for values in every], float),
        failed=np.array([lost.sum() for lost in failed], float),
        examples=np.array([cell.examples for cell in cells], float),
        examples_variance=np.array([cell.examples_variance for cell in cells]),
        crossed_variance=np.array([cell.crossed_variance for cell in cells]),
        baseline=np.array([cell.baseline for cell in cells]),
        data=np.array([cell.data for cell in cells]),
        models=np.unique([cell.model for cell in cells], return_inverse=True)[1],
        bounds=cells[0].bounds,
    )


def estimate_scores(scores: ScoreStatistics) -> Posterior | None:
    """Estimate the expected scores of cells of one task; None where no cell repeats a seed."""
    low, high = scores.bounds
    least = scores.resolution**2
    inside = np.clip(scores.healthy_mean, low + scores.resolution, high - scores.resolution)
    slope = (inside - low) * (high - inside) / (high - low)
    scale = slope * np.sqrt(np.clip((inside - scores.baseline) / (high - scores.baseline), 0, 1) + UNLEARNED)
    floor = np.maximum(scores.crossed_variance * scores.seeds, least)
    lost = scores.failed == scores.seeds
    degrees = np.where(lost, 0, scores.healthy - 1)
    spread = seed_spread.estimate_spread(scores.variance, degrees, scale, floor, scores.data)
    if spread is None:
        return None
    variances = np.maximum(scores.examples_variance, least)[..., None] + spread.nodes / scores.healthy[..., None]
    # a head that answers one class is no failure where healthy ones are at the baseline, too
    counted = lost | (scores.healthy_mean - scores.baseline > LEARNED * np.sqrt(floor))
    failures = None
    if np.any(counted * scores.failed):
        failures = failure_rate.estimate_failure_rate(counted * scores.failed, counted * scores.seeds, scores.models)
    centre = np.asarray(logit((inside - low) / (high - low)))
    if lost.any():
        centre, doubt = _borrow_centres(centre, lost)
        variances = variances + (lost * (doubt * slope) ** 2)[..., None]
    return Posterior(scores, spread, centre, slope, scale, degrees, floor, variances, failures)


def _borrow_centres(centre: Floats, lost: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Replace the centres of cells without a healthy training by the mean of the others, and return its deviation.

    Nothing else is known of what a healthy training of such a cell would score.
    """
    known = np.maximum((~lost).sum(-1, keepdims=True), 1)
    mean = np.where(lost, 0, centre).sum(-1, keepdims=True) / known
    deviation = np.sqrt(np.where(lost, 0, (centre - mean) ** 2).sum(-1, keepdims=True) / known)
    borrowed = lost & ~lost.all(-1, keepdims=True)
    return np.where(borrowed, mean, centre), np.maximum(deviation, MIN_DOUBT)


def compute_intervals(posterior: Posterior, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
    """Return the ends (..., cells) of the interval of each cell's expected score.

    An interval always contains the reported mean.
    """
    tail = (1 - confidence) / 2
    mean = posterior.scores.mean
    low, high = (_find_quantile(posterior, level) for level in (tail, 1 - tail))
    return np.minimum(low, mean), np.maximum(high, mean)


def _find_quantile(posterior: Posterior, level: float) -> Floats:
    """Return a quantile of each cell's expected score, by bisection of the distribution function."""
    low, high = (np.full(posterior.centre.shape, bound) for bound in posterior.scores.bounds)
    for _ in range(STEPS):
        middle = (low + high) / 2
        below = compute_probability_below(posterior, middle) < level
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray((low + high) / 2)


def compute_probability_below(posterior: Posterior, value: Floats) -> Floats:
    """Return the probability (..., cells) that the expected score is below ``value`` (..., cells)."""
    if posterior.failures is None:
        return _compute_healthy_below(posterior, value)
    rates, baseline = failure_rate.NODES, posterior.scores.baseline
    total = np.zeros(value.shape)
    # score = (1 - rate) * healthy + rate * baseline
    for rate, weight in zip(rates, np.moveaxis(posterior.failures, -1, 0), strict=True):
        total += weight * _compute_healthy_below(posterior, (value - rate * baseline) / (1 - rate))
    return total


def _compute_healthy_below(posterior: Posterior, value: Floats) -> Floats:
    low, high = posterior.scores.bounds
    share = np.clip((value - low) / (high - low), 1e-12, 1 - 1e-12)
    away = (logit(share) - posterior.centre) * posterior.slope
    below = (posterior.spread.weights * ndtr(away[..., None] / np.sqrt(posterior.variances))).sum(-1)
    return np.asarray(below)
