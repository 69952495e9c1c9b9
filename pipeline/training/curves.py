"""Learning curves: how soon a run comes near its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Point:
    """A model's ``score`` on the split that selects, and what it has had by then.

    ``steps`` are updates, ``examples`` counts repetitions, ``seconds`` are of training, ``operations`` those of forward
    and backward passes, None where nobody knows them.
    """

    score: float
    steps: int
    examples: int
    seconds: float
    operations: float | None = None


def convergence(curve: Sequence[Point], fractions: Sequence[float]) -> dict[str, float | None]:
    """Return what it took until the score first reached each of the ``fractions`` of the final one.

    The keys are such as ``steps_to_95pct``. None where the final score is not above zero, for a share of it means
    nothing then. A curve tells it no finer than its points lie.
    """
    final = curve[-1].score
    found = {}
    for fraction in fractions:
        near = next((point for point in curve if point.score >= fraction * final), None) if final > 0 else None
        for field in fields(Point)[1:]:
            if curve[-1].operations is not None or field.name != "operations":
                found[f"{field.name}_to_{100 * fraction:g}pct"] = getattr(near, field.name) if near else None
    return found
