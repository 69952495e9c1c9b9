"""Recommendation for a task under a budget: the cell, its marginal gains and supporting cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.analysis import comparison
from pipeline.analysis.comparison import CellResult, TaskComparison
from pipeline.analysis.laws import SIZES, LawSelection
from pipeline.analysis.recommendation import answer_sentences, marginal_gains, select
from pipeline.analysis.recommendation.limits import Candidate
from pipeline.analysis.recommendation.marginal_gains import COMPUTE, DATA, SIZE, Improvement, LawPosition, MarginalGain
from pipeline.analysis.recommendation.select import CellSummary, Choice, CorrectedScore
from pipeline.analysis.statistics import cross_fitting, score_intervals
from pipeline.plan.budget import MARGIN, Budget

AXES = {SIZE: SIZES[0], DATA: "train_examples", COMPUTE: "train_flops"}


@dataclass(frozen=True)
class Recommendation:
    """Recommended cell of a task under a budget, in at most five sentences.

    ``support`` lists the recommended (or nearest) cell, the named alternative and their ancestors as
    ``<stage>/<cell>``. ``warnings`` concern the named cells.
    """

    choice: Choice
    gains: tuple[MarginalGain, ...]
    sentences: tuple[str, ...]
    support: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """Return the sentences, then the warnings."""
        return (*self.sentences, *self.warnings)


def recommend_cell(found: TaskComparison, budget: Budget, margin: float = MARGIN) -> Recommendation:
    """Recommend the best cell that meets the limits, or with a minimum score the fastest.

    ``margin`` is in points (hundredths of the score); cells within it are equally good.
    """
    candidates = [
        Candidate(result.point.cell, comparison.format_label(result.point), result.costs, result.machine)
        for result in found.results
    ]
    baseline = found.results[0].trials[0].numbers.get("majority_score")
    choice = select.select_cell(candidates, budget, found.samples, found.pairwise_tests, baseline, margin / 100)
    choice = replace(choice, corrected_score=_correct_score(found, choice, candidates))
    named = _list_named(choice)
    bought = _compute_gains(found, found.get_result(choice.recommended.name), budget) if choice.recommended else ()
    ways = (
        _find_improvements(found, choice.strongest.name, baseline) if choice.strongest and baseline is not None else ()
    )
    support = dict.fromkeys(
        step for pick in named for step in _list_ancestors(found, found.get_result(pick.name).point.producer)
    )
    of_cells = {pick.label: found.get_result(pick.name) for pick in named}
    warnings = answer_sentences.format_warnings(
        {label: result.warnings for label, result in of_cells.items()},
        {label: result.machine for label, result in of_cells.items()},
    )
    sentences = answer_sentences.format_sentences(choice, bought, ways)
    return Recommendation(choice, bought, sentences, tuple(support), warnings)


def _correct_score(found: TaskComparison, choice: Choice, candidates: Sequence[Candidate]) -> CorrectedScore | None:
    """Return the recommended cell's score corrected for the choice, None where it has no interval."""
    pick = choice.recommended
    if pick is None or pick.low is None or pick.high is None:
        return None
    eligible = select.find_eligible(candidates, choice.budget, found.samples, choice.baseline)
    answers = {one.name: one for one in found.scores.predictions}
    rule = cross_fitting.build_rule([one.get_ranking_costs() for one in eligible], choice.budget.score)
    fitted = cross_fitting.cross_fit_score([answers[one.name] for one in eligible], rule)
    low, high = fitted.compute_interval(pick.low, pick.high, score_intervals.get_bounds(choice.metric))
    labels = {one.name: one.label for one in eligible}
    return CorrectedScore(fitted.score, low, high, {labels[name]: share for name, share in fitted.choices.items()})


def _list_named(choice: Choice) -> list[CellSummary]:
    """Return the cells that the sentences name."""
    picked, other = choice.recommended or choice.nearest, select.find_alternative(choice)
    named = [pick for pick in (picked, other.cell if other else None) if pick]
    if not named and choice.strongest:
        named = [choice.strongest]
    return [*named, choice.excluded.cell] if choice.excluded else named


def _find_improvements(found: TaskComparison, cell: str, baseline: float) -> tuple[Improvement, ...]:
    """Return how much more data or a larger model would beat the baseline, by the error laws."""
    start = _find_start(found, found.get_result(cell))
    findings = _list_error_laws(found, start)
    ways = [
        marginal_gains.find_improvement(kind, _find_law_position(findings, AXES[kind], start), baseline)
        for kind in (DATA, SIZE)
    ]
    return tuple(way for way in ways if way)


def _list_ancestors(found: TaskComparison, made: str | None) -> Iterator[str]:
    """Yield a cell and its sources and teachers, back to the first."""
    sources = {result.point.producer: result.point.source for result in found.results}
    while made is not None:
        yield made
        made = sources.get(made)


def _compute_gains(found: TaskComparison, picked: CellResult, budget: Budget) -> tuple[MarginalGain, ...]:
    """Return the gain of one more unit of each limit, by the error laws."""
    start = _find_start(found, picked)
    findings = _list_error_laws(found, start)
    routes = {kind: _find_law_position(findings, axis, start) for kind, axis in AXES.items()}
    costs = {key: picked.get_cost(key) for key in budget.limits}
    sizes = {key: _collect_sizes(found, picked, key) for key in budget.limits}
    return marginal_gains.compute_gains(routes, costs, sizes)


def _find_start(found: TaskComparison, picked: CellResult) -> CellResult:
    """Return the uncompressed cell with the same model and data; the cell itself if there is none."""
    return next((result for result in _list_alike(found, picked) if result.point.model == picked.point.model), picked)


def _list_alike(found: TaskComparison, picked: CellResult) -> list[CellResult]:
    """Return the uncompressed cells with the data of a cell, and with its recipe if the grid has it."""
    alike = [result for result in found.results if result.is_uncompressed and result.point.ratio == picked.point.ratio]
    return [result for result in alike if result.point.recipe == picked.point.recipe] or alike


def _list_error_laws(found: TaskComparison, start: CellResult) -> list[LawSelection]:
    """Return the laws of the error for the recipe of a cell."""
    errors = [finding for finding in found.law_selections if finding.dataset.target == "error"]
    return [finding for finding in errors if finding.dataset.recipe in ("", start.point.recipe)]


def _find_law_position(findings: Sequence[LawSelection], axis: str, start: CellResult) -> LawPosition:
    """Return the position on a law along an axis; joint laws of size and data come first."""
    why = f"no law of the error against {axis} was fitted"
    for finding in sorted(findings, key=lambda finding: -len(finding.dataset.axes)):
        axes = finding.dataset.axes
        if axis not in axes:
            continue
        at = tuple(start.get_mean(name) for name in axes)
        why = _find_law_problem(finding, axes.index(axis), None in at)
        if not why:
            return LawPosition(finding.law, tuple(float(place or 0) for place in at), axes.index(axis))
    return LawPosition(None, why_not=why)


def _find_law_problem(finding: LawSelection, axis: int, unplaced: bool) -> str:
    """Return why a law has no slope along its axis, or an empty text."""
    if finding.law is None:
        return next(iter(finding.refusals.values()))  # of the form that asks for least
    if finding.is_flat:
        return "the places of its law differ by no more than their seeds do"
    exponent = {one.name: one for one in finding.law.parameters}[finding.law.shape.exponents[axis]]
    if not exponent.determined:
        return f"the exponent of its law is undetermined ({exponent.low:.2g} to {exponent.high:.2g})"
    return "the cell's place on the law was not measured" if unplaced else ""


def _collect_sizes(found: TaskComparison, picked: CellResult, key: str) -> list[tuple[float, float]]:
    """Return size and cost of each uncompressed model with the same data."""
    pairs = [(result.get_mean(AXES[SIZE]), result.get_cost(key)) for result in _list_alike(found, picked)]
    return [(size, cost) for size, cost in pairs if size and cost]
