"""Gain of one cell over another that shares its seeds and its examples: a student with and without its teacher.

Both trainings of a pair draw the same head and the same order of the data, so the difference is taken seed by seed and
example by example. Its interval covers new seeds and new examples, as that of a score does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from pipeline.analysis.statistics import bootstrap, seed_spread
from pipeline.analysis.statistics.bootstrap import CellPredictions
from pipeline.analysis.statistics.score_intervals import CONFIDENCE, Posterior, get_bounds
from pipeline.analysis.statistics.weighted_metrics import WEIGHTED_METRICS

Floats = npt.NDArray[np.float64]

STEPS = 60  # of bisection


@dataclass(frozen=True)
class PairedScores:
    """The gains of one pair of cells, one per seed, in score units.

    ``scale`` is the root of the sum of both cells' squared ``Posterior.scale``. ``examples_variance`` and
    ``crossed_variance`` are as in ``CellScores``, of the mean difference. ``resolution`` is half an example in score
    units.
    """

    gains: Sequence[float]
    scale: float
    examples_variance: float
    crossed_variance: float
    resolution: float
    data: float = 1.0


@dataclass(frozen=True)
class PairedGain:
    """The mean gain, its 95% interval and its two-sided p value; None where the spread over seeds is unknown."""

    mean: float
    low: float | None
    high: float | None
    p: float | None


def compute_paired_scores(
    cell: CellPredictions, other: CellPredictions, scale: float, data: float = 1.0, resamples: int = bootstrap.RESAMPLES
) -> PairedScores:
    """Return the gains of ``cell`` over ``other``, with what resampled examples change in their mean.

    Both hold predictions of the same seeds, in the same order, on the same examples.
    """
    scored = [WEIGHTED_METRICS[one.metric](one.predictions, one.labels) for one in (cell, other)]
    examples = len(cell.labels)
    batches = bootstrap.draw_weights(np.random.default_rng(0), resamples, examples)
    drawn = np.concatenate([scored[0](weights) - scored[1](weights) for weights in batches])
    exact = scored[0](np.ones((1, examples), np.float32)) - scored[1](np.ones((1, examples), np.float32))
    low, high = get_bounds(cell.metric)
    return PairedScores(
        exact[0].tolist(),
        scale,
        float(drawn.mean(axis=1).var(ddof=1)),
        bootstrap.compute_crossed_variance(drawn),
        (high - low) / 2 / examples,
        data,
    )


def estimate_gains(pairs: Sequence[PairedScores], cells: Posterior | None) -> list[PairedGain]:
    """Estimate the expected gain of each pair.

    ``cells`` is the posterior of the task's cells: a study has few pairs, so their spread is shrunk towards that of the
    cells' own scores. Without it (no cell repeats a seed) there is no interval.
    """
    means = [float(np.mean(pair.gains)) for pair in pairs]
    if cells is None:
        return [PairedGain(mean, None, None, None) for mean in means]
    seeds = np.array([len(pair.gains) for pair in pairs], float)
    rows = np.array(
        [
            (
                np.var(pair.gains, ddof=1) if len(pair.gains) > 1 else 0.0, len(pair.gains) - 1, pair.scale,
                max(pair.crossed_variance * len(pair.gains), pair.resolution**2), pair.data,
            )
            for pair in pairs
        ]
    )  # fmt: skip
    spread = seed_spread.estimate_spread(*np.concatenate([_stack_cells(cells), rows]).T)
    if spread is None:
        return [PairedGain(mean, None, None, None) for mean in means]
    least = [max(pair.examples_variance, pair.resolution**2) for pair in pairs]
    errors = np.sqrt(np.array(least)[:, None] + spread.nodes[-len(pairs) :] / seeds[:, None])
    weights = spread.weights[-len(pairs) :]
    half = _find_half_width(errors, weights)
    p = 2 * (weights * ndtr(-np.abs(np.array(means))[:, None] / errors)).sum(-1)
    return [
        PairedGain(mean, mean - width, mean + width, chance)
        for mean, width, chance in zip(means, half.tolist(), p.tolist(), strict=True)
    ]


def _stack_cells(cells: Posterior) -> Floats:
    """Return what the spread of each cell is estimated from: (cells, inputs of ``estimate_spread``)."""
    scores = cells.scores
    return np.stack([scores.variance, cells.degrees, cells.scale, cells.floor, scores.data], 1)


def _find_half_width(errors: Floats, weights: Floats) -> Floats:
    """Return half the width of the interval of mixtures of normals around zero: errors and weights (pairs, nodes)."""
    low, high = np.zeros(len(errors)), 10 * errors.max(axis=1)
    for _ in range(STEPS):
        middle = (low + high) / 2
        outside = 2 * (weights * ndtr(-middle[:, None] / errors)).sum(-1)
        low, high = np.where(outside > 1 - CONFIDENCE, middle, low), np.where(outside > 1 - CONFIDENCE, high, middle)
    return np.asarray((low + high) / 2)
