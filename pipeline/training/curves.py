"""Learning curves: how soon a run comes near its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NEAR = 0.95  # of the final score


@dataclass(frozen=True)
class Point:
    """A model's ``score`` on the split that selects, after ``steps`` updates and ``seconds`` of training."""

    steps: int
    seconds: float
    score: float


def convergence(curve: Sequence[Point]) -> dict[str, float | None]:
    """Return the steps and the seconds after which the score first reached 95% of the final one.

    None where the final score is not above zero, for a share of it means nothing then.
    """
    final = curve[-1].score
    near = next((point for point in curve if point.score >= NEAR * final), None) if final > 0 else None
    return {
        "steps_to_95pct": near.steps if near else None,
        "seconds_to_95pct": near.seconds if near else None,
    }
