"""Quality of a model on the report split, and the score of the best constant prediction.

The interval of a score needs all cells of a task (``pipeline.analysis.statistics.task_scores``): one trial cannot
estimate it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.metrics import evaluate_adapter

FLAT = 0.01  # of the labels' standard deviation


def quality(
    predictions: np.ndarray, references: np.ndarray, names: Sequence[str], score: str, majority: Mapping[str, Any]
) -> dict[str, Any]:
    """Return each metric of predictions against references (examples,), with its baseline.

    ``score`` names the metric that the comparison uses; ``majority`` holds the best score of a constant prediction. A
    trial that predicts one class for every example is ``collapsed``. So is a regression whose predictions have less
    than a hundredth of the labels' standard deviation: its numbers always differ a little, even if it ignores the
    examples.
    """
    values = evaluate_adapter.compute(names, predictions, references)
    result: dict[str, Any] = {"score_name": score, "score": values[score]}
    result |= {"majority_score": majority[score], "collapsed": _collapsed(predictions, references)}
    for name in names:
        result |= {name: values[name], f"majority_{name}": majority[name]}
    return result | {"report_examples": len(references)}


def _collapsed(predictions: np.ndarray, references: np.ndarray) -> bool:
    if predictions.dtype.kind == "f":
        return bool(predictions.std() < FLAT * references.std())
    return bool(np.ptp(predictions) == 0)
