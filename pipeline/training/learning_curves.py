"""Learning curves: how soon a run comes near its final score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

Judge = Callable[[np.ndarray, np.ndarray], dict[str, float]]  # metrics of logits (examples, outputs) and labels

ROUNDING = 1e-12  # a sum of the baseline and the gain may end this far above the final score itself


@dataclass(frozen=True)
class Point:
    """A model's ``score`` on the split that selects, and what it has had by then.

    ``steps`` are updates, ``examples`` counts repetitions, ``seconds`` are of training, ``flops`` those of forward
    and backward passes, None where nobody knows them.
    """

    score: float
    steps: int
    examples: int
    seconds: float
    flops: float | None = None


def convergence(curve: Sequence[Point], fractions: Sequence[float], baseline: float) -> dict[str, float | None]:
    """Return what it took until the score first covered each of the ``fractions`` of the way from baseline to end.

    ``baseline`` is the score of the best constant prediction on the same examples: a share of the score itself would be
    reached before the first step where that baseline is high. The keys are such as ``steps_to_95pct``. None where the
    final score is not above the baseline: such a run has not learned. A curve is as coarse as its points.
    """
    gain = curve[-1].score - baseline
    found = {}
    for fraction in fractions:
        least = baseline + fraction * gain
        near = next((point for point in curve if point.score >= least - ROUNDING), None) if gain > 0 else None
        for field in fields(Point)[1:]:
            if curve[-1].flops is not None or field.name != "flops":
                found[f"{field.name}_to_{100 * fraction:g}pct"] = getattr(near, field.name) if near else None
    return found


def compute_baseline(judge: Judge, labels: np.ndarray, score: str) -> float:
    """Return the best score of a constant prediction for labels (examples,): classes, or numbers of a regression."""
    outputs = 1 if labels.dtype.kind == "f" else int(labels.max()) + 1
    return max(judge(np.tile(answer, (len(labels), 1)), labels)[score] for answer in np.eye(outputs))
