"""Cost at equal quality: what a plain model would cost that scores as much as a student, a compression, or any cell.

The plain route is the front of the sizes as they were fine-tuned on all data. Between neighbours on it, the logarithm
of the cost runs in a straight line with the score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.analysis.recommendation.pareto import CostSamples, compute_front_mask
from pipeline.analysis.statistics.bootstrap import ScoreSamples
from pipeline.analysis.statistics.weighted_metrics import Floats

CHEAPER, DEARER, NO_GAIN = "cheaper", "dearer", "no gain shown"
WITHIN, BEYOND, BELOW = "within", "beyond", "below all"


@dataclass(frozen=True)
class EqualQualityCost:
    """A cell's cost as a ratio to that of a plain model with its score, and the ends of its 95% interval.

    ``where`` tells how the score lies to the plain models': within them; ``beyond`` the best, whose cost stands for the
    plain cost, so that the true ratio is at most this; ``below all``, where that of the cheapest stands for it and the
    true ratio is at least this. ``low`` is 0 and ``high`` infinite where the draws go beyond the plain models' range,
    and where no cell of the task repeats a seed. ``verdict``: cheaper, dearer, or no gain shown where the interval
    contains 1.
    """

    cell: str
    cost: str
    plain_cost: float
    ratio: float
    low: float
    high: float
    where: str
    verdict: str


def compute_equal_quality(draws: ScoreSamples, paid: CostSamples, plain: Sequence[str]) -> tuple[EqualQualityCost, ...]:
    """Return what each cell of ``paid`` that is not plain costs at equal quality, none where no plain cell has a cost.

    Scores and costs are drawn together, and the plain route with them. Costs are above 0.
    """
    known = [name for name in paid.names if name in plain]
    others = [name for name in paid.names if name not in plain]
    if not known or not others:
        return ()
    (in_scores, in_costs), (cells, costs) = (_find_indices(draws, paid, names) for names in (known, others))
    cost, where = _compute_uncompressed_cost(
        draws.scores[None, in_scores], paid.costs[None, in_costs], draws.scores[None, cells]
    )
    ratio = paid.costs[costs] / cost[0]
    if draws.expected_scores is None:
        low, high = np.zeros(len(others)), np.full(len(others), np.inf)
    else:
        drawn, side = _compute_uncompressed_cost(
            draws.expected_scores[:, in_scores], paid.samples[:, in_costs], draws.expected_scores[:, cells]
        )
        ratios = paid.samples[:, costs] / drawn
        # inverted_cdf takes a value that was drawn: infinite ones cannot be averaged
        low = np.quantile(np.where(side > 0, 0, ratios), 0.025, axis=0, method="inverted_cdf")
        high = np.quantile(np.where(side < 0, np.inf, ratios), 0.975, axis=0, method="inverted_cdf")
    verdicts = np.where(high < 1, CHEAPER, np.where(low > 1, DEARER, NO_GAIN))
    sides = {-1: BELOW, 0: WITHIN, 1: BEYOND}
    return tuple(
        EqualQualityCost(
            name, paid.key, float(plain_cost), float(value), float(least), float(most), sides[int(lies)], str(verdict)
        )
        for name, plain_cost, value, least, most, lies, verdict in zip(
            others, cost[0], ratio, low, high, where[0], verdicts, strict=True
        )
    )


def _find_indices(draws: ScoreSamples, paid: CostSamples, names: Sequence[str]) -> tuple[list[int], list[int]]:
    return [draws.names.index(name) for name in names], [paid.names.index(name) for name in names]


def _compute_uncompressed_cost(scores: Floats, costs: Floats, wanted: Floats) -> tuple[Floats, np.ndarray]:
    """Return what the plain route costs at each wanted score, and whether that lies below (-1), on (0) or above it (1).

    scores, costs (rows, plain): each row has a front of its own; wanted (rows, cells). Beyond an end of the front, the
    cost is that of the end.
    """
    on = compute_front_mask(costs, scores)
    order = np.lexsort((~on, costs), axis=-1)
    cost, score, kept = (np.take_along_axis(values, order, -1) for values in (np.log(costs), scores, on))
    # a cell off the front takes the place of the member before it, a segment of no length; the cheapest is a member
    last = np.maximum.accumulate(np.where(kept, np.arange(cost.shape[1]), 0), axis=1)
    cost, score = np.take_along_axis(cost, last, 1), np.take_along_axis(score, last, 1)
    found = np.broadcast_to(cost[:, :1], wanted.shape).copy()
    for left in range(cost.shape[1] - 1):
        start, rise = score[:, left, None], score[:, left + 1, None] - score[:, left, None]
        share = np.clip(np.divide(wanted - start, rise, out=np.zeros(wanted.shape), where=rise > 0), 0, 1)
        found += share * (cost[:, left + 1, None] - cost[:, left, None])
    side = (wanted > score[:, -1:]).astype(int) - (wanted < score[:, :1])
    return np.exp(found), side
