"""Which of a task's cells are told apart: every difference with its interval, corrected for how many are compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy import stats

from pipeline.scaling.draws import Draws
from pipeline.scaling.weighted import Floats

LEVEL = 0.05
BETTER, WORSE, SAME = "better", "worse", "not told apart"
OPPOSITE = {BETTER: WORSE, WORSE: BETTER, SAME: SAME}


@dataclass(frozen=True)
class Difference:
    """The score of ``one`` less that of ``other``, in the metric's unit.

    ``error`` is its standard error, ``degrees`` those of Student's t, infinite where no seeds are repeated. ``low``,
    ``high`` and ``p`` are of this pair alone; the corrected ones allow for all pairs of the task. ``verdict`` is of
    ``one``: better, worse, or not told apart.
    """

    one: str
    other: str
    difference: float
    error: float
    degrees: float
    low: float
    high: float
    p: float
    corrected_low: float
    corrected_high: float
    corrected_p: float
    verdict: str

    @property
    def turned(self) -> Difference:
        """Return the same from the other side."""
        return replace(
            self, one=self.other, other=self.one, difference=-self.difference, low=-self.high, high=-self.low,
            corrected_low=-self.corrected_high, corrected_high=-self.corrected_low, verdict=OPPOSITE[self.verdict],
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pairs:
    """Every pair of a task's cells in order, kept as ``columns`` (pairs,): a thousand cells have half a million."""

    columns: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.columns["one"])

    def __getitem__(self, index: int) -> Difference:
        return Difference(**{name: column.item(index) for name, column in self.columns.items()})

    def __iter__(self) -> Iterator[Difference]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True)
class Differences:
    """Every pair of a task's cells, and what the verdicts rest on.

    ``noise`` is the standard deviation of a score over seeds, pooled over the cells, None where no seed is repeated.
    """

    task: str
    names: tuple[str, ...]
    scores: tuple[float, ...]
    pairs: Pairs
    noise: float | None

    def between(self, one: str, other: str) -> Difference:
        """Return the difference of two cells, ``one`` less ``other``."""
        first, second = sorted((self.names.index(one), self.names.index(other)))
        before = first * len(self.names) - first * (first + 1) // 2  # pairs whose first cell stands further up
        found = self.pairs[before + second - first - 1]
        return found if found.one == one else found.turned

    def told_apart(self, one: str, other: str) -> bool:
        """Say whether two cells differ by more than the noise, all pairs of the task considered."""
        return one != other and self.between(one, other).verdict != SAME

    def best_set(self) -> tuple[str, ...]:
        """Return the cell with the highest score, and those not told apart from it, the highest first."""
        ranked = sorted(zip(self.scores, self.names, strict=True), key=lambda cell: (-cell[0], cell[1]))
        return tuple(name for _, name in ranked if not self.told_apart(ranked[0][1], name))


def compare(draws: Draws) -> Differences:
    """Return the differences of every pair of a task's cells.

    The variance of a difference is that over examples, of paired resamples, and that over seeds. Three seeds tell the
    latter badly, and three that agree by chance are no proof of a steady cell: so a cell's variance over seeds is its
    own, or that pooled over the cells of its group where this is larger. Each part has the degrees of freedom of what
    it was taken from, what a cell has above its group k - 1; Student's t has Satterthwaite's of them all. What seeds
    make of single examples is in both variances and counted once. Seeds of different cells are taken as independent,
    which asks a little too much of a compression and its source.

    Holm's steps correct p for all pairs of the task. The corrected intervals are Bonferroni's, which hold all of them
    together; one ends at zero where Holm's steps tell a pair apart and Bonferroni's correction does not.

    Where all cells are truly equal, some pair is told apart in 1 to 4% of plans if the spread over seeds is the same
    for all or goes by group, and in up to 7% if a group mixes steady cells with ones six to twelve times as unstable
    (``benchmarks/told_apart.py``: 9 and 26 cells, 3 and 5 seeds, 408 and 1,500 examples; it tells the power as well).
    """
    one, other = np.triu_indices(len(draws.names), 1)
    variance, degrees, noise = _variance(draws, one, other)
    difference = draws.scores[one] - draws.scores[other]
    error = np.sqrt(variance)
    away = np.divide(np.abs(difference), error, out=np.where(difference == 0, 0.0, np.inf), where=error > 0)
    p = 2 * stats.t.sf(away, degrees)
    corrected = _holm(p)
    apart = corrected <= LEVEL
    half = stats.t.isf(LEVEL / 2, degrees) * error
    low, high = _corrected(difference, error, degrees, apart)
    verdicts = np.where(apart, np.where(difference > 0, BETTER, WORSE), SAME)
    names = np.array(draws.names, dtype=object)
    columns = (
        names[one], names[other], difference, error, degrees, difference - half, difference + half, p, low, high,
        corrected, verdicts,
    )  # fmt: skip
    pairs = Pairs(dict(zip((field.name for field in fields(Difference)), columns, strict=True)))
    return Differences(draws.task, draws.names, tuple(draws.scores.tolist()), pairs, noise)


def _variance(draws: Draws, one: np.ndarray, other: np.ndarray) -> tuple[Floats, Floats, float | None]:
    """Return the variance of each pair's difference, its degrees of freedom, and the noise pooled over all cells."""
    of_cells = np.diag(draws.covariance)
    examples = np.maximum(0, of_cells[one] + of_cells[other] - 2 * draws.covariance[one, other])
    free = np.array([len(values) - 1 for values in draws.by_seed])
    if not free.any():
        return examples, np.full(len(one), np.inf), None
    own = np.array([values.var(ddof=1) if len(values) > 1 else 0.0 for values in draws.by_seed])
    floor, of_floor = _pooled(own, free, draws.groups)
    above = np.maximum(0, own - floor)
    part = (floor + above) / (free + 1) - draws.crossed
    variance = examples + np.maximum(0, part[one] + part[other])
    floor, above = floor / (free + 1), above / (free + 1)
    uncertain = floor**2 / of_floor + above**2 / np.maximum(free, 1)
    shared = np.array([draws.groups[i] == draws.groups[j] for i, j in zip(one, other, strict=True)], bool)
    together = uncertain[one] + uncertain[other] + shared * 2 * floor[one] * floor[other] / of_floor[one]
    degrees = np.divide(variance**2, together, out=np.full(len(one), np.inf), where=together > 0)
    # a sum has no fewer than the part with the least; what is taken off for single examples would bring it to nothing
    least = np.where(above > 0, np.minimum(free, of_floor), of_floor)
    return variance, np.maximum(degrees, np.minimum(least[one], least[other])), float(own @ free / free.sum()) ** 0.5


def _pooled(own: Floats, free: np.ndarray, groups: Sequence[str]) -> tuple[Floats, Floats]:
    """Return the variance over seeds pooled over each cell's group, and its degrees of freedom.

    A group in which no seed is repeated takes that of the task.
    """
    alike = np.array([[group == other for other in groups] for group in groups])
    alike[alike @ free == 0] = True
    of_group = alike @ free
    return alike @ (own * free) / of_group, of_group


def _holm(p: Floats) -> Floats:
    """Return p values corrected for their number (Holm 1979): the ith smallest of m times m - i + 1, never falling.

    statsmodels' ``multipletests`` gives the same, but collects garbage at each call, which takes longer than all else.
    """
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected


def _corrected(difference: Floats, error: Floats, degrees: Floats, apart: np.ndarray) -> tuple[Floats, Floats]:
    """Return the ends of the intervals that allow for all pairs and go with the verdicts."""
    half = stats.t.isf(LEVEL / 2 / max(1, len(apart)), degrees) * error
    low, high = difference - half, difference + half
    low = np.where(apart & (difference > 0), np.maximum(low, 0), low)
    return low, np.where(apart & (difference < 0), np.minimum(high, 0), high)
