"""Cells to choose among, whose scores and costs are known."""

from dataclasses import replace

import numpy as np

from pipeline.analysis.recommendation import select
from pipeline.analysis.recommendation.limits import Candidate
from pipeline.analysis.recommendation.select import Choice
from pipeline.analysis.statistics import pairwise_tests
from pipeline.analysis.statistics.bootstrap import ScoreSamples
from pipeline.plan.budget import Budget

TINY = 1e-9


def drawn(scores: dict[str, float], spread: float = 0.0, seeds: int = 3) -> ScoreSamples:
    """Return draws of cells whose scores vary independently over examples and agree over seeds."""
    values, cells = np.array(list(scores.values())), len(scores)
    draws = values + spread * np.random.default_rng(0).normal(size=(2000, cells))
    found = ScoreSamples(
        "t", "f1", 1000, tuple(scores), values, tuple(np.full(seeds, value) for value in values),
        spread**2 * np.eye(cells), np.zeros(cells), draws, np.quantile(draws, [0.025, 0.975], axis=0),
    )  # fmt: skip
    return found if seeds > 1 else replace(found, expected_scores=None, intervals=None)


def cell(name: str, machine: str = "", **costs: float | tuple[float, ...]) -> Candidate:
    given = {key: value if isinstance(value, tuple) else (float(value),) * 3 for key, value in costs.items()}
    return Candidate(name, f"the {name}", given, machine)


def chosen(
    cells: list[Candidate],
    scores: dict[str, float],
    spread: float = 0.0,
    baseline: float | None = None,
    margin: float = 0.01,
    seeds: int = 3,
    **limits: float,
) -> Choice:
    draws, pairs = drawn(scores, spread, seeds), len(scores) * (len(scores) - 1) // 2
    errors = np.full(pairs, max(2**0.5 * spread, TINY)), np.full(pairs, np.inf)
    compared = pairwise_tests.compute_pairwise_tests(draws, errors if seeds > 1 else None)
    return select.select_cell(cells, Budget(**limits), draws, compared, baseline, margin)


THREE = [
    cell("small", latency_p50_ms=1, storage_bytes=1e6),
    cell("middle", latency_p50_ms=2, storage_bytes=4e6),
    cell("large", latency_p50_ms=4, storage_bytes=16e6),
]
SCORES = {"small": 0.7, "middle": 0.8, "large": 0.9}
