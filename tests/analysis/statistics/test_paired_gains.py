import numpy as np
import pytest
from scipy import stats

from pipeline.analysis.statistics import paired_gains, score_intervals
from pipeline.analysis.statistics.bootstrap import CellPredictions
from pipeline.analysis.statistics.paired_gains import PairedGain, PairedScores
from tests.analysis.statistics.test_score_intervals import OTHERS


def estimate(pair: PairedScores) -> PairedGain:
    cells = score_intervals.estimate_scores(score_intervals.stack_cells(OTHERS))
    return paired_gains.estimate_gains([pair], cells)[0]


def make_pair(*gains: float, examples_variance: float = 4e-5) -> PairedScores:
    return PairedScores(gains, 0.2, examples_variance, 0.0, 0.5 / 1500)


def test_with_many_seeds_the_interval_is_that_of_the_paired_t_test() -> None:
    random = np.random.default_rng(0)
    taught, alone = random.normal(0.72, 0.03, (2, 300))
    found = estimate(make_pair(*(taught - alone), examples_variance=0.0))
    expected = stats.ttest_rel(taught, alone)
    ends = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=5e-4)
    assert found.p == pytest.approx(expected.pvalue, rel=0.2)


def test_the_interval_covers_other_examples_too() -> None:
    narrow, wide = (estimate(make_pair(0.006, 0.008, 0.009, examples_variance=v)) for v in (1e-9, 1e-4))
    assert wide.high is not None
    assert narrow.high is not None
    assert wide.high - wide.mean > 0.0196
    assert wide.high > narrow.high


def test_three_ties_are_no_interval_of_zero_width() -> None:
    found = estimate(make_pair(0.01, 0.01, 0.01, examples_variance=0.0))
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low > 0.005


def test_one_seed_everywhere_is_no_evidence() -> None:
    assert paired_gains.estimate_gains([make_pair(0.05)], None) == [PairedGain(0.05, None, None, None)]


def test_one_seed_has_an_interval_through_the_spread_of_the_cells() -> None:
    found, three = estimate(make_pair(0.02)), estimate(make_pair(0.02, 0.01, 0.03))
    assert found.low is not None
    assert three.low is not None
    assert found.low < three.low < 0.02


def test_a_gain_is_paired_over_examples_and_seeds() -> None:
    """Against the closed form for accuracies: the variance over examples of the mean difference of the answers."""
    random = np.random.default_rng(1)
    labels = np.ones(800, int)
    alone = (random.random((3, 800)) < 0.7).astype(int)
    taught = np.where(random.random((3, 800)) < 0.1, 1, alone)
    pair = paired_gains.compute_paired_scores(
        CellPredictions("taught", "t", taught, labels, "accuracy"),
        CellPredictions("alone", "t", alone, labels, "accuracy"),
        0.2,
    )
    differences = (taught - alone).astype(float)
    assert pair.gains == pytest.approx(differences.mean(axis=1).tolist())
    assert pair.examples_variance == pytest.approx(differences.mean(axis=0).var() / 800, rel=0.1)
    assert pair.resolution == 0.5 / 800


def test_students_that_answer_alike_gain_nothing_within_half_an_example() -> None:
    answers = CellPredictions("a", "t", np.tile([0, 1], (3, 100)), np.ones(200, int), "accuracy")
    found = estimate(paired_gains.compute_paired_scores(answers, answers, 0.2))
    assert found.mean == 0
    assert found.low is not None
    assert found.low < -0.5 / 200
