"""Scores against scikit-learn, scipy and published figures."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn import metrics as sklearn

from pipeline.metrics import registry

Score = Callable[[np.ndarray, np.ndarray], float]


def classes(count: int) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    return st.integers(1, 40).flatmap(
        lambda length: st.tuples(*[arrays(np.int64, length, elements=st.integers(0, count - 1))] * 2)
    )


@settings(max_examples=100, deadline=None)
@given(classes(2))
def test_scores_of_two_classes_are_those_of_scikit_learn(labels: tuple[np.ndarray, np.ndarray]) -> None:
    said, true = labels
    assert registry.accuracy(said, true) == pytest.approx(sklearn.accuracy_score(true, said))
    assert registry.f1(said, true) == pytest.approx(sklearn.f1_score(true, said, zero_division=0))


@settings(max_examples=100, deadline=None)
@given(st.one_of(classes(2), classes(4)))
def test_matthews_correlation_is_that_of_scikit_learn(labels: tuple[np.ndarray, np.ndarray]) -> None:
    said, true = labels
    with np.errstate(invalid="ignore"):
        expected = sklearn.matthews_corrcoef(true, said) if len(set(said) | set(true)) > 1 else 0.0
    assert registry.matthews_correlation(said, true) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_correlations_are_those_of_scipy(seed: int) -> None:
    random = np.random.default_rng(seed)
    true = random.integers(0, 6, 200) / 1.0
    said = (true + random.normal(0, 2, 200)).round(1).astype(np.float32)
    assert registry.pearson(said, true) == pytest.approx(stats.pearsonr(said, true).statistic)
    assert registry.spearmanr(said, true) == pytest.approx(stats.spearmanr(said, true).statistic)


@pytest.mark.parametrize("score", [registry.pearson, registry.spearmanr, registry.matthews_correlation])
def test_what_does_not_vary_correlates_with_nothing(score: Score) -> None:
    constant = np.full(30, np.float32(0.1) if score is not registry.matthews_correlation else 1)
    assert score(constant, np.arange(30) % 2) == 0


@pytest.mark.parametrize("name", sorted(registry.SCORES))
def test_many_samples_at_once_give_what_each_gives(name: str) -> None:
    random = np.random.default_rng(0)
    said, true = random.integers(0, 2, (2, 20, 15))
    score = registry.SCORES[name]
    np.testing.assert_allclose(score(said, true), [score(*rows) for rows in zip(said, true, strict=True)])


def test_always_paraphrase_scores_on_mrpc_what_is_published() -> None:
    """279 of the 408 validation pairs are paraphrases: accuracy 68.4, F1 81.2."""
    true = np.array([1] * 279 + [0] * 129)
    assert round(100 * float(registry.accuracy(np.ones_like(true), true)), 1) == 68.4
    assert round(100 * float(registry.f1(np.ones_like(true), true)), 1) == 81.2


@pytest.mark.shared
@pytest.mark.parametrize(("split", "accuracy", "f1"), [("validation", 68.4, 81.2), ("test", 66.5, 79.9)])
def test_always_paraphrase_scores_on_the_real_rows_what_is_published(
    shared: Path, split: str, accuracy: float, f1: float
) -> None:
    lines = (shared / "data" / "mrpc" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    true = np.array([json.loads(line)["label"] for line in lines])
    assert round(100 * float(registry.accuracy(np.ones_like(true), true)), 1) == accuracy
    assert round(100 * float(registry.f1(np.ones_like(true), true)), 1) == f1


def test_logits_say_the_largest_class_or_the_number() -> None:
    assert registry.predicted(np.array([[0.1, 0.9], [2.0, -1.0]])).tolist() == [1, 0]
    assert registry.predicted(np.array([[0.5], [4.0]])).tolist() == [0.5, 4.0]


def test_the_named_metrics_are_judged() -> None:
    logits, labels = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), np.array([1, 0, 0])
    assert registry.judge(logits, labels, ["accuracy", "f1"]) == {
        "accuracy": pytest.approx(2 / 3),
        "f1": pytest.approx(2 / 3),
    }
