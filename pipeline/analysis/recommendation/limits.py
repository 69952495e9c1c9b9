"""The limits of a budget: the costs of a cell, which limits it misses, and how surely it keeps the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.analysis.statistics import posterior_draws
from pipeline.analysis.statistics.bootstrap import RESAMPLES, ScoreSamples
from pipeline.plan.budget import Budget

LATENCY, BYTES, SCORE = "latency_p50_ms", "storage_bytes", "score"

Confidence = Mapping[tuple[str, str], float | None]  # that a cell keeps a limit, by the names of both


@dataclass(frozen=True)
class Candidate:
    """A cell and its costs under the keys of a budget, one number a seed; a cost that is missing is not measured.

    ``name`` is its name in the draws; ``label`` is what a reader calls it; ``machine`` measured its times.
    """

    name: str
    label: str
    costs: Mapping[str, tuple[float, ...]]
    machine: str = ""

    def get_cost(self, key: str) -> float | None:
        """Return the mean over seeds of a cost, None where it was not measured."""
        values = self.costs.get(key)
        return math.fsum(values) / len(values) if values else None

    def get_ranking_costs(self) -> tuple[float, float]:
        """Return latency and bytes, infinite where not measured."""
        latency, size = (math.inf if (cost := self.get_cost(key)) is None else cost for key in (LATENCY, BYTES))
        return latency, size


@dataclass(frozen=True)
class LimitViolation:
    """A limit that a cell does not keep: what it has instead, and the excess as a share of the limit."""

    key: str
    limit: float
    got: float
    excess: float


@dataclass(frozen=True)
class MetLimit:
    """A limit that a cell keeps, and the probability that the mean over many seeds does.

    It is None where no cell repeats a seed.
    """

    key: str
    limit: float
    got: float
    probability: float | None


def find_violations(one: Candidate, budget: Budget, draws: ScoreSamples) -> tuple[LimitViolation, ...]:
    """Return the limits that a cell does not keep, all its limited costs being measured."""
    got = {key: one.get_cost(key) or 0.0 for key in budget.limits}
    found = [LimitViolation(key, limit, got[key], got[key] / limit - 1) for key, limit in budget.limits.items()]
    if budget.score is not None:
        score = draws.get_score(one.name)
        found.append(LimitViolation(SCORE, budget.score, score, 1 - score / budget.score if budget.score else -score))
    return tuple(miss for miss in found if miss.excess > 0)


def compute_confidence(candidates: Sequence[Candidate], budget: Budget, draws: ScoreSamples) -> Confidence:
    """Return the share of draws in which each cell keeps each limit whose cost was measured."""
    found: dict[tuple[str, str], float | None] = {}
    for key, limit in budget.limits.items():
        measured = [one for one in candidates if one.costs.get(key)]
        shares: list[float | None] = [None] * len(measured)
        if any(len(one.costs[key]) > 1 for one in measured):
            drawn = posterior_draws.sample_costs([one.costs[key] for one in measured], RESAMPLES)
            shares = (drawn <= limit).mean(0).tolist()
        found |= {(one.name, key): share for one, share in zip(measured, shares, strict=True)}
    if budget.score is not None:
        reached = (
            [None] * len(draws.names)
            if draws.expected_scores is None
            else (draws.expected_scores >= budget.score).mean(0).tolist()
        )
        found |= {(name, SCORE): share for name, share in zip(draws.names, reached, strict=True)}
    return found
