"""Equality within a margin, and how much larger a study would decide."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pipeline.analysis.statistics import equivalence
from pipeline.analysis.statistics.bootstrap import ScoreSamples
from pipeline.analysis.statistics.equivalence import BETTER, EQUAL, UNDECIDED, RequiredSamples
from pipeline.analysis.statistics.pairwise_tests import BETTER as ABOVE
from pipeline.analysis.statistics.pairwise_tests import NOT_SIGNIFICANT, PairwiseTest

MARGIN = 0.01


def difference(size: float, error: float, verdict: str = NOT_SIGNIFICANT, degrees: float = math.inf) -> PairwiseTest:
    return PairwiseTest("a", "b", size, error, degrees, 0, 0, 1, 0, 0, 1, verdict)


def draws(of_examples: float, seeds: int = 3, examples: int = 1000) -> ScoreSamples:
    """Return draws of two cells, the variance of whose difference over examples is given."""
    return ScoreSamples(
        "t", "accuracy", examples, ("a", "b"), np.zeros(2), (np.zeros(seeds),) * 2,
        of_examples / 2 * np.eye(2), np.zeros(2),
    )  # fmt: skip


def test_equality_is_two_one_sided_tests() -> None:
    found = equivalence.compute_equivalence_p(difference(-0.004, 0.003, degrees=7), MARGIN)
    assert found == pytest.approx(max(stats.t.sf(0.006 / 0.003, 7), stats.t.sf(0.014 / 0.003, 7)))


def test_without_repeated_seeds_there_is_no_p_and_no_equality() -> None:
    unknown = replace(difference(0.004, 0.003), error=None, degrees=None)
    assert equivalence.compute_equivalence_p(unknown, MARGIN) is None
    assert equivalence.get_verdict(unknown, MARGIN, 1) == UNDECIDED


@pytest.mark.parametrize(
    ("given", "tests", "verdict"),
    [
        (difference(0.002, 0.02), 1, UNDECIDED),
        (difference(0.002, 0.004), 1, EQUAL),
        (difference(0.002, 0.004), 5, UNDECIDED),
        (difference(0.03, 0.004, ABOVE), 1, BETTER),
        (difference(0.003, 0.001, ABOVE), 1, EQUAL),
    ],
)
def test_cells_are_equally_good_only_if_that_is_shown(given: PairwiseTest, tests: int, verdict: str) -> None:
    assert equivalence.get_verdict(given, MARGIN, tests) == verdict


def test_false_equality_at_the_margin_is_rare() -> None:
    """Cells that differ by exactly the margin are called equal in one case of twenty."""
    random, degrees, true = np.random.default_rng(0), 8, 0.004
    sizes = MARGIN + true * random.normal(size=4000)
    errors = true * np.sqrt(random.chisquare(degrees, 4000) / degrees)
    equal = [
        equivalence.get_verdict(difference(size, error, degrees=degrees), MARGIN, 1) == EQUAL
        for size, error in zip(sizes, errors, strict=True)
    ]
    assert np.mean(equal) == pytest.approx(0.05, abs=0.012)


def test_the_study_that_is_advised_separates_two_cells_with_the_stated_power() -> None:
    """Variance over seeds 0.02 squared at 3 seeds, a true difference of 3 points."""
    given = difference(0.03, 0.02)
    needed = equivalence.compute_required_samples(draws(0.0), given, MARGIN, pairs=1, tests=1)
    assert needed.seeds is not None
    assert not needed.as_equal
    error = 0.02 * (3 / (3 + needed.seeds)) ** 0.5
    assert stats.norm.sf(stats.norm.isf(0.025) - 0.03 / error) == pytest.approx(0.8, abs=0.05)


def test_what_one_part_alone_cannot_decide_is_none() -> None:
    given = difference(0.02, 0.01)
    of_examples = equivalence.compute_required_samples(draws(0.01**2), given, MARGIN, 1, 1)
    assert (of_examples.seeds, of_examples.examples) == (None, 963)
    of_seeds = equivalence.compute_required_samples(draws(0.0), given, MARGIN, 1, 1)
    assert (of_seeds.seeds, of_seeds.examples) == (3, None)
    both = equivalence.compute_required_samples(draws(0.01**2 / 2), difference(0.01, 0.01), MARGIN, 1, 1)
    assert both == RequiredSamples(None, None, False)


def test_cells_with_nearly_equal_scores_are_shown_to_be_equal_sooner_than_to_differ() -> None:
    needed = equivalence.compute_required_samples(draws(0.0), difference(0.001, 0.01), MARGIN, 1, 1)
    assert needed.as_equal
    assert needed.seeds == 20
