"""Pareto fronts of quality against cost, with the probability of each cell to be on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.analysis.statistics import posterior_draws
from pipeline.analysis.statistics.bootstrap import RESAMPLES, ScoreSamples
from pipeline.analysis.statistics.weighted_metrics import Floats

COSTS = (
    "parameters", "parameters_nonzero", "storage_bytes", "latency_p50_ms", "inference_flops", "train_flops",
    "train_seconds",
)  # fmt: skip


@dataclass(frozen=True)
class FrontPoint:
    """Cost and score of a cell with their 95% intervals, the cost in its own unit.

    ``probability`` is the share of samples in which the cell is on the front. It and the interval of the score are None
    if no cell of the task repeats a seed.
    """

    cell: str
    cost: float
    cost_low: float
    cost_high: float
    score: float
    low: float | None
    high: float | None
    probability: float | None


@dataclass(frozen=True)
class ParetoFront:
    """Cells on the front of quality against ``cost`` (``members``) and the others, cheapest first."""

    task: str
    cost: str
    members: tuple[FrontPoint, ...]
    others: tuple[FrontPoint, ...]


@dataclass(frozen=True)
class CostSamples:
    """One cost of the cells: means over seeds (cells,) and samples of the mean (resamples, cells)."""

    key: str
    names: tuple[str, ...]
    costs: Floats
    samples: Floats


def compute_front_mask(costs: Floats, scores: Floats) -> npt.NDArray[np.bool_]:
    """Return which cells are on the front: costs and scores (..., cells), one front per row.

    A cell is on it unless another costs no more, scores no less, and is strictly better in one of the two. Cells equal
    in both are treated alike.
    """
    costs, scores = np.broadcast_arrays(costs, scores)
    order = np.lexsort((-scores, costs), axis=-1)
    cost, score = (np.take_along_axis(values, order, -1) for values in (costs, scores))
    best = np.maximum.accumulate(score, axis=-1)
    above, same = np.ones(cost.shape, bool), np.zeros(cost.shape, bool)
    above[..., 1:] = score[..., 1:] > best[..., :-1]
    same[..., 1:] = (cost[..., 1:] == cost[..., :-1]) & (score[..., 1:] == score[..., :-1])
    first = np.maximum.accumulate(np.where(same, 0, np.arange(cost.shape[-1])), axis=-1)
    mask = np.empty(cost.shape, bool)
    np.put_along_axis(mask, order, np.take_along_axis(above, first, -1), -1)
    return mask


def build_cost_samples(key: str, values: Mapping[str, Sequence[float]], resamples: int = RESAMPLES) -> CostSamples:
    """Sample one cost of each cell from its numbers, one per seed."""
    means = np.array([np.mean(numbers) for numbers in values.values()])
    return CostSamples(key, tuple(values), means, posterior_draws.sample_costs([*values.values()], resamples))


def compute_fronts(samples: ScoreSamples, costs: Sequence[CostSamples]) -> tuple[ParetoFront, ...]:
    """Compute the front for each cost that some cell has."""
    return tuple(_compute_front(samples, cost_samples) for cost_samples in costs if cost_samples.names)


def _compute_front(samples: ScoreSamples, cost_samples: CostSamples) -> ParetoFront:
    at = [samples.names.index(name) for name in cost_samples.names]
    scores, cost_ends = samples.scores[at], np.quantile(cost_samples.samples, [0.025, 0.975], axis=0)
    probability = (
        [None] * len(at)
        if samples.expected_scores is None
        else compute_front_mask(cost_samples.samples, samples.expected_scores[:, at]).mean(0).tolist()
    )
    columns = (cost_samples.costs.tolist(), *cost_ends.tolist(), scores.tolist())
    points = [
        FrontPoint(name, cost, cost_low, cost_high, score, *samples.get_interval(name), share)
        for name, cost, cost_low, cost_high, score, share in zip(cost_samples.names, *columns, probability, strict=True)
    ]
    on = dict(zip(cost_samples.names, compute_front_mask(cost_samples.costs, scores), strict=True))
    ranked = sorted(points, key=lambda point: (point.cost, -point.score, point.cell))
    members, others = (tuple(point for point in ranked if on[point.cell] == which) for which in (True, False))
    return ParetoFront(samples.task, cost_samples.key, members, others)


def compute_total_costs(
    costs: Mapping[str, float | None], sources: Mapping[str, str | None]
) -> dict[str, float | None]:
    """Sum the costs of each cell and all its ancestors, by name.

    ``costs`` are those of each step alone, 0 if it trained nothing; ``sources`` maps a step to the model it started
    from or its teacher. A shared ancestor counts in full for each cell. None if a step has no number.
    """
    totals: dict[str, float | None] = {}
    for name in costs:
        steps: list[float | None] = []
        step: str | None = name
        while step is not None:
            steps.append(costs.get(step))
            step = sources.get(step)
        known = [cost for cost in steps if cost is not None]
        totals[name] = sum(known) if len(known) == len(steps) else None
    return totals
