"""Quality: its interval against closed forms and scipy, its baseline, and the sign of a collapse."""

import numpy as np
import pytest
from scipy import stats

from pipeline.evaluation import scores
from pipeline.evaluation.quality import bootstrap, quality

TRUE = np.random.default_rng(0).permutation([1] * 279 + [0] * 129)
SAID = np.where(np.random.default_rng(1).random(408) < 0.8, TRUE, 1 - TRUE)
MAJORITY = {"accuracy": 0.684, "f1": 0.812}


def test_the_interval_of_accuracy_is_that_of_a_binomial_share() -> None:
    low, high = bootstrap("accuracy", SAID, TRUE)
    share = float(scores.accuracy(SAID, TRUE))
    error = (share * (1 - share) / 408) ** 0.5
    assert low == pytest.approx(share - 1.96 * error, abs=0.25 * error)
    assert high == pytest.approx(share + 1.96 * error, abs=0.25 * error)


@pytest.mark.parametrize("name", ["f1", "matthews_correlation", "spearmanr"])
def test_the_interval_is_that_of_scipy(name: str) -> None:
    found = stats.bootstrap(
        (SAID, TRUE), lambda said, true, axis: scores.SCORES[name](said, true), paired=True, n_resamples=2000,
        method="percentile", rng=7,
    ).confidence_interval  # fmt: skip
    width = found.high - found.low
    assert bootstrap(name, SAID, TRUE) == pytest.approx((found.low, found.high), abs=0.1 * width)


def test_the_interval_is_drawn_from_a_seed() -> None:
    assert bootstrap("f1", SAID, TRUE) == bootstrap("f1", SAID, TRUE) != bootstrap("f1", SAID, TRUE, seed=1)


def test_many_examples_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bootstrap("f1", SAID, TRUE)
    monkeypatch.setattr("pipeline.evaluation.quality.NUMBERS_AT_ONCE", 408 * 300)
    assert bootstrap("f1", SAID, TRUE) == whole


def test_score_interval_and_baseline_stand_side_by_side() -> None:
    found = quality(SAID, TRUE, ["accuracy", "f1"], "f1", MAJORITY)
    assert (found["score_name"], found["score"]) == ("f1", found["f1"])
    assert found["bootstrap_low"] == found["f1_bootstrap_low"] < found["f1"] < found["f1_bootstrap_high"]
    assert found["majority_score"] == found["majority_f1"] == 0.812
    assert found["majority_accuracy"] == 0.684
    assert (found["collapsed"], found["report_examples"]) == (False, 408)


def test_a_model_that_says_one_class_is_collapsed_and_scores_the_majority() -> None:
    found = quality(np.ones_like(TRUE), TRUE, ["accuracy", "f1"], "f1", MAJORITY)
    assert found["collapsed"]
    assert found["accuracy"] == pytest.approx(MAJORITY["accuracy"], abs=0.001)
    assert found["f1"] == pytest.approx(MAJORITY["f1"], abs=0.001)


def test_a_regression_has_no_majority_and_collapses_to_one_number() -> None:
    true = np.linspace(0, 5, 50)
    none = {"pearson": None, "spearmanr": None}
    found = quality(true + np.sin(true * 9), true, ["pearson", "spearmanr"], "spearmanr", none)
    assert (found["majority_score"], found["collapsed"]) == (None, False)
    assert found["spearmanr_bootstrap_low"] < found["score"] < found["spearmanr_bootstrap_high"]
    flat = quality(np.full(50, 2.5), true, ["pearson", "spearmanr"], "spearmanr", none)
    assert (flat["score"], flat["collapsed"]) == (0, True)


@pytest.mark.parametrize(("spread", "collapsed"), [(0.0099, True), (0.0101, False)])
def test_a_regression_that_says_nearly_one_number_is_collapsed(spread: float, collapsed: bool) -> None:
    true = np.linspace(0, 5, 50).astype(np.float32)
    none = {"pearson": None, "spearmanr": None}
    found = quality(2.5 + spread * (true - 2.5), true, ["pearson", "spearmanr"], "spearmanr", none)
    assert found["spearmanr"] > 0.99
    assert found["collapsed"] == collapsed
