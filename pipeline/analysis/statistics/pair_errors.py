"""Standard errors of the differences between cells, from the spread over seeds shared by similar cells."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.analysis.statistics import failure_rate
from pipeline.analysis.statistics.score_intervals import Posterior

Floats = npt.NDArray[np.float64]


def compute_pair_errors(posterior: Posterior, covariance: Floats) -> tuple[Floats, Floats]:
    """Return the standard error of each difference of two cells' mean scores and its degrees of freedom.

    ``covariance`` (..., cells, cells) is that of the scores when the report examples are resampled. Both results are
    (..., pairs), in the order of ``np.triu_indices(cells, 1)``. They define the Student's t distribution that has the
    variance and the kurtosis of the posterior: for a variance with mean m and variance v the degrees are 4 + 2 m² / v
    and the squared scale is m (degrees - 2) / degrees.
    """
    mean, spread = _compute_seed_part(posterior)
    one, other = np.triu_indices(mean.shape[-1], 1)
    diagonal = np.diagonal(covariance, axis1=-2, axis2=-1)
    examples = diagonal[..., one] + diagonal[..., other] - 2 * covariance[..., one, other]
    least = posterior.scores.resolution[..., one] ** 2
    variance = np.maximum(examples, least) + mean[..., one] + mean[..., other]
    own = np.diagonal(spread, axis1=-2, axis2=-1)
    uncertain = own[..., one] + own[..., other] + 2 * spread[..., one, other]
    degrees = 4 + 2 * variance**2 / uncertain
    return np.sqrt(variance * (1 - 2 / degrees)), degrees


def _compute_seed_part(posterior: Posterior) -> tuple[Floats, Floats]:
    """Return mean (..., cells) and covariance (..., cells, cells) of what the seeds add to the variance of the scores.

    A failed head adds p (1 - p) times the squared drop to the baseline.
    """
    scores, spread = posterior.scores, posterior.spread
    mean, covariance = spread.mean, spread.covariance.copy()
    if posterior.failures is not None:
        drop = (scores.healthy_mean - scores.baseline) ** 2
        rates = failure_rate.NODES
        first, second = (posterior.failures @ (rates * (1 - rates)) ** power for power in (1, 2))
        mean = mean * (1 - posterior.failures @ rates) + first * drop
        cells = np.arange(mean.shape[-1])
        covariance[..., cells, cells] += (second - first**2) * drop**2
    seeds = scores.seeds
    return mean / seeds, covariance / (seeds[..., :, None] * seeds[..., None, :])
