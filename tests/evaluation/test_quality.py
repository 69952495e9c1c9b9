"""Quality: its metrics, its baseline, and the sign of a collapse."""

import numpy as np
import pytest

from pipeline.evaluation.quality import quality

TRUE = np.random.default_rng(0).permutation([1] * 279 + [0] * 129)
SAID = np.where(np.random.default_rng(1).random(408) < 0.8, TRUE, 1 - TRUE)
MAJORITY = {"accuracy": 0.684, "f1": 0.812}


def test_every_metric_has_its_baseline_and_no_interval_of_one_trial() -> None:
    found = quality(SAID, TRUE, ["accuracy", "f1"], "f1", MAJORITY)
    assert (found["score_name"], found["score"]) == ("f1", found["f1"])
    assert not [name for name in found if name.endswith(("_low", "_high"))]
    assert found["majority_score"] == found["majority_f1"] == 0.812
    assert found["majority_accuracy"] == 0.684
    assert (found["collapsed"], found["report_examples"]) == (False, 408)


def test_a_model_that_says_one_class_is_collapsed_and_scores_the_majority() -> None:
    found = quality(np.ones_like(TRUE), TRUE, ["accuracy", "f1"], "f1", MAJORITY)
    assert found["collapsed"]
    assert found["accuracy"] == pytest.approx(MAJORITY["accuracy"], abs=0.001)
    assert found["f1"] == pytest.approx(MAJORITY["f1"], abs=0.001)


def test_the_baseline_of_a_regression_is_zero_and_one_number_is_collapsed() -> None:
    true = np.linspace(0, 5, 50)
    none = {"pearson": 0.0, "spearmanr": 0.0}
    found = quality(true + np.sin(true * 9), true, ["pearson", "spearmanr"], "spearmanr", none)
    assert (found["majority_score"], found["collapsed"]) == (0, False)
    assert found["score"] == found["spearmanr"] > 0.5
    flat = quality(np.full(50, 2.5), true, ["pearson", "spearmanr"], "spearmanr", none)
    assert (flat["score"], flat["collapsed"]) == (0, True)


@pytest.mark.parametrize(("spread", "collapsed"), [(0.0099, True), (0.0101, False)])
def test_a_regression_that_says_nearly_one_number_is_collapsed(spread: float, collapsed: bool) -> None:
    true = np.linspace(0, 5, 50).astype(np.float32)
    none = {"pearson": 0.0, "spearmanr": 0.0}
    found = quality(2.5 + spread * (true - 2.5), true, ["pearson", "spearmanr"], "spearmanr", none)
    assert found["spearmanr"] > 0.99
    assert found["collapsed"] == collapsed
