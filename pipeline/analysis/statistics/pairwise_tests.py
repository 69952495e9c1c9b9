"""Pairwise tests of a task's cells: differences with intervals, corrected for all pairs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from scipy import stats

from pipeline.analysis.statistics.bootstrap import ScoreSamples
from pipeline.analysis.statistics.weighted_metrics import Floats

SIGNIFICANCE_LEVEL = 0.05
BETTER, WORSE, NOT_SIGNIFICANT = "better", "worse", "not significantly different"
OPPOSITE = {BETTER: WORSE, WORSE: BETTER, NOT_SIGNIFICANT: NOT_SIGNIFICANT}


@dataclass(frozen=True)
class PairwiseTest:
    """The score of ``one`` less that of ``other``, in the metric's unit.

    ``error`` is its standard error and ``degrees`` those of Student's t. ``low``, ``high`` and ``p`` are of this pair
    alone; the corrected ones allow for all pairs of the task. All are None where no cell of the task repeats a seed.
    ``verdict`` is of ``one``: better, worse, or not significantly different.
    """

    one: str
    other: str
    difference: float
    error: float | None
    degrees: float | None
    low: float | None
    high: float | None
    p: float | None
    corrected_low: float | None
    corrected_high: float | None
    corrected_p: float | None
    verdict: str

    @property
    def opposite(self) -> PairwiseTest:
        """Return the same test with the cells swapped."""
        return replace(
            self, one=self.other, other=self.one, difference=-self.difference, low=_negate(self.high),
            high=_negate(self.low), corrected_low=_negate(self.corrected_high),
            corrected_high=_negate(self.corrected_low), verdict=OPPOSITE[self.verdict],
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class PairColumns:
    """Every pair of a task's cells as columns (pairs,); a thousand cells have half a million pairs.

    Unknown values are NaN in a column and None in a pair.
    """

    columns: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.columns["one"])

    def __getitem__(self, index: int) -> PairwiseTest:
        values = {name: column.item(index) for name, column in self.columns.items()}
        known: dict[str, Any] = {name: None if value != value else value for name, value in values.items()}
        return PairwiseTest(**known)

    def __iter__(self) -> Iterator[PairwiseTest]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True)
class PairwiseTests:
    """Every pair of a task's cells."""

    task: str
    names: tuple[str, ...]
    scores: tuple[float, ...]
    pairs: PairColumns

    def get_test(self, one: str, other: str) -> PairwiseTest:
        """Return the test of two cells, ``one`` minus ``other``."""
        first, second = sorted((self.names.index(one), self.names.index(other)))
        before = first * len(self.names) - first * (first + 1) // 2  # pairs with an earlier first cell
        test = self.pairs[before + second - first - 1]
        return test if test.one == one else test.opposite

    def is_significant(self, one: str, other: str) -> bool:
        """Return whether two cells differ significantly, corrected for all pairs of the task."""
        return one != other and self.get_test(one, other).verdict != NOT_SIGNIFICANT

    def list_best(self) -> tuple[str, ...]:
        """Return the best cell and those not significantly different, highest score first."""
        ranked = sorted(zip(self.scores, self.names, strict=True), key=lambda cell: (-cell[0], cell[1]))
        return tuple(name for _, name in ranked if not self.is_significant(ranked[0][1], name))


def compute_pairwise_tests(samples: ScoreSamples, errors: tuple[Floats, Floats] | None) -> PairwiseTests:
    """Return the differences of every pair of a task's cells.

    ``errors`` are the standard errors and degrees of freedom (pairs,) of ``compute_pair_errors``, None where no cell
    repeats a seed: then nothing is significant. Seeds of different cells are taken as independent, which makes the
    tests cautious for a compression and its source.

    Holm's steps correct p for all pairs of the task. The corrected intervals are Bonferroni's, which hold all of them
    together; one ends at zero where Holm's steps find a difference and Bonferroni's correction does not.

    ``docs/statistics.md`` lists false findings and power, measured by ``benchmarks/interval_coverage.py``.
    """
    one, other = np.triu_indices(len(samples.names), 1)
    difference = samples.scores[one] - samples.scores[other]
    if errors is None:
        unknown = np.full(len(one), np.nan)
        tests, verdicts = [unknown] * 8, np.full(len(one), NOT_SIGNIFICANT)
    else:
        tests, verdicts = _compute_columns(difference, *errors)
    names = np.array(samples.names, dtype=object)
    columns = (names[one], names[other], difference, *tests, verdicts)
    pairs = PairColumns(dict(zip((field.name for field in fields(PairwiseTest)), columns, strict=True)))
    return PairwiseTests(samples.task, samples.names, tuple(samples.scores.tolist()), pairs)


def _compute_columns(difference: Floats, error: Floats, degrees: Floats) -> tuple[list[Floats], np.ndarray]:
    """Return the columns of ``Difference`` from its error to its corrected p, and the verdicts."""
    p = 2 * stats.t.sf(np.abs(difference) / error, degrees)
    corrected = _correct_p_values(p)
    significant = corrected <= SIGNIFICANCE_LEVEL
    half = stats.t.isf(SIGNIFICANCE_LEVEL / 2, degrees) * error
    low, high = _correct_intervals(difference, error, degrees, significant)
    verdicts = np.where(significant, np.where(difference > 0, BETTER, WORSE), NOT_SIGNIFICANT)
    return [error, degrees, difference - half, difference + half, p, low, high, corrected], verdicts


def _correct_p_values(p: Floats) -> Floats:
    """Return p values corrected for their number (Holm 1979): the ith smallest of m times m - i + 1, never falling.

    statsmodels' ``multipletests`` gives the same, but collects garbage at each call, which takes longer than all else.
    """
    order = np.argsort(p, kind="stable")
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected


def _correct_intervals(
    difference: Floats, error: Floats, degrees: Floats, significant: np.ndarray
) -> tuple[Floats, Floats]:
    """Return the ends of the intervals that allow for all pairs and go with the verdicts."""
    half = stats.t.isf(SIGNIFICANCE_LEVEL / 2 / max(1, len(significant)), degrees) * error
    low, high = difference - half, difference + half
    low = np.where(significant & (difference > 0), np.maximum(low, 0), low)
    return low, np.where(significant & (difference < 0), np.minimum(high, 0), high)


def _negate(value: float | None) -> float | None:
    return None if value is None else -value
