"""The intervals and pairwise tests that the project used before it shrank spreads, for comparison only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

RESAMPLES = 1000


def compute_student_interval(by_seed: tuple[Floats, ...]) -> tuple[Floats, Floats]:
    """Return the ends of Student's t intervals over the seeds of each cell by itself."""
    means = np.array([values.mean() for values in by_seed])
    half = [
        stats.t.isf(0.025, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
        for values in by_seed
    ]
    return means - half, means + half


def draw_scores(
    by_seed: tuple[Floats, ...], covariance: Floats, crossed: Floats, random: np.random.Generator
) -> Floats:
    """Return resampled mean scores (resamples, cells): resampled examples, and k - 1 of k seeds."""
    draws = random.multivariate_normal(np.zeros(len(by_seed)), covariance, RESAMPLES, method="eigh")
    for cell, values in enumerate(by_seed):
        count = len(values)
        of_seeds = values.var(ddof=1) / count if count > 1 else 0.0
        rest = max(0.0, 1 - crossed[cell] / of_seeds) ** 0.5 if of_seeds > 0 else 0.0
        picked = random.integers(count, size=(RESAMPLES, max(1, count - 1)))
        draws[:, cell] += values.mean() + rest * (values[picked].mean(1) - values.mean())
    return np.minimum(1, draws)


def draw_means(values: Sequence[Floats], random: np.random.Generator) -> Floats:
    """Return each cell's mean over seeds on resamples of k - 1 of its k seeds: (resamples, cells)."""
    slots = random.random((RESAMPLES, max(1, max(map(len, values)) - 1)))
    drawn = np.empty((RESAMPLES, len(values)))
    for cell, numbers in enumerate(values):
        picked = slots[:, : max(1, len(numbers) - 1)] * len(numbers)
        drawn[:, cell] = numbers[picked.astype(int)].mean(1)
    return drawn


def compute_percentile_interval(draws: Floats) -> tuple[Floats, Floats]:
    """Return the ends between which 95% of the draws lie."""
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return low, high


def compute_pair_errors(
    by_seed: tuple[Floats, ...], covariance: Floats, crossed: Floats, groups: npt.NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return the standard errors of the differences (pairs,) and their degrees of freedom.

    The variance of a cell is its own or that pooled over its group, if the latter is larger; Satterthwaite's degrees.
    """
    one, other = np.triu_indices(len(by_seed), 1)
    diagonal = np.diag(covariance)
    examples = np.maximum(0, diagonal[one] + diagonal[other] - 2 * covariance[one, other])
    free = np.array([len(values) - 1 for values in by_seed])
    own = np.array([values.var(ddof=1) if len(values) > 1 else 0.0 for values in by_seed])
    alike = groups[:, None] == groups
    alike[alike @ free == 0] = True
    of_floor = alike @ free
    floor = alike @ (own * free) / of_floor
    above = np.maximum(0, own - floor)
    part = (floor + above) / (free + 1) - crossed
    variance = examples + np.maximum(0, part[one] + part[other])
    floor, above = floor / (free + 1), above / (free + 1)
    uncertain = floor**2 / of_floor + above**2 / np.maximum(free, 1)
    together = uncertain[one] + uncertain[other]
    together += (groups[one] == groups[other]) * 2 * floor[one] * floor[other] / of_floor[one]
    degrees = np.divide(variance**2, together, out=np.full(len(one), np.inf), where=together > 0)
    least = np.where(above > 0, np.minimum(free, of_floor), of_floor)
    return np.sqrt(variance), np.maximum(degrees, np.minimum(least[one], least[other]))
