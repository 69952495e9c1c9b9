"""Minimise Huber loss on log residuals, for many datasets and starts at once.

Projected Levenberg-Marquardt with reweighting (bounds: Bertsekas 1982, SIAM J. Control Optim. 20). A parameter at its
bound stays fixed for the step if the gradient points outwards. All sets are updated in one array, because a bootstrap
solves the same small problem several hundred times.
"""

from __future__ import annotations

import itertools

import numpy as np

from pipeline.analysis.laws.forms import MAX_EXPONENT, Form
from pipeline.analysis.laws.law_types import Floats

STEPS = 100
CONVERGED, NEGLIGIBLE = 1e-8, 1e-14  # what a step no longer gains: a share of the loss, or of one standard deviation
MIN_DAMPING = 1e-9  # damping at least, so that parameters that only count together can be solved for
MIN_VALUE = 1e-100  # what is divided by, and whose logarithm is taken
GRID = (0.03, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, MAX_EXPONENT)  # exponents to start from


def compute_huber_loss(residuals: Floats, huber_delta: Floats) -> Floats:
    """Sum Huber loss over observations: (sets, points), (sets, 1) to (sets,).

    The loss is quadratic up to ``huber_delta`` and linear beyond.
    """
    size = np.abs(residuals)
    loss: Floats = np.where(size <= huber_delta, 0.5 * size**2, huber_delta * (size - 0.5 * huber_delta)).sum(axis=1)
    return loss


def build_starts(form: Form, logs: Floats, values: Floats, spread: Floats) -> Floats:
    """Build one start per grid point of the exponents.

    The coefficients come from non-negative least squares.
    """
    from scipy.optimize import nnls

    grid = np.array(list(itertools.product(GRID, repeat=len(form.exponents))))
    relative = form.compute_basis(grid, logs) / (values * spread)[None, :, None]
    coefficients = np.array([nnls(design, 1 / spread)[0] for design in relative])
    starts: Floats = np.concatenate([coefficients, grid], axis=1)[coefficients.sum(axis=1) > 0]
    return starts


def refine_params(
    form: Form, logs: Floats, log_values: Floats, spread: Floats, huber_delta: Floats, params: Floats
) -> tuple[Floats, Floats]:
    """Return the optimum reached from each start and its loss: (sets, size), (sets,).

    ``logs`` (points, axes) and ``log_values`` (sets, points) are logarithms of axes and values. ``spread`` (points,)
    are standard deviations of the log values. ``huber_delta`` (sets,) is in units of ``spread``; ``params`` is (sets,
    size).
    """
    best, losses, index = params.copy(), np.empty(len(params)), np.arange(len(params))
    huber_delta, damping = huber_delta[:, None], np.full(len(params), 1e-3)
    residuals, jacobian = _compute_residuals(form, logs, log_values, spread, params)
    loss = compute_huber_loss(residuals, huber_delta)
    losses[:] = loss
    for _ in range(STEPS):
        proposed = _apply_step(form, params, damping, residuals, jacobian, huber_delta)
        new_residuals, new_jacobian = _compute_residuals(form, logs, log_values, spread, proposed)
        new_loss = compute_huber_loss(new_residuals, huber_delta)
        better = new_loss < loss
        done = np.abs(loss - new_loss) <= CONVERGED * loss + NEGLIGIBLE
        params, loss = np.where(better[:, None], proposed, params), np.where(better, new_loss, loss)
        best[index], losses[index] = params, loss
        residuals = np.where(better[:, None], new_residuals, residuals)
        jacobian = np.where(better[:, None, None], new_jacobian, jacobian)
        damping = np.where(better, np.maximum(damping / 6, MIN_DAMPING), damping * 5)
        if done.any():
            left = ~(done | (damping > 1e9))
            index, params, loss, damping, huber_delta = (
                index[left],
                params[left],
                loss[left],
                damping[left],
                huber_delta[left],
            )
            residuals, jacobian, log_values = residuals[left], jacobian[left], log_values[left]
        if not len(index):
            break
    return best, losses


def _compute_residuals(
    form: Form, logs: Floats, log_values: Floats, spread: Floats, params: Floats
) -> tuple[Floats, Floats]:
    """Return standardised residuals and derivatives: (sets, points), (sets, points, size)."""
    values, derivatives = form.compute_derivatives(params, logs)
    values = np.maximum(values, MIN_VALUE)
    return (np.log(values) - log_values) / spread, derivatives / (values * spread)[:, :, None]


def _apply_step(
    form: Form, params: Floats, damping: Floats, residuals: Floats, jacobian: Floats, huber_delta: Floats
) -> Floats:
    """Move each parameter set by one damped step within the bounds."""
    low, high = form.get_bounds()
    weights = np.minimum(1, huber_delta / np.maximum(np.abs(residuals), MIN_VALUE))
    weighted = np.swapaxes(jacobian * weights[:, :, None], 1, 2)
    gradient = (weighted @ residuals[:, :, None])[:, :, 0]
    free = ~(((params <= low) & (gradient >= 0)) | ((params >= high) & (gradient <= 0)))
    curvature = weighted @ jacobian
    size = np.sqrt(np.maximum(np.einsum("bpp->bp", curvature), MIN_VALUE))
    scaled = curvature / (size[:, :, None] * size[:, None, :]) * (free[:, :, None] & free[:, None, :])
    np.einsum("bpp->bp", scaled)[:] = 1 + damping[:, None]
    step = np.linalg.solve(scaled, (gradient * free / size)[:, :, None])[:, :, 0] / size
    updated: Floats = np.clip(params - step, low, high)
    return updated
