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
ResampleWeights = npt.NDArray[np.float32]
WeightedMetric = Callable[[ResampleWeights], Floats]

MAX_RESAMPLES_IN_MEMORY = 16  # resamples whose ranks are in memory
ROUNDING_SHARE = 1e-12  # a variance below this share of the squares is rounding


def prepare_accuracy(answers: np.ndarray, labels: np.ndarray) -> WeightedMetric:
    """Return the share of answers that are right."""
    right = _encode_indicator(answers == labels)
    return lambda weights: _count_weighted(weights, right) / weights.shape[1]


def prepare_f1(answers: np.ndarray, labels: np.ndarray) -> WeightedMetric:
    """Return the harmonic mean of precision and recall of class 1; 0 where it is neither said nor there."""
    hits, said = _encode_indicator((answers == 1) & (labels == 1)), _encode_indicator(answers == 1)
    there = _encode_indicator((labels == 1)[None])

    def score(weights: ResampleWeights) -> Floats:
        named = _count_weighted(weights, said) + _count_weighted(weights, there)
        return np.asarray(2 * _count_weighted(weights, hits) / np.maximum(named, 1))

    return score


def prepare_matthews_correlation(answers: np.ndarray, labels: np.ndarray) -> WeightedMetric:
    """Return Matthews' correlation of two or more classes (Gorodkin 2004); 0 where one class alone is said or there."""
    classes = np.union1d(answers, labels)
    right = _encode_indicator(answers == labels)
    said = [_encode_indicator(answers == label) for label in classes]
    there = [_encode_indicator((labels == label)[None]) for label in classes]
    examples = len(labels)

    def score(weights: ResampleWeights) -> Floats:
        named = [
            (_count_weighted(weights, one), _count_weighted(weights, other))
            for one, other in zip(said, there, strict=True)
        ]
        covariance = _count_weighted(weights, right) * examples - sum(one * other for one, other in named)
        ours = examples**2 - sum(one**2 for one, _ in named)
        theirs = examples**2 - sum(other**2 for _, other in named)
        scale = np.sqrt(ours * theirs)
        return np.where(scale > 0, covariance / np.where(scale > 0, scale, 1), 0.0)

    return score


def prepare_pearson(answers: np.ndarray, labels: np.ndarray) -> WeightedMetric:
    """Return the linear correlation; 0 where either side does not vary."""
    ours = (answers - answers.mean(1, keepdims=True, dtype=float)).T
    theirs = (labels - labels.mean(dtype=float))[:, None]

    def score(weights: ResampleWeights) -> Floats:
        exact = weights.astype(float)
        sums, label_sums = exact @ ours, exact @ theirs
        products = exact @ (ours * theirs) - sums * label_sums / len(labels)
        return _compute_correlation(
            products, _compute_variation(exact, ours, sums), _compute_variation(exact, theirs, label_sums)
        )

    return score


def prepare_spearmanr(answers: np.ndarray, labels: np.ndarray) -> WeightedMetric:
    """Return the correlation of the ranks, ties at their mean rank; 0 where either side does not vary.

    Ranks change with the resample. They are taken from running sums of the weights in the order of the values.
    """
    ours, theirs = [_sort_values(trial) for trial in answers], _sort_values(labels)

    def score(weights: ResampleWeights) -> Floats:
        found = np.empty((len(weights), len(ours)))
        for start in range(0, len(weights), MAX_RESAMPLES_IN_MEMORY):
            held = np.ascontiguousarray(weights[start : start + MAX_RESAMPLES_IN_MEMORY].T, dtype=float)
            place, label_variation = _compute_ranks(held, theirs)
            _, group, _ = theirs
            weighted_ranks = held * place[group]
            for trial, (order, _, starts) in enumerate(ours):
                ranks, variation = _compute_ranks(held, ours[trial])
                products = np.einsum("er,er->r", _sum_groups(weighted_ranks, order, starts), ranks)
                found[start : start + MAX_RESAMPLES_IN_MEMORY, trial] = _compute_correlation(
                    products, variation, label_variation
                )
        return found

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
    """Return the sum of squares about the mean, 0 where it is rounding alone."""
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

    weights (examples, resamples). w equal values stand (w + 1) / 2 behind those before them, on the mean, and the mean
    of all ranks is (n + 1) / 2.
    """
    within = _sum_groups(weights, order[0], order[2])
    ranks: Floats = np.cumsum(within, axis=0)
    ranks -= within / 2
    ranks -= len(weights) / 2
    return ranks, np.einsum("gr,gr,gr->r", within, ranks, ranks)
