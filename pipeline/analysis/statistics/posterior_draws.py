"""Random draws of what cells would score and cost on average, for statements that combine several cells.

Fronts, the answer and cost at equal quality ask how often something holds over these draws. The draws of one cell have
the quantiles of its interval, so that one cell has one interval everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from pipeline.analysis.statistics import failure_rate, seed_spread
from pipeline.analysis.statistics.score_intervals import Posterior

Floats = npt.NDArray[np.float64]

MIN_COST_SPREAD = 1e-3  # of the logarithm of a cost: a clock's resolution


def sample_expected_scores(posterior: Posterior, covariance: Floats, resamples: int, seed: int = 0) -> Floats:
    """Draw the expected score of each cell of one task: (resamples, cells).

    ``covariance`` (cells, cells) is that of the scores when the report examples are resampled: cells that are right on
    the same examples rise and fall together.
    """
    random = np.random.default_rng(seed)
    scores, (low, high) = posterior.scores, posterior.scores.bounds
    covariance = covariance + np.diag(np.maximum(0, scores.resolution**2 - np.diag(covariance)))
    moved = random.multivariate_normal(np.zeros(len(covariance)), covariance, resamples, method="eigh")
    nodes = posterior.spread.nodes / scores.healthy[:, None]
    moved += np.sqrt(_sample_nodes(random, nodes, posterior.spread.weights, resamples)) * random.normal(
        size=moved.shape
    )
    healthy = low + (high - low) * expit(posterior.centre + moved / posterior.slope)
    if posterior.failures is None:
        return np.asarray(healthy)
    rates = np.broadcast_to(failure_rate.NODES, posterior.failures.shape)
    rate = _sample_nodes(random, rates, posterior.failures, resamples)
    return np.asarray((1 - rate) * healthy + rate * scores.baseline)


def sample_costs(costs: Sequence[Sequence[float]], resamples: int, seed: int = 1) -> Floats:
    """Draw the mean cost of each cell from its measurements, one per seed: (resamples, cells).

    The spread of the logarithm is shrunk towards that of all cells. A cost that no seed changes, such as bytes, is
    exact; so is one that was measured once everywhere, since nothing estimates its spread. Cells with the same
    measurements, such as a pooled latency, have the same cost and share their draws.
    """
    different = list(dict.fromkeys(tuple(values) for values in costs))
    columns = {values: column for column, values in enumerate(different)}
    drawn = _sample_different_costs(different, resamples, seed)
    return drawn[:, [columns[tuple(values)] for values in costs]]


def _sample_different_costs(costs: Sequence[Sequence[float]], resamples: int, seed: int) -> Floats:
    means = np.array([np.mean(values) for values in costs], float)
    exact = np.tile(means, (resamples, 1))
    if all(min(values) == max(values) for values in costs):
        return exact
    random = np.random.default_rng(seed)
    counts = np.array([len(values) for values in costs], float)
    variance = np.array([np.var(np.log(values), ddof=1) if len(values) > 1 else 0.0 for values in costs])
    ones = np.ones(len(costs))
    spread = seed_spread.estimate_spread(variance, counts - 1, ones, MIN_COST_SPREAD**2 * ones, ones)
    if spread is None:
        return exact
    nodes = (spread.nodes + MIN_COST_SPREAD**2) / counts[:, None]
    return exact * np.exp(
        np.sqrt(_sample_nodes(random, nodes, spread.weights, resamples)) * random.normal(size=exact.shape)
    )


def _sample_nodes(random: np.random.Generator, nodes: Floats, weights: Floats, resamples: int) -> Floats:
    """Draw a node of each cell by its weight: nodes and weights (cells, nodes), result (resamples, cells)."""
    ends = np.cumsum(weights, axis=1)
    uniform = random.random((resamples, len(nodes))) * ends[:, -1]
    picked = [np.searchsorted(ends[cell], uniform[:, cell]) for cell in range(len(nodes))]
    return np.stack([nodes[cell][at] for cell, at in enumerate(picked)], 1)
