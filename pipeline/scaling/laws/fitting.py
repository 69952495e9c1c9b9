"""The least Huber loss on log residuals, for many sets of data and many starts at once.

Projected Levenberg-Marquardt (Bertsekas 1982, SIAM J. Control Optim. 20, for the bounds; Huber's weights renewed at
each step): a parameter at its bound that the gradient pushes outwards rests for the step. All sets move together in one
array, since a bootstrap solves the same tiny problem some hundred times.
"""

from __future__ import annotations

import itertools

import numpy as np

from pipeline.scaling.laws.forms import STEEPEST, Form
from pipeline.scaling.laws.types import Floats

STEPS = 100
CONVERGED = 1e-10  # share of the loss that a step still gains
GRID = (0.03, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, STEEPEST)  # exponents to start from


def huber(residuals: Floats, turn: Floats) -> Floats:
    """Return the sum over points of Huber's loss, quadratic up to ``turn``: (sets, points), (sets, 1): (sets,)."""
    size = np.abs(residuals)
    loss: Floats = np.where(size <= turn, 0.5 * size**2, turn * (size - 0.5 * turn)).sum(axis=1)
    return loss


def starts(form: Form, logs: Floats, values: Floats, spread: Floats) -> Floats:
    """Return a start for each point of a grid over the exponents, coefficients by non-negative least squares."""
    from scipy.optimize import nnls

    grid = np.array(list(itertools.product(GRID, repeat=len(form.exponents))))
    relative = form.basis(grid, logs) / (values * spread)[None, :, None]
    coefficients = np.array([nnls(design, 1 / spread)[0] for design in relative])
    found: Floats = np.concatenate([coefficients, grid], axis=1)[coefficients.sum(axis=1) > 0]
    return found


def refine(
    form: Form, logs: Floats, wanted: Floats, spread: Floats, turn: Floats, theta: Floats
) -> tuple[Floats, Floats]:
    """Return the optimum that each start leads to, and its loss.

    ``logs`` (points, axes) and ``wanted`` (sets, points), the logarithms of the values, ``spread`` (points,) their
    standard deviations, ``turn`` (sets,) where Huber's loss turns linear in those, ``theta`` (sets, size).
    """
    theta, turn = theta.copy(), turn[:, None]
    losses = huber(_residuals(form, logs, wanted, spread, theta), turn)
    damping = np.full(len(theta), 1e-3)
    moving = np.arange(len(theta))
    for _ in range(STEPS):
        now, own = theta[moving], (wanted[moving], spread, turn[moving])
        new = _step(form, logs, now, damping[moving], *own)
        loss = huber(_residuals(form, logs, own[0], spread, new), own[2])
        better = loss < losses[moving]
        gained = losses[moving] - loss
        small = (np.abs(gained) <= CONVERGED * losses[moving] + 1e-14) | (damping[moving] > 1e9)
        theta[moving[better]], losses[moving[better]] = new[better], loss[better]
        damping[moving] = np.where(better, np.maximum(damping[moving] / 6, 1e-12), damping[moving] * 5)
        moving = moving[~small]
        if not len(moving):
            break
    return theta, losses


def _residuals(form: Form, logs: Floats, wanted: Floats, spread: Floats, theta: Floats) -> Floats:
    values = np.maximum(form.values(theta, logs), 1e-300)
    residuals: Floats = (np.log(values) - wanted) / spread
    return residuals


def _step(
    form: Form, logs: Floats, theta: Floats, damping: Floats, wanted: Floats, spread: Floats, turn: Floats
) -> Floats:
    """Return each set one damped step further, within the bounds."""
    low, high = form.bounds()
    values, derivatives = form.derivatives(theta, logs)
    values = np.maximum(values, 1e-300)
    residuals = (np.log(values) - wanted) / spread
    jacobian = derivatives / (values * spread)[:, :, None]
    weights = np.minimum(1, turn / np.maximum(np.abs(residuals), 1e-300))
    weighted = jacobian * weights[:, :, None]
    gradient = np.einsum("bnp,bn->bp", weighted, residuals)
    curvature = np.swapaxes(weighted, 1, 2) @ jacobian
    resting = ((theta <= low) & (gradient >= 0)) | ((theta >= high) & (gradient <= 0))
    free = np.where(resting, 0.0, 1.0)
    curvature = curvature * free[:, :, None] * free[:, None, :]
    diagonal = np.einsum("bpp->bp", curvature)
    diagonal += damping[:, None] * (diagonal + 1e-9 * diagonal.max(axis=1, keepdims=True)) + (1 - free) + 1e-12
    step = np.linalg.solve(curvature, (gradient * free)[:, :, None])[:, :, 0]
    moved: Floats = np.clip(theta - step, low, high)
    return moved
