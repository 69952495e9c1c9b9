"""Which cell to take under a budget, which stands next, and how sure that is; or what comes nearest where none fits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.scaling import posterior_draws
from pipeline.scaling.budget import Budget
from pipeline.scaling.differences import Differences
from pipeline.scaling.draws import RESAMPLES, Draws

LATENCY, BYTES, SCORE = "latency_p50_ms", "storage_bytes", "score"

Confidence = Mapping[tuple[str, str], float | None]  # that a cell keeps a limit, by the names of both


@dataclass(frozen=True)
class Candidate:
    """A cell and its costs under the keys of a budget, one number a seed; a cost that is missing is not measured.

    ``name`` is its name in the draws; ``label`` is what a reader calls it.
    """

    name: str
    label: str
    costs: Mapping[str, tuple[float, ...]]

    def cost(self, key: str) -> float | None:
        """Return the mean over seeds of a cost, None where it was not measured."""
        values = self.costs.get(key)
        return math.fsum(values) / len(values) if values else None


@dataclass(frozen=True)
class Miss:
    """A limit that a cell does not keep: what it has instead, and by what share of the limit it lies off."""

    key: str
    limit: float
    got: float
    excess: float


@dataclass(frozen=True)
class Kept:
    """A limit that a cell keeps, and the probability that the mean over many seeds does.

    It is None where no cell repeats a seed.
    """

    key: str
    limit: float
    got: float
    probability: float | None


@dataclass(frozen=True)
class Pick:
    """A cell that fits: its score with 95% interval, its latency and bytes, and the limits that it keeps.

    ``low`` and ``high`` are None where no cell of the task repeats a seed.
    """

    name: str
    label: str
    score: float
    low: float | None
    high: float | None
    latency_p50_ms: float | None
    storage_bytes: float | None
    kept: tuple[Kept, ...]


@dataclass(frozen=True)
class Choice:
    """The answer for a task under a budget.

    ``at_least_runner_up`` and ``best_of_all`` are shares of the draws in which the recommended cell scores at least
    as much as the runner-up, and as every cell that fits. ``told_apart`` is whether the two differ significantly, with
    ``corrected_p``, both for all pairs of the task. Shares and p are None where no cell repeats a seed. ``cheaper``:
    cells that fit, are not significantly different from the recommended one and cost less in latency or bytes, the
    fastest first. Where
    nothing fits, ``recommended`` is None, and ``nearest`` is the cell whose largest excess is least, with what it
    ``misses``. ``unmeasured``: cells that lack the number of a limited cost, with its keys; they do not fit.
    """

    task: str
    metric: str
    budget: Budget
    fitting: int
    recommended: Pick | None = None
    runner_up: Pick | None = None
    at_least_runner_up: float | None = None
    best_of_all: float | None = None
    told_apart: bool | None = None
    corrected_p: float | None = None
    cheaper: tuple[Pick, ...] = ()
    nearest: Pick | None = None
    misses: tuple[Miss, ...] = ()
    unmeasured: tuple[tuple[str, tuple[str, ...]], ...] = ()


def choose(candidates: Sequence[Candidate], budget: Budget, draws: Draws, differences: Differences) -> Choice:
    """Return the cell with the highest mean score of those that keep every limit, means over seeds counting.

    Where the budget asks for a score, it is the one with the lowest latency of those that reach it. Ties go to the
    lower latency, then the fewer bytes, then the higher score, then the name; what was not measured comes last. The
    runner-up is next by the same rule.
    """
    unmeasured = {one.name: tuple(key for key in budget.limits if one.cost(key) is None) for one in candidates}
    measured = [one for one in candidates if not unmeasured[one.name]]
    missed = {one.name: _misses(one, budget, draws) for one in measured}
    ranked = sorted((one for one in measured if not missed[one.name]), key=lambda one: _rank(one, budget, draws))
    lacking = tuple((name, keys) for name, keys in unmeasured.items() if keys)
    confidence = _compute_confidence(candidates, budget, draws)
    if not ranked:
        return _nearest(measured, missed, budget, draws, lacking, confidence)
    best, picks = ranked[0].name, [_pick(one, budget, draws, confidence) for one in ranked]
    second = picks[1] if len(picks) > 1 else None
    at_least_runner_up, best_of_all = _compute_shares([one.name for one in ranked], draws)
    comparable = picks[1:] if draws.draws is not None else []
    cheaper = [pick for pick in comparable if not differences.told_apart(best, pick.name) and _less(pick, picks[0])]
    return Choice(
        draws.task,
        draws.metric,
        budget,
        len(ranked),
        picks[0],
        second,
        at_least_runner_up,
        best_of_all,
        differences.told_apart(best, second.name) if second else None,
        differences.between(best, second.name).corrected_p if second else None,
        tuple(sorted(cheaper, key=_costs)),
        unmeasured=lacking,
    )


def _compute_shares(ranked: Sequence[str], draws: Draws) -> tuple[float | None, float | None]:
    """Return how often the first cell scores at least as much as the second, and as all of them."""
    if draws.draws is None:
        return None, None
    drawn = draws.draws[:, [draws.names.index(name) for name in ranked]]
    best = float((drawn[:, 0] >= drawn.max(1)).mean())
    return (float((drawn[:, 0] >= drawn[:, 1]).mean()) if len(ranked) > 1 else None), best


def _misses(one: Candidate, budget: Budget, draws: Draws) -> tuple[Miss, ...]:
    """Return the limits that a cell does not keep, all its limited costs being measured."""
    got = {key: one.cost(key) or 0.0 for key in budget.limits}
    found = [Miss(key, limit, got[key], got[key] / limit - 1) for key, limit in budget.limits.items()]
    if budget.score is not None:
        score = draws.score(one.name)
        found.append(Miss(SCORE, budget.score, score, 1 - score / budget.score if budget.score else -score))
    return tuple(miss for miss in found if miss.excess > 0)


def _rank(one: Candidate, budget: Budget, draws: Draws) -> tuple[float | str, ...]:
    score = -draws.score(one.name)
    costs = tuple(math.inf if (cost := one.cost(key)) is None else cost for key in (LATENCY, BYTES))
    return (score, *costs, one.name) if budget.score is None else (*costs, score, one.name)


def _nearest(
    measured: Sequence[Candidate],
    missed: Mapping[str, tuple[Miss, ...]],
    budget: Budget,
    draws: Draws,
    lacking: tuple[tuple[str, tuple[str, ...]], ...],
    confidence: Confidence,
) -> Choice:
    if not measured:
        return Choice(draws.task, draws.metric, budget, 0, unmeasured=lacking)

    def key(one: Candidate) -> tuple[float | str, ...]:
        return max(miss.excess for miss in missed[one.name]), *_rank(one, budget, draws)

    one = min(measured, key=key)
    pick = _pick(one, budget, draws, confidence)
    return Choice(draws.task, draws.metric, budget, 0, nearest=pick, misses=missed[one.name], unmeasured=lacking)


def _pick(one: Candidate, budget: Budget, draws: Draws, confidence: Confidence) -> Pick:
    score = draws.score(one.name)
    kept = [
        Kept(key, limit, got, confidence[one.name, key])
        for key, limit in budget.limits.items()
        if (got := one.cost(key)) is not None and got <= limit
    ]
    if budget.score is not None and score >= budget.score:
        kept.append(Kept(SCORE, budget.score, score, confidence[one.name, SCORE]))
    low, high = draws.interval(one.name)
    return Pick(one.name, one.label, score, low, high, one.cost(LATENCY), one.cost(BYTES), tuple(kept))


def _compute_confidence(candidates: Sequence[Candidate], budget: Budget, draws: Draws) -> Confidence:
    """Return the share of draws in which each cell keeps each limit whose cost was measured."""
    found: dict[tuple[str, str], float | None] = {}
    for key, limit in budget.limits.items():
        measured = [one for one in candidates if one.costs.get(key)]
        shares: list[float | None] = [None] * len(measured)
        if any(len(one.costs[key]) > 1 for one in measured):
            drawn = posterior_draws.draw_costs([one.costs[key] for one in measured], RESAMPLES)
            shares = (drawn <= limit).mean(0).tolist()
        found |= {(one.name, key): share for one, share in zip(measured, shares, strict=True)}
    if budget.score is not None:
        shares = [None] * len(draws.names)
        if draws.draws is not None:
            shares = (draws.draws >= budget.score).mean(0).tolist()
        found |= {(name, SCORE): share for name, share in zip(draws.names, shares, strict=True)}
    return found


def _less(pick: Pick, than: Pick) -> bool:
    """Say whether a cell costs less in latency or in bytes."""
    both = ((pick.latency_p50_ms, than.latency_p50_ms), (pick.storage_bytes, than.storage_bytes))
    return any(one is not None and other is not None and one < other for one, other in both)


def _costs(pick: Pick) -> tuple[float, float, str]:
    costs = [math.inf if cost is None else cost for cost in (pick.latency_p50_ms, pick.storage_bytes)]
    return costs[0], costs[1], pick.name
