"""The answer for a task under a budget: the cell to take, what more would buy, and the cells that it rests on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.scaling import answer, choosing, comparison, gains
from pipeline.scaling.budget import Budget
from pipeline.scaling.choosing import Candidate, Choice
from pipeline.scaling.comparison import Result, Task
from pipeline.scaling.gains import COMPUTE, DATA, SIZE, Gain, Route
from pipeline.scaling.laws import SIZES, Finding

AXES = {SIZE: SIZES[0], DATA: "train_examples", COMPUTE: "train_operations"}


@dataclass(frozen=True)
class Answer:
    """What to take for a task under a budget, in at most three sentences.

    ``support`` names the recommended cell (or the nearest), the runner-up and all that they were made of, as
    ``<stage>/<cell>``: the runs that the answer rests on. ``warnings`` are lines about the data of the cells that the
    sentences name.
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


def recommend(found: Task, budget: Budget) -> Answer:
    """Return the answer for a task: among its cells that fit, the best, or with a minimum score the fastest."""
    candidates = [
        Candidate(result.point.cell, comparison.label(result.point), result.costs) for result in found.results
    ]
    choice = choosing.choose(candidates, budget, found.draws, found.differences)
    picked = choice.recommended or choice.nearest
    bought = _gains(found, found.result(picked.name), budget) if choice.recommended and picked else ()
    cells = [pick.name for pick in (picked, choice.runner_up) if pick]
    support = dict.fromkeys(step for cell in cells for step in _ancestry(found, found.result(cell).point.made))
    baseline = found.results[0].trials[0].numbers.get("majority_score")
    named = [pick for pick in (picked, choice.runner_up, *choice.cheaper[:1]) if pick]
    warnings = answer.warnings({pick.label: found.result(pick.name).warnings for pick in named})
    return Answer(choice, bought, answer.sentences(choice, bought, baseline), tuple(support), warnings)


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
    return gains.gains(routes, costs, sizes)


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
    """Say why a law tells no slope along its axis, or return nothing."""
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
