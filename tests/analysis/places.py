"""Cells at known places of cost and score, and which of them another beats."""

import numpy as np
from hypothesis import strategies as st

from pipeline.analysis.recommendation import pareto
from pipeline.analysis.recommendation.pareto import CostSamples
from pipeline.analysis.statistics.bootstrap import ScoreSamples

FEW = st.integers(0, 4)  # few values, so that there are ties


def drawn(scores: dict[str, float], spread: float = 0.0, resamples: int = 400) -> ScoreSamples:
    random, cells = np.random.default_rng(0), len(scores)
    values = np.array(list(scores.values()))
    draws = values + spread * random.normal(size=(resamples, cells))
    return ScoreSamples(
        "t", "accuracy", 100, tuple(scores), values, tuple(np.array([value] * 3) for value in values),
        np.zeros((cells, cells)), np.zeros(cells), draws, np.quantile(draws, [0.025, 0.975], axis=0),
    )  # fmt: skip


def priced(costs: dict[str, float], resamples: int = 400) -> CostSamples:
    return pareto.build_cost_samples("storage_bytes", {name: [cost] for name, cost in costs.items()}, resamples)


def beaten(cell: tuple[int, int], others: list[tuple[int, int]]) -> bool:
    cost, score = cell
    return any(c <= cost and s >= score and (c < cost or s > score) for c, s in others)
