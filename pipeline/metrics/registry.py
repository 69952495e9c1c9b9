"""GLUE's metrics as functions of arrays, the last axis being the examples; any axes before it are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np


def accuracy(predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return the share of predictions that are right."""
    return np.asarray(np.mean(predictions == references, axis=-1))


def f1(predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return the harmonic mean of precision and recall of class 1; 0 where it is neither said nor there."""
    hits = ((predictions == 1) & (references == 1)).sum(-1)
    named = (predictions == 1).sum(-1) + (references == 1).sum(-1)
    return np.asarray(2 * hits / np.maximum(named, 1))


def matthews_correlation(predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return Matthews' correlation of two or more classes (Gorodkin 2004); 0 where one class alone is said or there."""
    classes = np.union1d(predictions, references)
    said = np.stack([(predictions == label).sum(-1) for label in classes], -1).astype(float)
    true = np.stack([(references == label).sum(-1) for label in classes], -1).astype(float)
    examples = predictions.shape[-1]
    right = (predictions == references).sum(-1)
    covariance = right * examples - (said * true).sum(-1)
    scale = np.sqrt((examples**2 - (said**2).sum(-1)) * (examples**2 - (true**2).sum(-1)))
    return np.where(scale > 0, covariance / np.where(scale > 0, scale, 1), 0.0)


def pearson(predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return the linear correlation; 0 where either side does not vary."""
    one, other = _centred(predictions), _centred(references)
    scale = np.sqrt((one**2).sum(-1) * (other**2).sum(-1))
    return np.where(scale > 0, (one * other).sum(-1) / np.where(scale > 0, scale, 1), 0.0)


def spearmanr(predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return the correlation of the ranks, ties at their mean rank; 0 where either side does not vary."""
    from scipy.stats import rankdata  # a second to import, which only a regression should cost

    return pearson(rankdata(predictions, axis=-1), rankdata(references, axis=-1))


def _centred(values: np.ndarray) -> np.ndarray:
    """Return values less their mean, and zeros where they differ by rounding alone (scipy's threshold)."""
    mean = values.mean(-1, keepdims=True, dtype=float)
    centred = values - mean
    varies = np.sqrt((centred**2).sum(-1, keepdims=True)) > 1e-13 * np.abs(mean)
    return np.where(varies, centred, 0.0)


SCORES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    score.__name__: score for score in (accuracy, f1, matthews_correlation, pearson, spearmanr)
}


def predicted(logits: np.ndarray) -> np.ndarray:
    """Return what logits (examples, outputs) say: the class of the largest, or the number where there is one output."""
    return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(-1)


def judge(logits: np.ndarray, labels: np.ndarray, metrics: Iterable[str]) -> dict[str, float]:
    """Return the named metrics of logits (examples, outputs) against labels (examples,)."""
    said = predicted(logits)
    return {name: float(SCORES[name](said, labels)) for name in metrics}
