"""The metrics of ``pipeline.metrics.registry`` on resamples, each told by how often it holds every example.

A metric is given the answers (trials, examples) and the labels (examples,) once, and returns a function of the weights
(resamples, examples), whole numbers that sum to the number of examples, which returns (resamples, trials). The values
are those of ``scores`` on the examples written out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Weights = npt.NDArray[np.float32]
Weighted = Callable[[Weights], Floats]

AT_ONCE = 16  # resamples whose ranks are in memory
STILL = 1e-12  # a variance below this share of the squares is rounding


def accuracy(answers: np.ndarray, labels: np.ndarray) -> Weighted:
    """Return the share of answers that are right."""
    right = _indicator(answers == labels)
    return lambda weights: _counts(weights, right) / weights.shape[1]


def f1(answers: np.ndarray, labels: np.ndarray) -> Weighted:
    """Return the harmonic mean of precision and recall of class 1; 0 where it is neither said nor there."""
    hits, said = _indicator((answers == 1) & (labels == 1)), _indicator(answers == 1)
    there = _indicator((labels == 1)[None])

    def score(weights: Weights) -> Floats:
        named = _counts(weights, said) + _counts(weights, there)
        return np.asarray(2 * _counts(weights, hits) / np.maximum(named, 1))

    return score


def matthews_correlation(answers: np.ndarray, labels: np.ndarray) -> Weighted:
    """Return Matthews' correlation of two or more classes (Gorodkin 2004); 0 where one class alone is said or there."""
    classes = np.union1d(answers, labels)
    right = _indicator(answers == labels)
    said = [_indicator(answers == label) for label in classes]
    there = [_indicator((labels == label)[None]) for label in classes]
    examples = len(labels)

    def score(weights: Weights) -> Floats:
        named = [(_counts(weights, one), _counts(weights, other)) for one, other in zip(said, there, strict=True)]
        covariance = _counts(weights, right) * examples - sum(one * other for one, other in named)
        ours = examples**2 - sum(one**2 for one, _ in named)
        theirs = examples**2 - sum(other**2 for _, other in named)
        scale = np.sqrt(ours * theirs)
        return np.where(scale > 0, covariance / np.where(scale > 0, scale, 1), 0.0)

    return score


def pearson(answers: np.ndarray, labels: np.ndarray) -> Weighted:
    """Return the linear correlation; 0 where either side does not vary."""
    ours = (answers - answers.mean(1, keepdims=True, dtype=float)).T
    theirs = (labels - labels.mean(dtype=float))[:, None]

    def score(weights: Weights) -> Floats:
        exact = weights.astype(float)
        sums, label_sums = exact @ ours, exact @ theirs
        products = exact @ (ours * theirs) - sums * label_sums / len(labels)
        return _correlation(products, _variation(exact, ours, sums), _variation(exact, theirs, label_sums))

    return score


def spearmanr(answers: np.ndarray, labels: np.ndarray) -> Weighted:
    """Return the correlation of the ranks, ties at their mean rank; 0 where either side does not vary.

    Ranks change with the resample. They are taken from running sums of the weights in the order of the values.
    """
    ours, theirs = [_order(trial) for trial in answers], _order(labels)

    def score(weights: Weights) -> Floats:
        found = np.empty((len(weights), len(ours)))
        for start in range(0, len(weights), AT_ONCE):
            held = np.ascontiguousarray(weights[start : start + AT_ONCE].T, dtype=float)
            place, label_variation = _ranks(held, theirs)
            _, group, _ = theirs
            weighted_ranks = held * place[group]
            for trial, (order, _, starts) in enumerate(ours):
                ranks, variation = _ranks(held, ours[trial])
                products = np.einsum("er,er->r", _grouped(weighted_ranks, order, starts), ranks)
                found[start : start + AT_ONCE, trial] = _correlation(products, variation, label_variation)
        return found

    return score


WEIGHTED: dict[str, Callable[[np.ndarray, np.ndarray], Weighted]] = {
    score.__name__: score for score in (accuracy, f1, matthews_correlation, pearson, spearmanr)
}


def _indicator(holds: np.ndarray) -> Weights:
    """Return (examples, trials) of ones and zeros, whose sums are exact in 32 bits up to 16 million examples."""
    return np.ascontiguousarray(holds.T, dtype=np.float32)


def _counts(weights: Weights, holds: Weights) -> Floats:
    return np.asarray(weights @ holds, dtype=float)


def _variation(weights: Floats, values: Floats, sums: Floats) -> Floats:
    """Return the sum of squares about the mean, 0 where it is rounding alone."""
    squares = weights @ values**2
    about = squares - sums**2 / len(values)
    return np.where(about > STILL * squares, about, 0.0)


def _correlation(products: Floats, ours: Floats, theirs: Floats) -> Floats:
    scale = np.sqrt(ours * theirs)
    return np.where(scale > 0, products / np.where(scale > 0, scale, 1), 0.0)


Order = tuple[np.ndarray, np.ndarray, np.ndarray]


def _order(values: np.ndarray) -> Order:
    """Return the order of values (examples,), the group of equal values of each, and where the groups start in it."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    return np.argsort(group, kind="stable"), group, np.cumsum(sizes) - sizes


def _grouped(weights: Floats, order: np.ndarray, starts: np.ndarray) -> Floats:
    """Return the sums over equal values, in the order of the values: (groups, resamples)."""
    ordered = weights[order]
    return ordered if len(starts) == len(order) else np.add.reduceat(ordered, starts, axis=0)


def _ranks(weights: Floats, order: Order) -> tuple[Floats, Floats]:
    """Return the rank of each value less the mean of all ranks, (values, resamples), and the ranks' sum of squares.

    weights (examples, resamples). w equal values stand (w + 1) / 2 behind those before them, on the mean, and the mean
    of all ranks is (n + 1) / 2.
    """
    within = _grouped(weights, order[0], order[2])
    ranks: Floats = np.cumsum(within, axis=0)
    ranks -= within / 2
    ranks -= len(weights) / 2
    return ranks, np.einsum("gr,gr,gr->r", within, ranks, ranks)
