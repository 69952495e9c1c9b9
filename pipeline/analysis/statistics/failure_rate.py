"""How often a training fails (its head answers one class only), estimated from a cell and from similar cells.

A failed head turns the distribution of scores into a mixture: a few scores at the baseline, the others together. Three
seeds without a failure do not prove that the fourth won't fail, so the rate is shared in three levels: a cell, the
cells of its model, and the task.
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
# Of the beta distributions of cells around their model and of models around the task; high values mean little spread.
CONCENTRATIONS = (1.0, 4.0, 20.0, 150.0)
TINY = 1e-12


def estimate_failure_rate(failed: Floats, seeds: Floats, models: npt.NDArray[np.int64]) -> Floats:
    """Estimate the probability of a failed training in each cell.

    ``failed`` and ``seeds`` (..., cells) are counts; ``models`` (cells,) numbers the model of each cell. Leading axes
    are independent studies. Returns the posterior weights (..., cells, nodes) of ``NODES``; the parameters of the prior
    are integrated over a grid.
    """
    likelihood = NODES ** failed[..., None] * (1 - NODES) ** (seeds - failed)[..., None]
    membership = (np.arange(models.max() + 1)[:, None] == models).astype(float)
    of_models, log_means = _build_model_prior()
    parts = []
    for concentration in CONCENTRATIONS:
        of_cells = _build_beta(NODES, concentration)
        of_cell = likelihood @ of_cells.T  # (..., cells, rate of the model)
        of_model = np.exp(membership @ np.log(of_cell))  # (..., models, rate of the model)
        evidence = of_model @ of_models.T  # (..., models, settings)
        parts.append((of_cells, of_cell, of_model, evidence, log_means + np.log(evidence).sum(-2)))
    top = np.max([part[-1].max(-1) for part in parts], axis=0)
    posterior = np.zeros(likelihood.shape)
    for of_cells, of_cell, of_model, evidence, log_weights in parts:
        weights = np.exp(log_weights - top[..., None])
        rates = (weights[..., None, :] / evidence) @ of_models * of_model
        posterior += (rates[..., models, :] / of_cell) @ of_cells * likelihood
    return np.asarray(posterior / posterior.sum(-1, keepdims=True))


def _build_model_prior() -> tuple[Floats, Floats]:
    """Return priors of a model's rate (settings, nodes) and the logarithms of the settings' weights."""
    settings = np.array(list(product(MEANS, CONCENTRATIONS)))
    prior = np.concatenate([_build_beta(np.array([mean]), concentration) for mean, concentration in settings])
    # Jeffreys' prior of the mean on the uneven grid: its density times the distance of neighbours
    width = np.gradient(MEANS) / np.sqrt(MEANS * (1 - MEANS))
    return prior, np.log(np.repeat(width, len(CONCENTRATIONS)))


def _build_beta(means: Floats, concentration: float) -> Floats:
    """Return the probability of each node under beta distributions with these means: (means, nodes)."""
    mean = means[:, None]
    return np.asarray(np.diff(betainc(mean * concentration, (1 - mean) * concentration, EDGES), axis=-1) + TINY)
