"""Cells to choose among, whose scores and costs are known."""

from dataclasses import replace

import numpy as np

from pipeline.scaling import choosing, differences
from pipeline.scaling.budget import Budget
from pipeline.scaling.choosing import Candidate, Choice
from pipeline.scaling.draws import Draws

TINY = 1e-9


def drawn(scores: dict[str, float], spread: float = 0.0) -> Draws:
    """Return draws of cells whose scores vary independently."""
    values, cells = np.array(list(scores.values())), len(scores)
    draws = values + spread * np.random.default_rng(0).normal(size=(2000, cells))
    return Draws(
        "t", "f1", 1000, tuple(scores), values, tuple(np.array([value] * 3) for value in values),
        spread**2 * np.eye(cells), np.zeros(cells), draws, np.quantile(draws, [0.025, 0.975], axis=0),
    )  # fmt: skip


def cell(name: str, **costs: float | tuple[float, ...]) -> Candidate:
    given = {key: value if isinstance(value, tuple) else (float(value),) * 3 for key, value in costs.items()}
    return Candidate(name, f"the {name}", given)


def chosen(cells: list[Candidate], scores: dict[str, float], spread: float = 0.0, **limits: float) -> Choice:
    draws, pairs = drawn(scores, spread), len(scores) * (len(scores) - 1) // 2
    error = np.full(pairs, max(2**0.5 * spread, TINY))
    return choosing.choose(cells, Budget(**limits), draws, differences.compare(draws, (error, np.full(pairs, np.inf))))


def choose_from_single_seeds(cells: list[Candidate], scores: dict[str, float], **limits: float) -> Choice:
    draws = replace(drawn(scores), draws=None, intervals=None)
    return choosing.choose(cells, Budget(**limits), draws, differences.compare(draws, None))


THREE = [
    cell("small", latency_p50_ms=1, storage_bytes=1e6),
    cell("middle", latency_p50_ms=2, storage_bytes=4e6),
    cell("large", latency_p50_ms=4, storage_bytes=16e6),
]
SCORES = {"small": 0.7, "middle": 0.8, "large": 0.9}
