"""Metrics of ``pipeline.metrics.registry`` on weighted examples, for the bootstrap.

Each function prepares predictions (trials, examples) and labels (examples,) once. It returns a function of weights
(resamples, examples), whole numbers that sum to the number of examples, with the result (resamples, trials). Values
equal those of the metric on the repeated examples.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
ResampleWeights = npt.NDArray[np.float32]
WeightedMetric = Callable[[ResampleWeights], Floats]

MAX_RESAMPLES_IN_MEMORY = 16  # resamples whose ranks are in memory
ROUNDING_SHARE = 1e-12  # a variance below this share of the squares is rounding


def prepare_accuracy(predictions: np.ndarray, labels: np.ndarray) -> WeightedMetric:
    """Prepare the share of correct predictions."""
    right = _encode_indicator(predictions == labels)
    return lambda weights: _count_weighted(weights, right) / weights.shape[1]


def prepare_f1(predictions: np.ndarray, labels: np.ndarray) -> WeightedMetric:
    """Prepare the harmonic mean of precision and recall of class 1; 0 if the class never occurs."""
    hits, predicted = _encode_indicator((predictions == 1) & (labels == 1)), _encode_indicator(predictions == 1)
    actual = _encode_indicator((labels == 1)[None])

    def score(weights: ResampleWeights) -> Floats:
        totals = _count_weighted(weights, predicted) + _count_weighted(weights, actual)
        return np.asarray(2 * _count_weighted(weights, hits) / np.maximum(totals, 1))

    return score


def prepare_matthews_correlation(predictions: np.ndarray, labels: np.ndarray) -> WeightedMetric:
    """Prepare Matthews' correlation of two or more classes (Gorodkin 2004).

    It is 0 if predictions or labels contain a single class.
    """
    classes = np.union1d(predictions, labels)
    right = _encode_indicator(predictions == labels)
    predicted = [_encode_indicator(predictions == label) for label in classes]
    actual = [_encode_indicator((labels == label)[None]) for label in classes]
    examples = len(labels)

    def score(weights: ResampleWeights) -> Floats:
        totals = [
            (_count_weighted(weights, one), _count_weighted(weights, other))
            for one, other in zip(predicted, actual, strict=True)
        ]
        covariance = _count_weighted(weights, right) * examples - sum(one * other for one, other in totals)
        ours = examples**2 - sum(one**2 for one, _ in totals)
        theirs = examples**2 - sum(other**2 for _, other in totals)
        scale = np.sqrt(ours * theirs)
        return np.where(scale > 0, covariance / np.where(scale > 0, scale, 1), 0.0)

    return score


def prepare_pearson(predictions: np.ndarray, labels: np.ndarray) -> WeightedMetric:
    """Prepare the linear correlation; 0 if either side is constant."""
    ours = (predictions - predictions.mean(1, keepdims=True, dtype=float)).T
    theirs = (labels - labels.mean(dtype=float))[:, None]

    def score(weights: ResampleWeights) -> Floats:
        exact = weights.astype(float)
        sums, label_sums = exact @ ours, exact @ theirs
        products = exact @ (ours * theirs) - sums * label_sums / len(labels)
        return _compute_correlation(
            products, _compute_variation(exact, ours, sums), _compute_variation(exact, theirs, label_sums)
        )

    return score


def prepare_spearmanr(predictions: np.ndarray, labels: np.ndarray) -> WeightedMetric:
    """Return the correlation of the ranks, ties at their mean rank; 0 where either side does not vary.

    Ranks change with the resample. They are taken from running sums of the weights in the order of the values.
    """
    ours, theirs = [_sort_values(trial) for trial in predictions], _sort_values(labels)

    def score(weights: ResampleWeights) -> Floats:
        correlations = np.empty((len(weights), len(ours)))
        for start in range(0, len(weights), MAX_RESAMPLES_IN_MEMORY):
            batch = np.ascontiguousarray(weights[start : start + MAX_RESAMPLES_IN_MEMORY].T, dtype=float)
            label_ranks, label_variation = _compute_ranks(batch, theirs)
            _, group, _ = theirs
            weighted_ranks = batch * label_ranks[group]
            for trial, (order, _, starts) in enumerate(ours):
                ranks, variation = _compute_ranks(batch, ours[trial])
                products = np.einsum("er,er->r", _sum_groups(weighted_ranks, order, starts), ranks)
                correlations[start : start + MAX_RESAMPLES_IN_MEMORY, trial] = _compute_correlation(
                    products, variation, label_variation
                )
        return correlations

    return score


WEIGHTED_METRICS: dict[str, Callable[[np.ndarray, np.ndarray], WeightedMetric]] = {
    "accuracy": prepare_accuracy,
    "f1": prepare_f1,
    "matthews_correlation": prepare_matthews_correlation,
    "pearson": prepare_pearson,
    "spearmanr": prepare_spearmanr,
}


def _encode_indicator(holds: np.ndarray) -> ResampleWeights:
    """Return (examples, trials) of ones and zeros, whose sums are exact in 32 bits up to 16 million examples."""
    return np.ascontiguousarray(holds.T, dtype=np.float32)


def _count_weighted(weights: ResampleWeights, holds: ResampleWeights) -> Floats:
    return np.asarray(weights @ holds, dtype=float)


def _compute_variation(weights: Floats, values: Floats, sums: Floats) -> Floats:
    """Return the sum of squares about the mean, 0 if it is only rounding."""
    squares = weights @ values**2
    about = squares - sums**2 / len(values)
    return np.where(about > ROUNDING_SHARE * squares, about, 0.0)


def _compute_correlation(products: Floats, ours: Floats, theirs: Floats) -> Floats:
    scale = np.sqrt(ours * theirs)
    return np.where(scale > 0, products / np.where(scale > 0, scale, 1), 0.0)


SortedGroups = tuple[np.ndarray, np.ndarray, np.ndarray]


def _sort_values(values: np.ndarray) -> SortedGroups:
    """Return the order of values (examples,), the group of equal values of each, and where the groups start in it."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    return np.argsort(group, kind="stable"), group, np.cumsum(sizes) - sizes


def _sum_groups(weights: Floats, order: np.ndarray, starts: np.ndarray) -> Floats:
    """Return the sums over equal values, in the order of the values: (groups, resamples)."""
    ordered = weights[order]
    return ordered if len(starts) == len(order) else np.add.reduceat(ordered, starts, axis=0)


def _compute_ranks(weights: Floats, order: SortedGroups) -> tuple[Floats, Floats]:
    """Return the rank of each value less the mean of all ranks, (values, resamples), and the ranks' sum of squares.

    weights (examples, resamples). w equal values rank (w + 1) / 2 behind the smaller ones on average, and the mean
    of all ranks is (n + 1) / 2.
    """
    within = _sum_groups(weights, order[0], order[2])
    ranks: Floats = np.cumsum(within, axis=0)
    ranks -= within / 2
    ranks -= len(weights) / 2
    return ranks, np.einsum("gr,gr,gr->r", within, ranks, ranks)
