"""Cells to choose among, whose scores and costs are known."""

import numpy as np

from pipeline.scaling import choosing, differences
from pipeline.scaling.budget import Budget
from pipeline.scaling.choosing import Candidate, Choice
from pipeline.scaling.draws import Draws


def drawn(scores: dict[str, float], spread: float = 0.0) -> Draws:
    """Return draws of cells whose scores vary independently over examples."""
    values, cells = np.array(list(scores.values())), len(scores)
    noise = spread * np.random.default_rng(0).normal(size=(2000, cells))
    return Draws(
        "t", "f1", 1000, tuple(scores), ("",) * cells, values, values + noise,
        tuple(np.array([value]) for value in values), spread**2 * np.eye(cells), np.zeros(cells),
    )  # fmt: skip


def cell(name: str, **costs: float | tuple[float, ...]) -> Candidate:
    given = {key: value if isinstance(value, tuple) else (float(value),) * 3 for key, value in costs.items()}
    return Candidate(name, f"the {name}", given)


def chosen(cells: list[Candidate], scores: dict[str, float], spread: float = 0.0, **limits: float) -> Choice:
    draws = drawn(scores, spread)
    return choosing.choose(cells, Budget(**limits), draws, differences.compare(draws))


THREE = [
    cell("small", latency_p50_ms=1, storage_bytes=1e6),
    cell("middle", latency_p50_ms=2, storage_bytes=4e6),
    cell("large", latency_p50_ms=4, storage_bytes=16e6),
]
SCORES = {"small": 0.7, "middle": 0.8, "large": 0.9}
