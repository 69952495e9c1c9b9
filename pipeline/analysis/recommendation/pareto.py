"""Pareto fronts: the cells that no other beats in both quality and cost, and how sure each one's place there is."""

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
    """The cost and the score of a cell, each with the ends of its 95% interval (cost in its key's unit).

    ``probability`` is the share of draws in which it is on the front. It and the ends of the score are None where no
    cell of the task repeats a seed.
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
    """The cells on the front of quality against ``cost``, the cheapest first, and the others, in the same order."""

    task: str
    cost: str
    members: tuple[FrontPoint, ...]
    others: tuple[FrontPoint, ...]


@dataclass(frozen=True)
class CostSamples:
    """A cost of cells: means over seeds (cells,), and draws (resamples, cells) of what they are on average."""

    key: str
    names: tuple[str, ...]
    costs: Floats
    samples: Floats


def compute_front_mask(costs: Floats, scores: Floats) -> npt.NDArray[np.bool_]:
    """Say of each cell whether it is on the front: costs and scores (..., cells), each row a front of its own.

    A cell is on it unless another costs no more and scores no less, and is strictly better in one of the two. Cells
    that are equal in both stand or fall together.
    """
    costs, scores = np.broadcast_arrays(costs, scores)
    order = np.lexsort((-scores, costs), axis=-1)
    cost, score = (np.take_along_axis(values, order, -1) for values in (costs, scores))
    best = np.maximum.accumulate(score, axis=-1)
    above, same = np.ones(cost.shape, bool), np.zeros(cost.shape, bool)
    above[..., 1:] = score[..., 1:] > best[..., :-1]
    same[..., 1:] = (cost[..., 1:] == cost[..., :-1]) & (score[..., 1:] == score[..., :-1])
    first = np.maximum.accumulate(np.where(same, 0, np.arange(cost.shape[-1])), axis=-1)
    found = np.empty(cost.shape, bool)
    np.put_along_axis(found, order, np.take_along_axis(above, first, -1), -1)
    return found


def build_cost_samples(key: str, values: Mapping[str, Sequence[float]], resamples: int = RESAMPLES) -> CostSamples:
    """Return a cost of each cell from its numbers, one per seed: time differs between seeds, bytes do not."""
    means = np.array([np.mean(numbers) for numbers in values.values()])
    return CostSamples(key, tuple(values), means, posterior_draws.sample_costs([*values.values()], resamples))


def compute_fronts(draws: ScoreSamples, costs: Sequence[CostSamples]) -> tuple[ParetoFront, ...]:
    """Return the front against each cost, of the cells that have it; a cost that no cell has is left out."""
    return tuple(_compute_front(draws, paid) for paid in costs if paid.names)


def _compute_front(draws: ScoreSamples, paid: CostSamples) -> ParetoFront:
    at = [draws.names.index(name) for name in paid.names]
    scores, cost_ends = draws.scores[at], np.quantile(paid.samples, [0.025, 0.975], axis=0)
    probability = (
        [None] * len(at)
        if draws.expected_scores is None
        else compute_front_mask(paid.samples, draws.expected_scores[:, at]).mean(0).tolist()
    )
    columns = (paid.costs.tolist(), *cost_ends.tolist(), scores.tolist())
    places = [
        FrontPoint(name, cost, cost_low, cost_high, score, *draws.get_interval(name), share)
        for name, cost, cost_low, cost_high, score, share in zip(paid.names, *columns, probability, strict=True)
    ]
    on = dict(zip(paid.names, compute_front_mask(paid.costs, scores), strict=True))
    ranked = sorted(places, key=lambda place: (place.cost, -place.score, place.cell))
    members, others = (tuple(place for place in ranked if on[place.cell] == which) for which in (True, False))
    return ParetoFront(draws.task, paid.key, members, others)


def compute_total_costs(
    costs: Mapping[str, float | None], sources: Mapping[str, str | None]
) -> dict[str, float | None]:
    """Return what each cell cost with all that it was made of or learned from, by name.

    ``costs`` is what each step cost by itself, 0 where it trained nothing; ``sources`` names what a step was made of,
    the teacher of a student, None at the start. Cells that share an ancestor each pay for it in full. None where a step
    on the way has no number.
    """
    found: dict[str, float | None] = {}
    for name in costs:
        steps: list[float | None] = []
        step: str | None = name
        while step is not None:
            steps.append(costs.get(step))
            step = sources.get(step)
        known = [cost for cost in steps if cost is not None]
        found[name] = sum(known) if len(known) == len(steps) else None
    return found
