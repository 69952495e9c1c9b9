"""Plans whose cells score what is known, for measuring how often differences are told as they are."""

from collections.abc import Callable

import numpy as np

from pipeline.scaling import differences
from pipeline.scaling.differences import SAME, Differences
from pipeline.scaling.draws import Draws

OWN, CROSSED = 0.07, 0.05  # variance of one example's answer: of the cell, and of a seed of the cell

SPREADS: dict[str, Callable[[int], np.ndarray]] = {  # standard deviation of the score over seeds, of each cell
    "none": lambda cells: np.zeros(cells),
    "1 point": lambda cells: np.full(cells, 0.01),
    "3 points": lambda cells: np.full(cells, 0.03),
    "6, 3 or 1 points by group": lambda cells: np.resize([0.06, 0.03, 0.01], cells),
    "5 or 0.5 points in a group": lambda cells: np.repeat(np.resize([0.05, 0.005], -(-cells // 3)), 3)[:cells],
    "1 point, one cell 6": lambda cells: np.where(np.arange(cells) == 0, 0.06, 0.01),
    "0.4 points, two cells 5": lambda cells: np.where(np.arange(cells) < 2, 0.05, 0.004),
}


def compared(
    truth: np.ndarray, spread: np.ndarray, seeds: int, examples: int, random: np.random.Generator
) -> Differences:
    """Return the differences of cells that truly score ``truth``, in three groups."""
    cells = len(truth)
    own = truth + random.normal(size=cells) * (OWN / examples) ** 0.5
    scale = np.sqrt(spread**2 + CROSSED / examples)
    by_seed = own[:, None] + random.normal(size=(cells, seeds)) * scale[:, None]
    crossed = np.full(cells, CROSSED / examples / seeds)
    names = tuple(str(cell) for cell in range(cells))
    groups = tuple(str(cell % 3) for cell in range(cells))
    covariance = np.diag(OWN / examples + crossed)
    draws = Draws(
        "t", "accuracy", examples, names, groups, by_seed.mean(1), np.empty((0, cells)), tuple(by_seed), covariance,
        crossed,
    )  # fmt: skip
    return differences.compare(draws)


def apart(found: Differences) -> np.ndarray:
    """Say of each pair whether it is told apart."""
    return np.array([pair.verdict != SAME for pair in found.pairs])


def held(found: Differences, truth: np.ndarray, corrected: bool) -> np.ndarray:
    """Say of each pair whether its interval holds its true difference."""
    ends = [(pair.corrected_low, pair.corrected_high) if corrected else (pair.low, pair.high) for pair in found.pairs]
    return np.array([low <= true <= high for (low, high), true in zip(ends, truth, strict=True)])
