"""Whether two cells are equally good within a margin, and how many more seeds or examples would decide it."""

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
    """How many more seeds of each cell, or more examples, would decide between two cells; None: never by that alone.

    ``as_equal``: what would be shown is that the two are equal within the margin, not that they differ.
    """

    seeds: int | None
    examples: int | None
    as_equal: bool


def compute_equivalence_p(difference: PairwiseTest, margin: float) -> float | None:
    """Return the p value of two one-sided t tests that a difference is beyond ``margin`` (Schuirmann 1987).

    It is None where no cell of the task repeats a seed.
    """
    if difference.error is None:
        return None
    room = margin - abs(difference.difference)
    return float(stats.t.sf(room / difference.error, difference.degrees))


def get_verdict(difference: PairwiseTest, margin: float, tests: int) -> str:
    """Return what is known of the first cell of a difference: worse, better, equally good or undecided.

    A difference that is smaller than the noise is no proof of equality: that takes an interval within the margin.
    ``tests`` is how many cells are tested for equality, by which p is multiplied (Bonferroni).
    """
    p = compute_equivalence_p(difference, margin)
    if p is not None and p * tests <= SIGNIFICANCE_LEVEL:
        return EQUAL
    if difference.verdict == NOT_SIGNIFICANT:
        return UNDECIDED
    return BETTER if difference.difference > 0 else WORSE


def compute_required_samples(
    draws: ScoreSamples, difference: PairwiseTest, margin: float, pairs: int, tests: int
) -> RequiredSamples:
    """Return how much larger a study would decide between two cells, if the true difference is the measured one.

    The variance of the difference is that over examples, which falls with their number, and that over seeds. Shown is
    what takes less: a difference, corrected for all ``pairs``, or equality within the margin, for all ``tests``. The
    error of the difference has to be known.
    """
    one, other = (draws.names.index(name) for name in (difference.one, difference.other))
    of_examples = max(
        0.0, draws.covariance[one, one] + draws.covariance[other, other] - 2 * draws.covariance[one, other]
    )
    of_seeds = max(0.0, (difference.error or 0.0) ** 2 - of_examples)
    size = abs(difference.difference)
    apart = size / _compute_required_ratio(SIGNIFICANCE_LEVEL / 2 / max(1, pairs))
    equal = (margin - size) / _compute_required_ratio(SIGNIFICANCE_LEVEL / max(1, tests))
    allowed = max(apart, equal) ** 2
    seeds = max(len(draws.by_seed[one]), len(draws.by_seed[other]))
    return RequiredSamples(
        _count_additional(seeds, of_seeds, allowed - of_examples),
        _count_additional(draws.examples, of_examples, allowed - of_seeds),
        equal > apart,
    )


def _compute_required_ratio(level: float) -> float:
    """Return how many standard errors a difference must have to be shown with the power that is wanted."""
    return float(stats.norm.isf(level) + stats.norm.ppf(POWER))


def _count_additional(count: int, variance: float, allowed: float) -> int | None:
    """Return how many more repetitions bring a variance down to what is allowed, None where none can."""
    return max(1, math.ceil(count * variance / allowed - count)) if allowed > 0 else None
