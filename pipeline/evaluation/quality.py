"""How good a model is on the split that is reported, how sure that is, and what saying always the same would score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.evaluation import metrics, scores

RESAMPLES = 2000
NUMBERS_AT_ONCE = 2_000_000  # what a batch of resamples may hold, to stay in the cache's neighbourhood
FLAT = 0.01  # of the labels' standard deviation
CONFIDENCE = 0.95


def quality(
    predictions: np.ndarray, references: np.ndarray, names: Sequence[str], score: str, majority: Mapping[str, Any]
) -> dict[str, Any]:
    """Return each metric of predictions against references (examples,), its interval and the majority baseline's.

    ``score`` names the metric that the comparison uses; ``majority`` holds what always saying the most
    frequent class of train scores, or None where that is not defined. A trial that says one class of every example is
    ``collapsed``, and so is a regression whose numbers spread less than a hundredth as wide as the labels: no two
    of its numbers are the same, however little a model looks at the examples.
    """
    values = metrics.compute(names, predictions, references)
    intervals = {name: bootstrap(name, predictions, references) for name in names}
    low, high = intervals[score]
    result: dict[str, Any] = {"score_name": score, "score": values[score], "bootstrap_low": low, "bootstrap_high": high}
    result |= {"majority_score": majority[score], "collapsed": _collapsed(predictions, references)}
    for name, (low, high) in intervals.items():
        result |= {name: values[name], f"{name}_bootstrap_low": low, f"{name}_bootstrap_high": high}
        result[f"majority_{name}"] = majority[name]
    return result | {"report_examples": len(references)}


def _collapsed(predictions: np.ndarray, references: np.ndarray) -> bool:
    if predictions.dtype.kind == "f":
        return bool(predictions.std() < FLAT * references.std())
    return bool(np.ptp(predictions) == 0)


def bootstrap(name: str, predictions: np.ndarray, references: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the 95% interval of a metric over examples drawn anew (Efron and Tibshirani 1993, percentiles).

    It tells how much of a value is owed to these examples; what is owed to the seed of the training is told by the
    spread over trials.
    """
    score, examples = scores.SCORES[name], len(references)
    random = np.random.default_rng(seed)
    drawn = []
    for start in range(0, RESAMPLES, step := max(1, NUMBERS_AT_ONCE // examples)):
        rows = random.integers(examples, size=(min(step, RESAMPLES - start), examples))
        drawn.append(score(predictions[rows], references[rows]))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail])
    return float(low), float(high)
