"""Limits of a budget: which of them a cell exceeds, and with what confidence it meets the others."""

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
    """A cell with its costs by budget key, one number per seed; unmeasured costs are missing.

    ``name`` is its name in the samples, ``label`` its display name; ``machine`` measured its times.
    """

    name: str
    label: str
    costs: Mapping[str, tuple[float, ...]]
    machine: str = ""

    def get_cost(self, key: str) -> float | None:
        """Return the mean cost over seeds, None if it was not measured."""
        values = self.costs.get(key)
        return math.fsum(values) / len(values) if values else None

    def get_ranking_costs(self) -> tuple[float, float]:
        """Return latency and bytes, infinite if not measured."""
        latency, size = (math.inf if (cost := self.get_cost(key)) is None else cost for key in (LATENCY, BYTES))
        return latency, size


@dataclass(frozen=True)
class LimitViolation:
    """A limit that a cell exceeds: the measured value, and the excess as a share of the limit."""

    key: str
    limit: float
    got: float
    excess: float


@dataclass(frozen=True)
class MetLimit:
    """A limit that a cell meets, with the probability that its true mean does.

    The probability is None if no cell repeats a seed.
    """

    key: str
    limit: float
    got: float
    probability: float | None


def find_violations(one: Candidate, budget: Budget, samples: ScoreSamples) -> tuple[LimitViolation, ...]:
    """Return the limits that a cell exceeds; all its limited costs must be measured."""
    got = {key: one.get_cost(key) or 0.0 for key in budget.limits}
    violations = [LimitViolation(key, limit, got[key], got[key] / limit - 1) for key, limit in budget.limits.items()]
    if budget.score is not None:
        score = samples.get_score(one.name)
        violations.append(
            LimitViolation(SCORE, budget.score, score, 1 - score / budget.score if budget.score else -score)
        )
    return tuple(violation for violation in violations if violation.excess > 0)


def compute_confidence(candidates: Sequence[Candidate], budget: Budget, samples: ScoreSamples) -> Confidence:
    """Return the share of samples in which each cell meets each limit."""
    shares_by_limit: dict[tuple[str, str], float | None] = {}
    for key, limit in budget.limits.items():
        measured = [one for one in candidates if one.costs.get(key)]
        shares: list[float | None] = [None] * len(measured)
        if any(len(one.costs[key]) > 1 for one in measured):
            drawn = posterior_draws.sample_costs([one.costs[key] for one in measured], RESAMPLES)
            shares = (drawn <= limit).mean(0).tolist()
        shares_by_limit |= {(one.name, key): share for one, share in zip(measured, shares, strict=True)}
    if budget.score is not None:
        reached = (
            [None] * len(samples.names)
            if samples.expected_scores is None
            else (samples.expected_scores >= budget.score).mean(0).tolist()
        )
        shares_by_limit |= {(name, SCORE): share for name, share in zip(samples.names, reached, strict=True)}
    return shares_by_limit
