"""The tables of what the comparison concludes: laws, cost at equal quality, and how a choice keeps its limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.analysis import comparison
from pipeline.analysis.comparison import Task
from pipeline.analysis.laws import BASELINES, Finding, Law
from pipeline.analysis.recommendation import answer_sentences, select
from pipeline.analysis.recommendation.equal_quality import BELOW, BEYOND, NO_GAIN, Equal
from pipeline.analysis.recommendation.limits import SCORE
from pipeline.analysis.recommendation.recommendation import Answer
from pipeline.analysis.recommendation.select import Alternative, Pick
from pipeline.analysis.report import formatting
from pipeline.analysis.results.cell_table import Sheet

if TYPE_CHECKING:
    from pipeline.analysis.report.html import Part

LAWS = ("of", "against", "at", "places", "law", "parameters [95%]", "held-out error", "of a line", "of a constant")
LAWS_NOTE = (
    "Of the laws that the places allow, the one that predicted best what was held out: the largest size, and apart "
    "from it the most data. Held-out error: mean of |predicted / measured - 1|, with the law chosen again without the "
    "held-out cells; then that of a straight line in the logarithm of the axis and of a constant. A parameter in "
    "brackets, such as (E), is not determined by these places: its interval touches a bound or spans more than a "
    "factor of ten (laws.csv holds it). A law does not apply to other models or data."
)
AGAINST = {
    "parameters": "N, all parameters", "parameters_non_embedding": "N, without embeddings",
    "train_examples": "D, examples", "train_flops": "C, FLOPs",
}  # fmt: skip
EQUAL_COSTS = {
    "parameters_nonzero": "parameters not zero", "storage_bytes": "stored", "inference_flops": "flops",
    "latency_p50_ms": "p50", "train_flops": "training FLOPs",
}  # fmt: skip
MAX_ALTERNATIVES = 8
ALTERNATIVES_NOTE = (
    "Difference: the cell's score less that of the recommended one; p (Holm) allows for all pairs of the task. Equal: "
    "two one-sided tests that the difference is within {margin}, corrected for all cells that fit. More seeds, "
    "more examples: how many would decide, by that alone, with a probability of 80%. Latency: median over all cells "
    "and seeds that compute the same."
)
REPEATED_NOTE = (
    "The choice was repeated on parts of the examples and seeds, and the chosen cell scored on the rest. Measured: "
    "{measured}; corrected for the choice: {expected}."
)
CERTAIN = 0.995  # confidence that needs no word
EQUAL_NOTE = (
    "A cell's cost divided by what a plainly fine-tuned model of the same score would cost, read off the front of the "
    "sizes with all data (the logarithm of the cost in a straight line between neighbours). Below 1 the cell is the "
    "cheaper way to its score; it is called so where the 95% interval (over examples, seeds and timings) leaves out 1. "
    "<= or >=: the score lies above or below all plain models, so the nearest one's cost stands in. Training "
    "FLOPs are of all that a cell was made of."
)


def parts(tasks: Sequence[Task]) -> list[Part]:
    """Return what the comparison concludes as parts of the report."""
    from pipeline.analysis.report.html import Part  # with altair, a second that a mere question should not cost

    return [
        Part("laws", "Laws", laws(tasks), LAWS_NOTE),
        Part("equal", "Cost at equal quality", equals(tasks), EQUAL_NOTE),
    ]


def laws(tasks: Sequence[Task]) -> list[Sheet]:
    """Return the laws of each task, with what is not determined and what was refused."""
    return [_laws(found) for found in tasks if found.findings]


def _laws(found: Task) -> Sheet:
    rows = [_law(finding) for finding in found.findings]
    refused = {
        f"{finding.question.target} against {_against(finding)}: {form} refused: {why}": None
        for finding in found.findings
        for form, why in finding.refused.items()
    }
    return Sheet(f"{found.task}: laws", LAWS, rows, tuple(refused))


def _against(finding: Finding) -> str:
    return " and ".join(AGAINST[axis].split(",")[0] for axis in finding.question.axes)


def _law(finding: Finding) -> list[str]:
    question, law = finding.question, finding.law
    against = "; ".join(AGAINST[axis] for axis in question.axes)
    head = [question.target, against, question.condition, str(len(finding.points))]
    if law is None:
        return [*head, "refused", "", "", "", ""]
    errors = [finding.nested_error, *(finding.error(name) for name in BASELINES)]
    return [*head, law.formula, _parameters(law), *map(formatting.percent, errors)]


def _parameters(law: Law) -> str:
    """Return each parameter with its interval, and of one that is not determined the name alone, in brackets."""
    return "; ".join(
        f"{one.name} {one.value:.3g} [{one.low:.3g}, {one.high:.3g}]" if one.determined else f"({one.name})"
        for one in law.parameters
    )


def equals(tasks: Sequence[Task]) -> list[Sheet]:
    """Return what each student and compression costs at equal quality, a table for each task that has some."""
    return [sheet for found in tasks if (sheet := _equals(found)).rows]


def _equals(found: Task) -> Sheet:
    made = [result.point for result in found.results if result.point.source]
    by_cell = {(one.cell, one.cost): one for one in found.equals}
    rows = [
        [comparison.label(point), formatting.points(found.draws.score(point.cell))]
        + [_ratio(by_cell.get((point.cell, cost))) for cost in EQUAL_COSTS]
        for point in made
        if any((point.cell, cost) in by_cell for cost in EQUAL_COSTS)
    ]
    headings = ("made of another", comparison.metric(found), *EQUAL_COSTS.values())
    return Sheet(f"{found.task}: cost at equal quality, a plain model's is 1", headings, rows)


def _ratio(one: Equal | None) -> str:
    if one is None:
        return ""
    bound = {BEYOND: "<=", BELOW: ">="}.get(one.where, "")
    verdict = "" if one.verdict == NO_GAIN else one.verdict
    return " ".join(filter(None, (bound, f"{one.ratio:.2f}", _interval(one), verdict)))


def _interval(one: Equal) -> str:
    """Return the interval of a ratio, one end of it where the resamples leave the plain models on the other side."""
    if math.isinf(one.high):
        return f"[>= {one.low:.2f}]" if one.low else ""
    return f"[{one.low:.2f}, {one.high:.2f}]" if one.low else f"[<= {one.high:.2f}]"


def details(found: Answer) -> tuple[Sheet, ...]:
    """Return the statistics behind an answer: how the cells that fit compare, the choice repeated, and the limits."""
    return tuple(sheet for sheet in (compare_alternatives(found), repeat_choice(found), limits(found)) if sheet)


def repeat_choice(found: Answer) -> Sheet | None:
    """Return how often each cell was chosen in the repeated choices, None where there was one cell to choose."""
    pick, expected = found.choice.recommended, found.choice.expected
    if pick is None or expected is None or not found.choice.alternatives:
        return None
    rows = [[label, formatting.percent(share)] for label, share in expected.choices.items()]
    note = REPEATED_NOTE.format(
        measured=_score(pick),
        expected=f"{formatting.points(expected.score)} {formatting.between(expected.low, expected.high)}",
    )
    headings = ("cell", "chosen in this share of repeated choices")
    return Sheet(f"{found.choice.task}: the choice repeated", headings, rows[:MAX_ALTERNATIVES], (note,))


def limits(found: Answer) -> Sheet | None:
    """Return how the recommended cell and the named alternative keep the limits, None without limits or cells.

    What more of a limit would buy is shown only where that limit alone excludes a better cell.
    """
    choice = found.choice
    other = select.find_alternative(choice)
    picks = [pick for pick in (choice.recommended, other.pick if other else None) if pick]
    if not picks or not picks[0].kept:
        return None
    metric = answer_sentences.format_metric(choice)
    binding = [miss.key for miss in choice.excluded.misses] if choice.excluded else []
    bought = {gain.key: gain for gain in found.gains if binding == [gain.key]}
    rows = []
    for kept in picks[0].kept:
        gain = bought.get(kept.key)
        more = "" if gain is None else gain.why_not or f"{gain.unit}: {answer_sentences.format_gain(gain)} points"
        rows.append(
            [
                answer_sentences.format_limit(kept.key, kept.limit, metric),
                *(_kept(pick, kept.key) for pick in picks),
                more,
            ]
        )
    headings = ("limit", *(pick.label for pick in picks), "what more would buy")
    return Sheet(f"{choice.task}: the limits", headings, rows)


def compare_alternatives(found: Answer) -> Sheet | None:
    """Return how the other cells that fit compare with the recommended one, None where there are none."""
    choice = found.choice
    if choice.recommended is None or not choice.alternatives:
        return None
    metric, margin = answer_sentences.format_metric(choice), f"{100 * choice.margin:g}"
    headings = ("cell", f"{metric} [95%]", "difference [95%]", "p (Holm)", f"p equal within {margin}", "verdict",
                "more seeds", "more examples", "p50 ms", "MB")  # fmt: skip
    first = [choice.recommended.label, _score(choice.recommended), *[""] * 3, "recommended", "", ""]
    rows = [[*first, *_costs(choice.recommended)], *map(_alternative, choice.alternatives[:MAX_ALTERNATIVES])]
    left = len(choice.alternatives) - MAX_ALTERNATIVES
    notes = [
        ALTERNATIVES_NOTE.format(margin=answer_sentences.format_margin(choice)),
        *([f"More cells fit ({left}): see differences.csv."] if left > 0 else []),
    ]
    return Sheet(f"{choice.task}: what else fits", headings, rows, tuple(notes))


def _alternative(one: Alternative) -> list[str]:
    difference = one.difference
    needed = [one.needed.seeds, one.needed.examples] if one.needed else []
    return [
        one.pick.label,
        _score(one.pick),
        f"{100 * difference.difference:+.1f} {formatting.between(difference.low, difference.high)}".rstrip(),
        formatting.chance(difference.corrected_p),
        formatting.chance(one.equivalence_p),
        one.verdict,
        *(["never" if count is None else f"{count:,}" for count in needed] or ["", ""]),
        *_costs(one.pick),
    ]


def _score(pick: Pick) -> str:
    return f"{formatting.points(pick.score)} {formatting.between(pick.low, pick.high)}".rstrip()


def _costs(pick: Pick) -> list[str]:
    return [
        formatting.digits(pick.latency_p50_ms),
        formatting.digits(pick.storage_bytes / 1e6 if pick.storage_bytes else None),
    ]


def _kept(pick: Pick, key: str) -> str:
    kept = next((kept for kept in pick.kept if kept.key == key), None)
    if kept is None:
        return ""
    got = formatting.points(kept.got) if key == SCORE else answer_sentences.AMOUNTS[key](kept.got)
    if kept.probability is None or kept.probability >= CERTAIN:
        return got
    return f"{got} (kept with {formatting.percent(kept.probability)} confidence)"
