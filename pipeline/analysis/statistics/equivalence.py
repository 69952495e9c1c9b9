"""Whether two cells are equally good within a margin, and the study size that would decide it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats

from pipeline.analysis.statistics.bootstrap import ScoreSamples
from pipeline.analysis.statistics.pairwise_tests import NOT_SIGNIFICANT, SIGNIFICANCE_LEVEL, PairwiseTest

WORSE, BETTER, EQUAL, UNDECIDED = "worse", "better", "equally good", "undecided"
POWER = 0.8  # of the larger study to show what the smaller one measured


@dataclass(frozen=True)
class RequiredSamples:
    """Additional seeds per cell, or examples, that would decide between two cells.

    None if that alone is never enough. ``as_equal``: it would show equality within the margin, not a difference.
    """

    seeds: int | None
    examples: int | None
    as_equal: bool


def compute_equivalence_p(test: PairwiseTest, margin: float) -> float | None:
    """Return the p value of two one-sided t tests that a difference is beyond ``margin`` (Schuirmann 1987).

    It is None where no cell of the task repeats a seed.
    """
    if test.error is None:
        return None
    room = margin - abs(test.difference)
    return float(stats.t.sf(room / test.error, test.degrees))


def get_verdict(test: PairwiseTest, margin: float, tests: int) -> str:
    """Return the verdict on the first cell: worse, better, equally good or undecided.

    A difference within the noise does not prove equality; that takes an interval within the margin. ``tests`` is the
    number of equality tests, by which p is multiplied (Bonferroni).
    """
    p = compute_equivalence_p(test, margin)
    if p is not None and p * tests <= SIGNIFICANCE_LEVEL:
        return EQUAL
    if test.verdict == NOT_SIGNIFICANT:
        return UNDECIDED
    return BETTER if test.difference > 0 else WORSE


def compute_required_samples(
    samples: ScoreSamples, test: PairwiseTest, margin: float, pairs: int, tests: int
) -> RequiredSamples:
    """Return how much larger a study would decide between two cells, if the true difference is the measured one.

    The variance of the difference is that over examples, which falls with their number, and that over seeds. Shown is
    what takes less: a difference, corrected for all ``pairs``, or equality within the margin, for all ``tests``. The
    error of the difference has to be known.
    """
    one, other = (samples.names.index(name) for name in (test.one, test.other))
    of_examples = max(
        0.0, samples.covariance[one, one] + samples.covariance[other, other] - 2 * samples.covariance[one, other]
    )
    of_seeds = max(0.0, (test.error or 0.0) ** 2 - of_examples)
    size = abs(test.difference)
    apart = size / _compute_required_ratio(SIGNIFICANCE_LEVEL / 2 / max(1, pairs))
    equal = (margin - size) / _compute_required_ratio(SIGNIFICANCE_LEVEL / max(1, tests))
    allowed = max(apart, equal) ** 2
    seeds = max(len(samples.by_seed[one]), len(samples.by_seed[other]))
    return RequiredSamples(
        _count_additional(seeds, of_seeds, allowed - of_examples),
        _count_additional(samples.examples, of_examples, allowed - of_seeds),
        equal > apart,
    )


def _compute_required_ratio(level: float) -> float:
    """Return the number of standard errors that gives a significant difference with ``POWER``."""
    return float(stats.norm.isf(level) + stats.norm.ppf(POWER))


def _count_additional(count: int, variance: float, allowed: float) -> int | None:
    """Return how many more repetitions reduce a variance to ``allowed``, None if none can."""
    return max(1, math.ceil(count * variance / allowed - count)) if allowed > 0 else None
