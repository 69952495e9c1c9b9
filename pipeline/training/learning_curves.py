"""Learning curves and convergence: steps and seconds until a run is near its final score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import numpy as np

ComputeMetrics = Callable[
    [np.ndarray, np.ndarray], dict[str, float]
]  # metrics of logits (examples, outputs) and labels

ROUNDING = 1e-12  # baseline plus gain may exceed the final score by this much


@dataclass(frozen=True)
class CurvePoint:
    """A ``score`` on the selection split, and the training until then.

    ``examples`` counts repetitions. ``seconds`` are of training only. ``flops`` are those of forward and backward
    passes, None for an unknown model family.
    """

    score: float
    steps: int
    examples: int
    seconds: float
    flops: float | None = None


def compute_convergence(
    curve: Sequence[CurvePoint], fractions: Sequence[float], baseline: float
) -> dict[str, float | None]:
    """Return the training until the score first covers each fraction of the way from baseline to final score.

    ``baseline`` is the score of the best constant prediction on the same examples. With a high baseline, a share of the
    score alone would be reached before the first step. Keys are such as ``steps_to_95pct``. Values are None where the
    final score is not above the baseline.
    """
    gain = curve[-1].score - baseline
    result = {}
    for fraction in fractions:
        target = baseline + fraction * gain
        first = next((point for point in curve if point.score >= target - ROUNDING), None) if gain > 0 else None
        for field in fields(CurvePoint)[1:]:
            if curve[-1].flops is not None or field.name != "flops":
                result[f"{field.name}_to_{100 * fraction:g}pct"] = getattr(first, field.name) if first else None
    return result


def compute_baseline(compute_metrics: ComputeMetrics, labels: np.ndarray, score_name: str) -> float:
    """Return the best score of a constant prediction for labels (examples,), classes or numbers."""
    outputs = 1 if labels.dtype.kind == "f" else int(labels.max()) + 1
    return max(compute_metrics(np.tile(output, (len(labels), 1)), labels)[score_name] for output in np.eye(outputs))
