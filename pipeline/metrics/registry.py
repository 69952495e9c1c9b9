"""The metrics of the tasks, as functions of arrays whose last axis is the examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np


def accuracy(predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return the share of predictions that are right."""
    return np.asarray(np.mean(predictions == references, axis=-1))


def f1(predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return the harmonic mean of precision and recall of class 1; 0 if class 1 is neither predicted nor present."""
    hits = ((predictions == 1) & (references == 1)).sum(-1)
    named = (predictions == 1).sum(-1) + (references == 1).sum(-1)
    return np.asarray(2 * hits / np.maximum(named, 1))


def matthews_correlation(predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return Matthews' correlation of two or more classes (Gorodkin 2004).

    It is 0 if only one class is predicted or present.
    """
    classes = np.union1d(predictions, references)
    guessed = np.stack([(predictions == label).sum(-1) for label in classes], -1).astype(float)
    true = np.stack([(references == label).sum(-1) for label in classes], -1).astype(float)
    examples = predictions.shape[-1]
    right = (predictions == references).sum(-1)
    covariance = right * examples - (guessed * true).sum(-1)
    scale = np.sqrt((examples**2 - (guessed**2).sum(-1)) * (examples**2 - (true**2).sum(-1)))
    return np.where(scale > 0, covariance / np.where(scale > 0, scale, 1), 0.0)


def pearson(predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return the linear correlation; 0 where either side does not vary."""
    one, other = _centred(predictions), _centred(references)
    scale = np.sqrt((one**2).sum(-1) * (other**2).sum(-1))
    return np.where(scale > 0, (one * other).sum(-1) / np.where(scale > 0, scale, 1), 0.0)


def spearmanr(predictions: np.ndarray, references: np.ndarray) -> np.ndarray:
    """Return the correlation of the ranks, ties at their mean rank; 0 where either side does not vary."""
    from scipy.stats import rankdata  # takes a second to import; only regressions need it

    return pearson(rankdata(predictions, axis=-1), rankdata(references, axis=-1))


def _centred(values: np.ndarray) -> np.ndarray:
    """Subtract the mean; return zeros if the values differ only by rounding (scipy's threshold)."""
    mean = values.mean(-1, keepdims=True, dtype=float)
    centred = values - mean
    varies = np.sqrt((centred**2).sum(-1, keepdims=True)) > 1e-13 * np.abs(mean)
    return np.where(varies, centred, 0.0)


SCORES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    score.__name__: score for score in (accuracy, f1, matthews_correlation, pearson, spearmanr)
}


def predicted(logits: np.ndarray) -> np.ndarray:
    """Return the predicted class of logits (examples, outputs), or the number if there is one output."""
    return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(-1)


def judge(logits: np.ndarray, labels: np.ndarray, metrics: Iterable[str]) -> dict[str, float]:
    """Return the named metrics of logits (examples, outputs) against labels (examples,)."""
    predictions = predicted(logits)
    return {name: float(SCORES[name](predictions, labels)) for name in metrics}
