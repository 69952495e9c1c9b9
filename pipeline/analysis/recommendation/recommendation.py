"""The answer for a task under a budget: the cell to take, what more would buy, and the cells that it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pipeline.analysis import comparison
from pipeline.analysis.comparison import Result, Task
from pipeline.analysis.laws import SIZES, Finding
from pipeline.analysis.recommendation import answer_sentences, marginal_gains, select
from pipeline.analysis.recommendation.limits import Candidate
from pipeline.analysis.recommendation.marginal_gains import COMPUTE, DATA, SIZE, Gain, Route, Way
from pipeline.analysis.recommendation.select import Choice, Expected, Pick
from pipeline.analysis.statistics import cross_fitting, score_intervals
from pipeline.plan.budget import MARGIN, Budget

AXES = {SIZE: SIZES[0], DATA: "train_examples", COMPUTE: "train_flops"}


@dataclass(frozen=True)
class Answer:
    """What to take for a task under a budget, in at most five sentences.

    ``support`` names the recommended cell (or the nearest), the alternative that is named and their ancestries, as
    ``<stage>/<cell>``: the runs that the answer rests on. ``warnings`` are lines about the cells that the sentences
    name.
    """

    choice: Choice
    gains: tuple[Gain, ...]
    sentences: tuple[str, ...]
    support: tuple[str, ...]
    warnings: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """Return the sentences, then the warnings."""
        return (*self.sentences, *self.warnings)


def recommend(found: Task, budget: Budget, margin: float = MARGIN) -> Answer:
    """Return the answer for a task: among its cells that fit, the best, or with a minimum score the fastest.

    ``margin`` is the difference in points (hundredths of the score) below which cells are equally good.
    """
    candidates = [
        Candidate(result.point.cell, comparison.label(result.point), result.costs, result.machine)
        for result in found.results
    ]
    baseline = found.results[0].trials[0].numbers.get("majority_score")
    choice = select.choose(candidates, budget, found.draws, found.differences, baseline, margin / 100)
    choice = replace(choice, expected=_correct_score(found, choice, candidates))
    named = _list_named(choice)
    bought = _gains(found, found.result(choice.recommended.name), budget) if choice.recommended else ()
    ways = _find_ways(found, choice.strongest.name, baseline) if choice.strongest and baseline is not None else ()
    support = dict.fromkeys(step for pick in named for step in _ancestry(found, found.result(pick.name).point.made))
    of_cells = {pick.label: found.result(pick.name) for pick in named}
    warnings = answer_sentences.format_warnings(
        {label: result.warnings for label, result in of_cells.items()},
        {label: result.machine for label, result in of_cells.items()},
    )
    sentences = answer_sentences.format_sentences(choice, bought, ways)
    return Answer(choice, bought, sentences, tuple(support), warnings)


def _correct_score(found: Task, choice: Choice, candidates: Sequence[Candidate]) -> Expected | None:
    """Return the recommended cell's score corrected for the choice, None where it has no interval."""
    pick = choice.recommended
    if pick is None or pick.low is None or pick.high is None:
        return None
    eligible = select.find_eligible(candidates, choice.budget, found.draws, choice.baseline)
    answers = {one.name: one for one in found.scores.answers}
    rule = cross_fitting.build_rule([one.rank_costs() for one in eligible], choice.budget.score)
    fitted = cross_fitting.cross_fit_score([answers[one.name] for one in eligible], rule)
    low, high = fitted.compute_interval(pick.low, pick.high, score_intervals.get_bounds(choice.metric))
    labels = {one.name: one.label for one in eligible}
    return Expected(fitted.score, low, high, {labels[name]: share for name, share in fitted.choices.items()})


def _list_named(choice: Choice) -> list[Pick]:
    """Return the cells that the sentences name."""
    picked, other = choice.recommended or choice.nearest, select.find_alternative(choice)
    named = [pick for pick in (picked, other.pick if other else None) if pick]
    if not named and choice.strongest:
        named = [choice.strongest]
    return [*named, choice.excluded.pick] if choice.excluded else named


def _find_ways(found: Task, cell: str, baseline: float) -> tuple[Way, ...]:
    """Return how much more data, or how much larger a model, would beat the baseline by the laws of the error."""
    start = _start(found, found.result(cell))
    findings = [finding for finding in found.findings if finding.question.target == "error"]
    ways = [marginal_gains.find_way(kind, _route(findings, AXES[kind], start), baseline) for kind in (DATA, SIZE)]
    return tuple(way for way in ways if way)


def _ancestry(found: Task, made: str | None) -> Iterator[str]:
    """Yield a cell and what it was made of or learned from, back to the start."""
    sources = {result.point.made: result.point.source for result in found.results}
    while made is not None:
        yield made
        made = sources.get(made)


def _gains(found: Task, picked: Result, budget: Budget) -> tuple[Gain, ...]:
    """Return what one more unit of each limit would buy the recommended cell, by the laws of the error."""
    start = _start(found, picked)
    findings = [finding for finding in found.findings if finding.question.target == "error"]
    routes = {kind: _route(findings, axis, start) for kind, axis in AXES.items()}
    costs = {key: picked.cost(key) for key in budget.limits}
    sizes = {key: _sizes(found, picked, key) for key in budget.limits}
    return marginal_gains.gains(routes, costs, sizes)


def _start(found: Task, picked: Result) -> Result:
    """Return the plain cell of the model and the data that a cell is made from, itself where there is none."""
    point = picked.point
    alike = (result for result in found.results if result.plain and result.point.ratio == point.ratio)
    return next((result for result in alike if result.point.model == point.model), picked)


def _route(findings: Sequence[Finding], axis: str, start: Result) -> Route:
    """Return the law along an axis: of size and data together where it holds one, else of the axis alone."""
    why = f"no law of the error against {axis} was asked for"
    for finding in sorted(findings, key=lambda finding: -len(finding.question.axes)):
        axes = finding.question.axes
        if axis not in axes:
            continue
        at = tuple(start.number(name) for name in axes)
        why = _why_not(finding, axes.index(axis), None in at)
        if not why:
            return Route(finding.law, tuple(float(place or 0) for place in at), axes.index(axis))
    return Route(None, why_not=why)


def _why_not(finding: Finding, axis: int, unplaced: bool) -> str:
    """Return why a law has no slope along its axis, or an empty text."""
    if finding.law is None:
        return next(iter(finding.refused.values()))  # of the form that asks for least
    if finding.flat:
        return "the places of its law differ by no more than their seeds do"
    exponent = {one.name: one for one in finding.law.parameters}[finding.law.shape.exponents[axis]]
    if not exponent.determined:
        return f"the exponent of its law is undetermined ({exponent.low:.2g} to {exponent.high:.2g})"
    return "the cell's place on the law was not measured" if unplaced else ""


def _sizes(found: Task, picked: Result, key: str) -> list[tuple[float, float]]:
    """Return the size and the cost of each plain model with the data of a cell."""
    alike = [result for result in found.results if result.plain and result.point.ratio == picked.point.ratio]
    pairs = [(result.number(AXES[SIZE]), result.cost(key)) for result in alike]
    return [(size, cost) for size, cost in pairs if size and cost]
