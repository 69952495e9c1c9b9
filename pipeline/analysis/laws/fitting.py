"""The least Huber loss on log residuals, for many sets of data and many starts at once.

Projected Levenberg-Marquardt (Bertsekas 1982, SIAM J. Control Optim. 20, for the bounds; Huber's weights renewed at
each step): a parameter at its bound that the gradient pushes outwards rests for the step. All sets move together in one
array, since a bootstrap solves the same tiny problem some hundred times.
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


def compute_huber_loss(residuals: Floats, turn: Floats) -> Floats:
    """Return the sum over points of Huber's loss, quadratic up to ``turn``: (sets, points), (sets, 1): (sets,)."""
    size = np.abs(residuals)
    loss: Floats = np.where(size <= turn, 0.5 * size**2, turn * (size - 0.5 * turn)).sum(axis=1)
    return loss


def build_starts(form: Form, logs: Floats, values: Floats, spread: Floats) -> Floats:
    """Return a start for each point of a grid over the exponents, coefficients by non-negative least squares."""
    from scipy.optimize import nnls

    grid = np.array(list(itertools.product(GRID, repeat=len(form.exponents))))
    relative = form.compute_basis(grid, logs) / (values * spread)[None, :, None]
    coefficients = np.array([nnls(design, 1 / spread)[0] for design in relative])
    found: Floats = np.concatenate([coefficients, grid], axis=1)[coefficients.sum(axis=1) > 0]
    return found


def refine_params(
    form: Form, logs: Floats, wanted: Floats, spread: Floats, turn: Floats, theta: Floats
) -> tuple[Floats, Floats]:
    """Return the optimum that each start leads to, and its loss: (sets, size), (sets,).

    ``logs`` (points, axes) and ``wanted`` (sets, points), the logarithms of the values, ``spread`` (points,) their
    standard deviations, ``turn`` (sets,) where Huber's loss turns linear in those, ``theta`` (sets, size).
    """
    best, losses, place = theta.copy(), np.empty(len(theta)), np.arange(len(theta))
    turn, damping = turn[:, None], np.full(len(theta), 1e-3)
    residuals, jacobian = _compute_residuals(form, logs, wanted, spread, theta)
    loss = compute_huber_loss(residuals, turn)
    losses[:] = loss
    for _ in range(STEPS):
        tried = _apply_step(form, theta, damping, residuals, jacobian, turn)
        new_residuals, new_jacobian = _compute_residuals(form, logs, wanted, spread, tried)
        new_loss = compute_huber_loss(new_residuals, turn)
        better = new_loss < loss
        done = np.abs(loss - new_loss) <= CONVERGED * loss + NEGLIGIBLE
        theta, loss = np.where(better[:, None], tried, theta), np.where(better, new_loss, loss)
        best[place], losses[place] = theta, loss
        residuals = np.where(better[:, None], new_residuals, residuals)
        jacobian = np.where(better[:, None, None], new_jacobian, jacobian)
        damping = np.where(better, np.maximum(damping / 6, MIN_DAMPING), damping * 5)
        if done.any():
            left = ~(done | (damping > 1e9))
            place, theta, loss, damping, turn = place[left], theta[left], loss[left], damping[left], turn[left]
            residuals, jacobian, wanted = residuals[left], jacobian[left], wanted[left]
        if not len(place):
            break
    return best, losses


def _compute_residuals(
    form: Form, logs: Floats, wanted: Floats, spread: Floats, theta: Floats
) -> tuple[Floats, Floats]:
    """Return the standardised residuals and their derivatives: (sets, points), (sets, points, size)."""
    values, derivatives = form.compute_derivatives(theta, logs)
    values = np.maximum(values, MIN_VALUE)
    return (np.log(values) - wanted) / spread, derivatives / (values * spread)[:, :, None]


def _apply_step(
    form: Form, theta: Floats, damping: Floats, residuals: Floats, jacobian: Floats, turn: Floats
) -> Floats:
    """Return each set one damped step further, within the bounds."""
    low, high = form.get_bounds()
    weights = np.minimum(1, turn / np.maximum(np.abs(residuals), MIN_VALUE))
    weighted = np.swapaxes(jacobian * weights[:, :, None], 1, 2)
    gradient = (weighted @ residuals[:, :, None])[:, :, 0]
    free = ~(((theta <= low) & (gradient >= 0)) | ((theta >= high) & (gradient <= 0)))
    curvature = weighted @ jacobian
    size = np.sqrt(np.maximum(np.einsum("bpp->bp", curvature), MIN_VALUE))
    scaled = curvature / (size[:, :, None] * size[:, None, :]) * (free[:, :, None] & free[:, None, :])
    np.einsum("bpp->bp", scaled)[:] = 1 + damping[:, None]
    step = np.linalg.solve(scaled, (gradient * free / size)[:, :, None])[:, :, 0] / size
    moved: Floats = np.clip(theta - step, low, high)
    return moved
