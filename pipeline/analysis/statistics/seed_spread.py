"""Spread of scores over training seeds, shrunk towards the spread of similar cells.

Two to ten seeds estimate a standard deviation poorly: Student's t over three seeds is either far too narrow or too wide
to use. Cells of one task spread alike, so each cell's spread is estimated from its own seeds and from its neighbours
(as in limma's moderated t, Smyth 2004). Instead of a conjugate prior with two plugged-in parameters, the prior is
log-normal and its parameters are integrated over a grid, so that a small plan does not overstate what it knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

Floats = npt.NDArray[np.float64]

# Standard deviations over seeds in units of ``scale``. Those of real cells are between 0.03 and 0.6.
NODES: Floats = np.geomspace(0.01, 2.0, 54)
# The prior of a cell's logarithm is normal: centre + slope * log(share of the training data), and a deviation.
CENTRES = np.log(np.geomspace(0.02, 1.0, 18))
SLOPES = (-0.6, -0.4, -0.2, 0.0, 0.2)  # more data makes trainings steadier, rarely the opposite
DEVIATIONS = np.array([0.1, 0.2, 0.3, 0.4, 0.55, 0.75, 1.0])
TINY = 1e-12  # keeps the logarithm of an impossible setting finite
# Weak priors of those: half-normal deviation, and a centre known to a factor of two and a half.
USUAL_CENTRE, CENTRE_DEVIATION, USUAL_DEVIATION = np.log(0.2), 0.9, 0.45


@dataclass(frozen=True)
class SeedSpread:
    """Posterior of each cell's variance over seeds, beyond what single examples cause.

    ``nodes`` (..., cells, nodes) are variances of one seed's score and ``weights`` (..., cells, nodes) their
    probabilities. ``mean`` (..., cells) is the posterior mean, ``covariance`` (..., cells, cells) the posterior
    covariance, which is shared where cells learn about each other from the same neighbours.
    """

    nodes: Floats
    weights: Floats
    mean: Floats
    covariance: Floats


def estimate_spread(variance: Floats, degrees: Floats, scale: Floats, floor: Floats, data: Floats) -> SeedSpread | None:
    """Estimate the variance over seeds of each cell from its own seeds and from all cells.

    ``variance`` (..., cells): sample variance of the scores over seeds. ``degrees`` (..., cells): seeds - 1, 0 for one
    seed, whose spread then comes from the other cells alone. ``scale`` (..., cells): unit in which the cells spread
    alike. ``floor`` (..., cells): variance over seeds that comes from single examples, which is known well.
    ``data`` (cells,): share of the training data. Leading axes are independent studies. Returns None where no cell
    repeats a seed.
    """
    if not np.any(degrees):
        return None
    beyond = (scale[..., None] * NODES) ** 2
    likelihood = _compute_likelihood(variance, degrees, floor[..., None] + beyond)
    shares, of_share = np.unique(data, return_inverse=True)
    prior, log_weights = _build_prior(shares, float(np.log(data).mean()))
    # evidence (..., cells, settings): probability of a cell's sample variance under each setting of the prior
    evidence = _multiply_by_prior(likelihood, prior, of_share)
    log_weights = log_weights + np.log(evidence).sum(-2)
    weights = np.exp(log_weights - log_weights.max(-1, keepdims=True))[..., None, :]
    weights /= weights.sum(-1, keepdims=True)
    per_setting = _multiply_by_prior(likelihood * beyond, prior, of_share) / evidence
    squares = _multiply_by_prior(likelihood * beyond**2, prior, of_share) / evidence
    mean = (weights * per_setting).sum(-1)
    away = (per_setting - mean[..., None]) * np.sqrt(weights)
    covariance = away @ np.swapaxes(away, -1, -2)
    cells = np.arange(len(data))
    covariance[..., cells, cells] += (weights * (squares - per_setting**2)).sum(-1)
    posterior = _multiply_by_prior(weights / evidence, np.swapaxes(prior, -1, -2), of_share) * likelihood
    return SeedSpread(beyond, posterior / posterior.sum(-1, keepdims=True), mean, covariance)


def _multiply_by_prior(values: Floats, prior: Floats, of_share: npt.NDArray[np.int64]) -> Floats:
    """Return each cell's values (..., cells, n) times the prior (shares, m, n) of its share of the data."""
    result = np.empty((*values.shape[:-1], prior.shape[1]))
    for share, matrix in enumerate(prior):
        result[..., of_share == share, :] = values[..., of_share == share, :] @ matrix.T
    return result


def _compute_likelihood(variance: Floats, degrees: Floats, expected: Floats) -> Floats:
    """Return the chi-squared likelihood of sample variances for expected ones (..., cells, nodes), at most 1."""
    half, ratio = degrees[..., None] / 2, variance[..., None] / expected
    log_likelihood = -half * (np.log(expected) + ratio)
    return np.asarray(np.exp(log_likelihood - log_likelihood.max(-1, keepdims=True)))


def _build_prior(shares: Floats, middle: float) -> tuple[Floats, Floats]:
    """Return the prior of the nodes (shares, settings, nodes) and the logarithms of the settings' weights.

    ``middle`` is the mean logarithm of the cells' shares of the data, where the prior's centre holds.
    """
    slopes = SLOPES if len(shares) > 1 else (0.0,)
    settings = np.array(list(product(CENTRES, slopes, DEVIATIONS)))
    centre, slope, deviation = settings.T
    steps = np.diff(DEVIATIONS, prepend=0.0)  # the grid of deviations is uneven
    log_weights = (
        -(((centre - USUAL_CENTRE) / CENTRE_DEVIATION) ** 2) / 2
        - (deviation / USUAL_DEVIATION) ** 2 / 2
        + np.log(np.tile(steps, len(settings) // len(steps)))
    )
    logs = np.log(NODES)
    edges = np.concatenate([[-np.inf], (logs[1:] + logs[:-1]) / 2, [np.inf]])
    expected = centre + slope * (np.log(shares)[:, None] - middle)
    prior = np.diff(ndtr((edges - expected[..., None]) / deviation[:, None]), axis=-1)
    return np.asarray(prior) + TINY, np.asarray(log_weights)
