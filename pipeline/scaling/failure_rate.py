"""How often a training fails (its head answers one class only), estimated from a cell and from similar cells.

A failed head turns the distribution of scores into a mixture: a few scores at the baseline, the others together. Three
seeds without a failure do not prove that the fourth won't fail, so the share of failures is pooled over the task.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.special import betainc

Floats = npt.NDArray[np.float64]

EDGES: Floats = np.sin(np.linspace(0, np.pi / 2, 34)) ** 2  # finer near 0 and 1
NODES: Floats = (EDGES[1:] + EDGES[:-1]) / 2
MEANS = np.array([0.005, 0.01, 0.02, 0.035, 0.06, 0.1, 0.15, 0.22, 0.3, 0.4, 0.55, 0.75, 0.9])
CONCENTRATIONS = (1.0, 3.0, 10.0, 30.0)  # of the beta prior; high ones say that all cells fail equally often


def estimate_failure_rate(failed: Floats, seeds: Floats) -> Floats:
    """Estimate the probability of a failed training in each cell.

    ``failed`` and ``seeds`` (..., cells) are counts; leading axes are independent studies. Returns the posterior
    weights (..., cells, nodes) of ``NODES``, under a beta prior whose parameters are integrated over a grid.
    """
    likelihood = NODES ** failed[..., None] * (1 - NODES) ** (seeds - failed)[..., None]
    prior, weights = _build_prior()
    evidence = likelihood @ prior.T  # (..., cells, settings)
    log_weights = np.log(weights) + np.log(evidence).sum(-2)
    settings = np.exp(log_weights - log_weights.max(-1, keepdims=True))
    posterior = (settings[..., None, :] / evidence) @ prior * likelihood
    return np.asarray(posterior / posterior.sum(-1, keepdims=True))


def _build_prior() -> tuple[Floats, Floats]:
    """Return the prior of the nodes (settings, nodes) and the weight of each setting (settings,)."""
    settings = np.array(list(product(MEANS, CONCENTRATIONS)))
    mean, concentration = settings.T[:, :, None]
    prior = np.diff(betainc(mean * concentration, (1 - mean) * concentration, EDGES), axis=-1)
    # Jeffreys' prior of the mean on the uneven grid: its density times the distance of neighbours
    width = np.gradient(MEANS) / np.sqrt(MEANS * (1 - MEANS))
    return prior + 1e-12, np.repeat(width, len(CONCENTRATIONS))
