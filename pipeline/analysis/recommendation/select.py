"""Select a cell under a budget and compare the other cells with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.analysis.recommendation import limits
from pipeline.analysis.recommendation.limits import (
    BYTES,
    LATENCY,
    SCORE,
    Candidate,
    Confidence,
    LimitViolation,
    MetLimit,
)
from pipeline.analysis.statistics import equivalence
from pipeline.analysis.statistics.bootstrap import ScoreSamples
from pipeline.analysis.statistics.equivalence import BETTER, EQUAL, UNDECIDED, RequiredSamples
from pipeline.analysis.statistics.pairwise_tests import PairwiseTest, PairwiseTests
from pipeline.plan.budget import MARGIN, Budget


@dataclass(frozen=True)
class CellSummary:
    """A cell named by a recommendation: score with 95% interval, costs and met limits.

    ``low`` and ``high`` are None if no cell of the task repeats a seed.
    """

    name: str
    label: str
    score: float
    low: float | None
    high: float | None
    latency_p50_ms: float | None
    storage_bytes: float | None
    met_limits: tuple[MetLimit, ...]
    machine: str = ""


@dataclass(frozen=True)
class Alternative:
    """Another eligible cell; ``test`` compares its score with the recommended cell.

    ``verdict`` is about the alternative: worse, better, equally good within the margin, or undecided. ``equivalence_p``
    is corrected for all alternatives, None without repeated seeds. ``required`` is the study size that would decide an
    undecided comparison.
    """

    cell: CellSummary
    test: PairwiseTest
    verdict: str
    equivalence_p: float | None
    required: RequiredSamples | None = None


@dataclass(frozen=True)
class CorrectedScore:
    """The score of the recommended cell on new data, corrected for the choice, with its 95% interval.

    ``choices`` are the shares of the repeated choices that each cell won, by label, the largest first.
    """

    score: float
    low: float
    high: float
    choices: Mapping[str, float]


@dataclass(frozen=True)
class ExcludedCell:
    """A cell that would be recommended without the limits in ``violations``.

    ``is_significant``: its higher score is significant.
    """

    cell: CellSummary
    violations: tuple[LimitViolation, ...]
    is_significant: bool


@dataclass(frozen=True)
class Choice:
    """Selection for a task under a budget.

    ``fitting`` cells meet every limit and are better than ``baseline``, the best constant prediction (None if unknown);
    ``useless`` cells meet every limit without being clearly better. ``alternatives`` are the other fitting cells by
    rank, ``excluded`` the best cell excluded by a limit. Without a fitting cell, ``recommended`` is None, ``nearest``
    is the cell with the smallest largest excess and its ``violations``; ``strongest`` has the highest score of the
    useless cells, or of all if none beats the baseline. ``unmeasured`` are cells without a limited cost, with its keys.
    ``corrected_score`` is None without a recommendation or repeated seeds.
    """

    task: str
    metric: str
    budget: Budget
    fitting: int
    recommended: CellSummary | None = None
    alternatives: tuple[Alternative, ...] = ()
    excluded: ExcludedCell | None = None
    nearest: CellSummary | None = None
    violations: tuple[LimitViolation, ...] = ()
    strongest: CellSummary | None = None
    useless: int = 0
    unmeasured: tuple[tuple[str, tuple[str, ...]], ...] = ()
    baseline: float | None = None
    margin: float = MARGIN / 100
    has_repeated_seeds: bool = True
    corrected_score: CorrectedScore | None = None


def select_cell(
    candidates: Sequence[Candidate],
    budget: Budget,
    samples: ScoreSamples,
    pair_tests: PairwiseTests,
    baseline: float | None = None,
    margin: float = MARGIN / 100,
) -> Choice:
    """Select the highest mean score among cells that meet every limit and beat the baseline.

    With a minimum score, select the lowest latency among cells that reach it. Ties go to lower latency, fewer bytes,
    higher score, then name; unmeasured costs come last.
    """
    unmeasured = {one.name: tuple(key for key in budget.limits if one.get_cost(key) is None) for one in candidates}
    violations = {
        one.name: limits.find_violations(one, budget, samples) for one in candidates if not unmeasured[one.name]
    }
    measured = sorted(
        (one for one in candidates if one.name in violations), key=lambda one: _rank(one, budget, samples)
    )
    useful = [one for one in measured if _is_useful(one, samples, baseline)]
    weak = [one for one in measured if one not in useful and not violations[one.name]]
    fitting = [one for one in useful if not violations[one.name]]
    confidence = limits.compute_confidence(candidates, budget, samples)
    base = Choice(
        samples.task,
        samples.metric,
        budget,
        len(fitting),
        useless=len(weak),
        unmeasured=tuple((name, keys) for name, keys in unmeasured.items() if keys),
        baseline=baseline,
        margin=margin,
        has_repeated_seeds=samples.expected_scores is not None,
    )
    if fitting:
        return replace(
            base,
            recommended=_build_summary(fitting[0], budget, samples, confidence),
            alternatives=_list_alternatives(fitting[0], fitting[1:], base, samples, pair_tests, confidence),
            excluded=_find_excluded(fitting[0], useful, violations, base, samples, pair_tests, confidence),
        )
    strongest = max(weak if useful else measured, key=lambda one: samples.get_score(one.name), default=None)
    nearest = _find_nearest(useful, violations, budget, samples)
    return replace(
        base,
        strongest=_build_summary(strongest, budget, samples, confidence) if strongest else None,
        nearest=_build_summary(nearest, budget, samples, confidence) if nearest else None,
        violations=violations[nearest.name] if nearest else (),
    )


def find_eligible(
    candidates: Sequence[Candidate], budget: Budget, samples: ScoreSamples, baseline: float | None = None
) -> list[Candidate]:
    """Return the cells that beat the baseline and meet all cost limits, sorted by name."""
    costs = budget.model_copy(update={"score": None})
    measured = [one for one in candidates if all(one.get_cost(key) is not None for key in budget.limits)]
    fitting = [one for one in measured if not limits.find_violations(one, costs, samples)]
    return sorted((one for one in fitting if _is_useful(one, samples, baseline)), key=lambda one: one.name)


def _is_useful(one: Candidate, samples: ScoreSamples, baseline: float | None) -> bool:
    """Return whether a cell's interval (or its score, without one) is above the baseline."""
    low, _ = samples.get_interval(one.name)
    return baseline is None or (samples.get_score(one.name) if low is None else low) > baseline


def _rank(one: Candidate, budget: Budget, samples: ScoreSamples) -> tuple[float | str, ...]:
    score, costs = -samples.get_score(one.name), one.get_ranking_costs()
    return (score, *costs, one.name) if budget.score is None else (*costs, score, one.name)


def _list_alternatives(
    best: Candidate,
    others: Sequence[Candidate],
    base: Choice,
    samples: ScoreSamples,
    pair_tests: PairwiseTests,
    confidence: Confidence,
) -> tuple[Alternative, ...]:
    """Compare the other eligible cells with the recommended one, in their order."""
    margin, tests, pairs = base.margin, len(others), len(pair_tests.pairs)
    alternatives = []
    for other in others:
        difference = pair_tests.get_test(other.name, best.name)
        verdict, needed = equivalence.get_verdict(difference, margin, tests), None
        if verdict == UNDECIDED and base.has_repeated_seeds:
            needed = equivalence.compute_required_samples(samples, difference, margin, pairs, tests)
        p = equivalence.compute_equivalence_p(difference, margin)
        corrected = None if p is None else min(1.0, tests * p)
        alternatives.append(
            Alternative(_build_summary(other, base.budget, samples, confidence), difference, verdict, corrected, needed)
        )
    return tuple(alternatives)


def _find_excluded(
    best: Candidate,
    useful: Sequence[Candidate],
    violations: Mapping[str, tuple[LimitViolation, ...]],
    base: Choice,
    samples: ScoreSamples,
    pair_tests: PairwiseTests,
    confidence: Confidence,
) -> ExcludedCell | None:
    """Return the cell closest to its limits among those preferred without them.

    Preferred means better by the margin, or faster if the budget sets a minimum score. Significantly better cells come
    first.
    """
    budget = base.budget

    def is_shown(one: Candidate) -> bool:
        return budget.score is None and pair_tests.get_test(one.name, best.name).verdict == BETTER

    def is_preferred(one: Candidate) -> bool:
        if budget.score is None:
            return samples.get_score(one.name) >= samples.get_score(best.name) + base.margin
        times = [math.inf if (cost := each.get_cost(LATENCY)) is None else cost for each in (one, best)]
        return times[0] < times[1]

    others = [one for one in useful if violations[one.name] and is_preferred(one)]
    if not others:
        return None
    first = min(
        others, key=lambda one: (not is_shown(one), max(violation.excess for violation in violations[one.name]))
    )
    return ExcludedCell(_build_summary(first, budget, samples, confidence), violations[first.name], is_shown(first))


def _find_nearest(
    useful: Sequence[Candidate],
    violations: Mapping[str, tuple[LimitViolation, ...]],
    budget: Budget,
    samples: ScoreSamples,
) -> Candidate | None:
    """Return the useful cell with the smallest largest excess over a limit, None if there is none."""

    def key(one: Candidate) -> tuple[float | str, ...]:
        return max(violation.excess for violation in violations[one.name]), *_rank(one, budget, samples)

    return min(useful, key=key, default=None)


def _build_summary(one: Candidate, budget: Budget, samples: ScoreSamples, confidence: Confidence) -> CellSummary:
    score, (low, high) = samples.get_score(one.name), samples.get_interval(one.name)
    met_limits = [
        MetLimit(key, limit, got, confidence[one.name, key])
        for key, limit in budget.limits.items()
        if (got := one.get_cost(key)) is not None and got <= limit
    ]
    if budget.score is not None and score >= budget.score:
        met_limits.append(MetLimit(SCORE, budget.score, score, confidence[one.name, SCORE]))
    return CellSummary(
        one.name,
        one.label,
        score,
        low,
        high,
        one.get_cost(LATENCY),
        one.get_cost(BYTES),
        tuple(met_limits),
        one.machine,
    )


def is_cheaper(pick: CellSummary, than: CellSummary) -> bool:
    """Return whether a cell is faster on the same machine, or needs fewer bytes."""
    both = [(pick.storage_bytes, than.storage_bytes)]
    if pick.machine == than.machine:
        both.append((pick.latency_p50_ms, than.latency_p50_ms))
    return any(one is not None and other is not None and one < other for one, other in both)


def find_alternative(choice: Choice) -> Alternative | None:
    """Return the first alternative that is equally good and cheaper, else the next by rank."""
    if choice.recommended is None:
        return None
    for one in choice.alternatives:
        if one.verdict == EQUAL and is_cheaper(one.cell, choice.recommended):
            return one
    return next(iter(choice.alternatives), None)
