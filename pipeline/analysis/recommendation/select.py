"""Which cell to take under a budget, what its limits cost, and how the other cells compare with it."""

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
    """A cell that an answer names: its score with its 95% interval, its costs, and the limits that it keeps.

    ``low`` and ``high`` are None where no cell of the task repeats a seed.
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
    """Another cell that fits: ``difference`` is its score less that of the recommended cell.

    ``verdict`` is of the alternative: worse, better, equally good within the margin, or undecided. ``equivalence_p`` is
    corrected for all alternatives, None without repeated seeds; ``needed`` is what would decide, where it is undecided
    and seeds were repeated.
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
    """A cell that would be recommended without the limits that it ``misses``; ``shown``: it is significantly better."""

    cell: CellSummary
    violations: tuple[LimitViolation, ...]
    is_significant: bool


@dataclass(frozen=True)
class Choice:
    """The answer for a task under a budget.

    ``fitting`` cells keep every limit and are better than ``baseline``, the best score of a constant prediction (None
    where that is unknown); ``useless`` cells keep every limit and are not shown to be better. ``repeated`` is whether
    any seed was repeated: without, no difference is shown. ``alternatives`` are the other fitting cells by rank.
    ``excluded`` is the cell that a limit excludes. Where nothing fits, ``recommended`` is None, ``nearest`` is the cell
    whose largest excess is least, with what it ``misses``; ``strongest`` has the highest score of the useless cells or,
    where no cell at all is better than the baseline, of all. ``unmeasured``: cells that lack the number of a limited
    cost, with its keys; they do not fit. ``expected`` is None without a recommended cell and without repeated seeds.
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
    draws: ScoreSamples,
    differences: PairwiseTests,
    baseline: float | None = None,
    margin: float = MARGIN / 100,
) -> Choice:
    """Return the cell with the highest mean score of those that keep every limit and are better than the baseline.

    Where the budget sets a least score, it is the one with the lowest latency of those that reach it. Ties go to the
    lower latency, then the fewer bytes, then the higher score, then the name; what was not measured comes last.
    """
    unmeasured = {one.name: tuple(key for key in budget.limits if one.get_cost(key) is None) for one in candidates}
    missed = {one.name: limits.find_violations(one, budget, draws) for one in candidates if not unmeasured[one.name]}
    measured = sorted((one for one in candidates if one.name in missed), key=lambda one: _rank(one, budget, draws))
    useful = [one for one in measured if _is_useful(one, draws, baseline)]
    weak = [one for one in measured if one not in useful and not missed[one.name]]
    fitting = [one for one in useful if not missed[one.name]]
    confidence = limits.compute_confidence(candidates, budget, draws)
    base = Choice(
        draws.task,
        draws.metric,
        budget,
        len(fitting),
        useless=len(weak),
        unmeasured=tuple((name, keys) for name, keys in unmeasured.items() if keys),
        baseline=baseline,
        margin=margin,
        has_repeated_seeds=draws.expected_scores is not None,
    )
    if fitting:
        return replace(
            base,
            recommended=_build_summary(fitting[0], budget, draws, confidence),
            alternatives=_list_alternatives(fitting[0], fitting[1:], base, draws, differences, confidence),
            excluded=_find_excluded(fitting[0], useful, missed, base, draws, differences, confidence),
        )
    strongest = max(weak if useful else measured, key=lambda one: draws.get_score(one.name), default=None)
    nearest = _find_nearest(useful, missed, budget, draws)
    return replace(
        base,
        strongest=_build_summary(strongest, budget, draws, confidence) if strongest else None,
        nearest=_build_summary(nearest, budget, draws, confidence) if nearest else None,
        violations=missed[nearest.name] if nearest else (),
    )


def find_eligible(
    candidates: Sequence[Candidate], budget: Budget, draws: ScoreSamples, baseline: float | None = None
) -> list[Candidate]:
    """Return the cells among which the score decides, by name: they are useful and keep every limit of a cost."""
    costs = budget.model_copy(update={"score": None})
    measured = [one for one in candidates if all(one.get_cost(key) is not None for key in budget.limits)]
    fitting = [one for one in measured if not limits.find_violations(one, costs, draws)]
    return sorted((one for one in fitting if _is_useful(one, draws, baseline)), key=lambda one: one.name)


def _is_useful(one: Candidate, draws: ScoreSamples, baseline: float | None) -> bool:
    """Return whether a cell is better than the baseline: its 95% interval is above it.

    Where there is no interval the score has to be above it.
    """
    low, _ = draws.get_interval(one.name)
    return baseline is None or (draws.get_score(one.name) if low is None else low) > baseline


def _rank(one: Candidate, budget: Budget, draws: ScoreSamples) -> tuple[float | str, ...]:
    score, costs = -draws.get_score(one.name), one.get_ranking_costs()
    return (score, *costs, one.name) if budget.score is None else (*costs, score, one.name)


def _list_alternatives(
    best: Candidate,
    others: Sequence[Candidate],
    base: Choice,
    draws: ScoreSamples,
    differences: PairwiseTests,
    confidence: Confidence,
) -> tuple[Alternative, ...]:
    """Return how the other cells that fit compare with the recommended one, in their order."""
    margin, tests, pairs = base.margin, len(others), len(differences.pairs)
    found = []
    for other in others:
        difference = differences.get_test(other.name, best.name)
        verdict, needed = equivalence.get_verdict(difference, margin, tests), None
        if verdict == UNDECIDED and base.has_repeated_seeds:
            needed = equivalence.compute_required_samples(draws, difference, margin, pairs, tests)
        p = equivalence.compute_equivalence_p(difference, margin)
        corrected = None if p is None else min(1.0, tests * p)
        found.append(
            Alternative(_build_summary(other, base.budget, draws, confidence), difference, verdict, corrected, needed)
        )
    return tuple(found)


def _find_excluded(
    best: Candidate,
    useful: Sequence[Candidate],
    missed: Mapping[str, tuple[LimitViolation, ...]],
    base: Choice,
    draws: ScoreSamples,
    differences: PairwiseTests,
    confidence: Confidence,
) -> ExcludedCell | None:
    """Return the cell that comes nearest to the limits of those that would be recommended without them.

    Those are better by the margin at least; or, where the budget sets a least score, faster. Cells whose higher score
    is no noise come first.
    """
    budget = base.budget

    def is_shown(one: Candidate) -> bool:
        return budget.score is None and differences.get_test(one.name, best.name).verdict == BETTER

    def is_preferred(one: Candidate) -> bool:
        if budget.score is None:
            return draws.get_score(one.name) >= draws.get_score(best.name) + base.margin
        times = [math.inf if (cost := each.get_cost(LATENCY)) is None else cost for each in (one, best)]
        return times[0] < times[1]

    others = [one for one in useful if missed[one.name] and is_preferred(one)]
    if not others:
        return None
    first = min(others, key=lambda one: (not is_shown(one), max(miss.excess for miss in missed[one.name])))
    return ExcludedCell(_build_summary(first, budget, draws, confidence), missed[first.name], is_shown(first))


def _find_nearest(
    useful: Sequence[Candidate], missed: Mapping[str, tuple[LimitViolation, ...]], budget: Budget, draws: ScoreSamples
) -> Candidate | None:
    """Return the cell whose largest excess over a limit is least, None where no cell is useful."""

    def key(one: Candidate) -> tuple[float | str, ...]:
        return max(miss.excess for miss in missed[one.name]), *_rank(one, budget, draws)

    return min(useful, key=key, default=None)


def _build_summary(one: Candidate, budget: Budget, draws: ScoreSamples, confidence: Confidence) -> CellSummary:
    score, (low, high) = draws.get_score(one.name), draws.get_interval(one.name)
    kept = [
        MetLimit(key, limit, got, confidence[one.name, key])
        for key, limit in budget.limits.items()
        if (got := one.get_cost(key)) is not None and got <= limit
    ]
    if budget.score is not None and score >= budget.score:
        kept.append(MetLimit(SCORE, budget.score, score, confidence[one.name, SCORE]))
    return CellSummary(
        one.name, one.label, score, low, high, one.get_cost(LATENCY), one.get_cost(BYTES), tuple(kept), one.machine
    )


def is_cheaper(pick: CellSummary, than: CellSummary) -> bool:
    """Return whether a cell takes less time on the same machine, or fewer bytes."""
    both = [(pick.storage_bytes, than.storage_bytes)]
    if pick.machine == than.machine:
        both.append((pick.latency_p50_ms, than.latency_p50_ms))
    return any(one is not None and other is not None and one < other for one, other in both)


def find_alternative(choice: Choice) -> Alternative | None:
    """Return the alternative to name: the first that is equally good and cheaper, else the next by rank."""
    if choice.recommended is None:
        return None
    for one in choice.alternatives:
        if one.verdict == EQUAL and is_cheaper(one.cell, choice.recommended):
            return one
    return next(iter(choice.alternatives), None)
