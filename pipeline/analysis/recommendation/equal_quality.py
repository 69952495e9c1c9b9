"""Cost at equal quality: what an uncompressed model with the same score would cost.

The reference is the Pareto front of uncompressed sizes fine-tuned on all data. Between neighbours on it, the logarithm
of the cost is linear in the score.
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
    """A cell's cost relative to an uncompressed model of equal score, with its 95% interval.

    ``where`` is the position of the score: ``within`` the uncompressed models; ``beyond`` the best (its cost is used,
    so the ratio is an upper bound); ``below all`` (the cheapest cost is used, so the ratio is a lower bound). ``low``
    is 0 and ``high`` infinite if samples leave the range of the uncompressed models, or if no cell of the task repeats
    a seed. ``verdict``: cheaper, dearer, or no gain shown (the interval contains 1).
    """

    cell: str
    cost: str
    plain_cost: float
    ratio: float
    low: float
    high: float
    where: str
    verdict: str


def compute_equal_quality(
    samples: ScoreSamples, cost_samples: CostSamples, uncompressed: Sequence[str]
) -> tuple[EqualQualityCost, ...]:
    """Compute the relative cost of each cell that is not uncompressed.

    Empty if no uncompressed cell has the cost. Scores, costs and the reference front are sampled together; costs are
    positive.
    """
    known = [name for name in cost_samples.names if name in uncompressed]
    others = [name for name in cost_samples.names if name not in uncompressed]
    if not known or not others:
        return ()
    (in_scores, in_costs), (cells, costs) = (_find_indices(samples, cost_samples, names) for names in (known, others))
    cost, where = _compute_uncompressed_cost(
        samples.scores[None, in_scores], cost_samples.costs[None, in_costs], samples.scores[None, cells]
    )
    ratio = cost_samples.costs[costs] / cost[0]
    if samples.expected_scores is None:
        low, high = np.zeros(len(others)), np.full(len(others), np.inf)
    else:
        drawn, side = _compute_uncompressed_cost(
            samples.expected_scores[:, in_scores], cost_samples.samples[:, in_costs], samples.expected_scores[:, cells]
        )
        ratios = cost_samples.samples[:, costs] / drawn
        # inverted_cdf takes a value that was drawn: infinite ones cannot be averaged
        low = np.quantile(np.where(side > 0, 0, ratios), 0.025, axis=0, method="inverted_cdf")
        high = np.quantile(np.where(side < 0, np.inf, ratios), 0.975, axis=0, method="inverted_cdf")
    verdicts = np.where(high < 1, CHEAPER, np.where(low > 1, DEARER, NO_GAIN))
    sides = {-1: BELOW, 0: WITHIN, 1: BEYOND}
    return tuple(
        EqualQualityCost(
            name,
            cost_samples.key,
            float(plain_cost),
            float(value),
            float(least),
            float(most),
            sides[int(lies)],
            str(verdict),
        )
        for name, plain_cost, value, least, most, lies, verdict in zip(
            others, cost[0], ratio, low, high, where[0], verdicts, strict=True
        )
    )


def _find_indices(
    samples: ScoreSamples, cost_samples: CostSamples, names: Sequence[str]
) -> tuple[list[int], list[int]]:
    return [samples.names.index(name) for name in names], [cost_samples.names.index(name) for name in names]


def _compute_uncompressed_cost(scores: Floats, costs: Floats, wanted: Floats) -> tuple[Floats, np.ndarray]:
    """Return the reference cost at each wanted score, and the side of the front.

    The side is below (-1), within (0) or above (1). scores, costs (rows, uncompressed): one front per row; wanted
    (rows, cells). Outside the front the cost is that of its end.
    """
    on = compute_front_mask(costs, scores)
    order = np.lexsort((~on, costs), axis=-1)
    cost, score, kept = (np.take_along_axis(values, order, -1) for values in (np.log(costs), scores, on))
    # a cell off the front takes the position of the member before it, a segment of no length; the cheapest is a member
    last = np.maximum.accumulate(np.where(kept, np.arange(cost.shape[1]), 0), axis=1)
    cost, score = np.take_along_axis(cost, last, 1), np.take_along_axis(score, last, 1)
    log_costs = np.broadcast_to(cost[:, :1], wanted.shape).copy()
    for left in range(cost.shape[1] - 1):
        start, rise = score[:, left, None], score[:, left + 1, None] - score[:, left, None]
        share = np.clip(np.divide(wanted - start, rise, out=np.zeros(wanted.shape), where=rise > 0), 0, 1)
        log_costs += share * (cost[:, left + 1, None] - cost[:, left, None])
    side = (wanted > score[:, -1:]).astype(int) - (wanted < score[:, :1])
    return np.exp(log_costs), side
