"""Format a recommendation in at most five sentences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from pipeline.analysis.recommendation import select
from pipeline.analysis.recommendation.limits import SCORE, LimitViolation, MetLimit
from pipeline.analysis.recommendation.marginal_gains import DATA, Improvement, MarginalGain
from pipeline.analysis.recommendation.select import Alternative, CellSummary, Choice, CorrectedScore
from pipeline.analysis.report import formatting
from pipeline.analysis.statistics.equivalence import BETTER, EQUAL, UNDECIDED, WORSE
from pipeline.plan.budget import COSTS

MIN_CONFIDENCE = 0.95  # a limit that is kept with this confidence needs no remark
MAX_NAMED = 2  # limits or cells at most that are named instead of counted
MAX_SEEDS = 1000  # more seeds than this are no advice
POINT = 100  # a score is shown in hundredths

AMOUNTS: dict[str, Callable[[float], str]] = {
    "latency_p50_ms": lambda value: f"{formatting.format_number(value)} ms",
    "storage_bytes": lambda value: f"{formatting.format_number(value / 1e6)} MB",
    "inference_memory_mib": lambda value: f"{formatting.format_number(value)} MiB of memory",
    "train_seconds": lambda value: f"{formatting.format_number(value)} s of training",
    "train_examples": lambda value: f"{value:,.0f} labelled examples",
}
NO_WAY = "The laws do not determine what would help: try more labelled examples, a larger model or another recipe."


def format_sentences(
    choice: Choice, gains: Sequence[MarginalGain] = (), improvements: Sequence[Improvement] = ()
) -> tuple[str, ...]:
    """Return the answer for a task in at most five sentences, the most important first; scores in hundredths.

    ``gains`` are what more of each limit would buy; ``improvements`` are what would help where no cell is useful.
    """
    if choice.recommended is None:
        return tuple(filter(None, _format_nothing(choice, improvements)))
    other = select.find_alternative(choice)
    return tuple(
        filter(
            None,
            (
                _format_recommended(choice, choice.recommended),
                _format_rule(choice, choice.recommended),
                _format_limits(choice),
                _format_alternative(choice, choice.recommended, other),
                _format_required(choice, other) or _format_marginal_gain(choice, gains) or _format_unmeasured(choice),
            ),
        )
    )


def format_warnings(of_cells: Mapping[str, Sequence[str]], machines: Mapping[str, str]) -> tuple[str, ...]:
    """Return a line for each warning about the cells of an answer: ``Warning (a, b): sentence``.

    ``of_cells`` are the warnings about the data of each cell by its label; ``machines`` measured each cell.
    """
    labels: dict[str, list[str]] = {}
    for label, of_cell in of_cells.items():
        for sentence in of_cell:
            labels.setdefault(sentence, []).append(label)
    first = next(iter(machines.values()), "")
    for label, machine in machines.items():
        if machine != first:
            sentence = f"measured on another machine ({machine}), so its times are not compared."
            labels.setdefault(sentence, []).append(label)
    return tuple(f"Warning ({'; '.join(cells)}): {sentence}" for sentence, cells in labels.items())


def format_metric(choice: Choice) -> str:
    """Return the metric's name without its unit."""
    return formatting.format_metric(choice.metric).split(" (")[0]


def format_limit(key: str, value: float, metric: str) -> str:
    """Return a limit in words; ``metric`` is the metric's name."""
    return f"{metric} {formatting.format_points(value)}" if key == SCORE else AMOUNTS[key](value)


def format_gain(gain: MarginalGain) -> str:
    """Return what a unit more buys, in hundredths of the score with its interval; nothing where that is not known."""
    if gain.value is None or gain.low is None or gain.high is None:
        return ""
    return f"{POINT * gain.value:+.2g} [{POINT * gain.low:+.2g}, {POINT * gain.high:+.2g}]"


def _format_recommended(choice: Choice, pick: CellSummary) -> str:
    new = "" if pick.low is None else " on new data"
    score = f"{format_metric(choice)} {_format_score(_get_corrected_score(choice) or pick)}{new}"
    costs = {"latency_p50_ms": pick.latency_p50_ms, "storage_bytes": pick.storage_bytes}
    facts = [score, *(AMOUNTS[key](cost) for key, cost in costs.items() if cost is not None)]
    return f"Use {pick.label} for {choice.task}: {', '.join(facts)}{_format_baseline(choice)}."


def _get_corrected_score(choice: Choice) -> CorrectedScore | None:
    """Return the corrected score of the recommended cell, None where it does not differ from the measured one."""
    expected, pick = choice.corrected_score, choice.recommended
    if (
        expected is None
        or pick is None
        or formatting.format_points(expected.score) == formatting.format_points(pick.score)
    ):
        return None
    return expected


def _format_score(one: CellSummary | CorrectedScore) -> str:
    interval = (
        "no interval"
        if one.low is None
        else f"{formatting.format_points(one.low)} to {formatting.format_points(one.high)}"
    )
    return f"{formatting.format_points(one.score)} ({interval})"


def _format_baseline(choice: Choice) -> str:
    return "" if choice.baseline is None else f"; a constant answer scores {formatting.format_points(choice.baseline)}"


def _format_rule(choice: Choice, pick: CellSummary) -> str:
    """Return by which rule it was chosen, from how many cells, and which limit it may not keep."""
    rule = "scores best" if choice.budget.score is None else "is the fastest"
    among = (
        f"It {rule} of the {choice.fitting} cells that work" if choice.fitting > 1 else "It is the only cell that works"
    )
    return f"{among}{_format_scope(choice)}{_format_doubt(choice, pick.met_limits)}{_format_measured(choice, pick)}."


def _format_measured(choice: Choice, pick: CellSummary) -> str:
    """Return the measured score where the choice makes it differ from the expected one."""
    expected = _get_corrected_score(choice)
    if expected is None:
        return ""
    reason = ", and the best of many measures too high" if pick.score > expected.score else ""
    return f"; it measured {formatting.format_points(pick.score)}{reason}"


def _format_scope(choice: Choice) -> str:
    """Return the limits in words, such as `` within 3.00 ms with F1 80.0 or more``; many of them are counted."""
    limits, least = choice.budget.limits, choice.budget.score
    named = [AMOUNTS[key](value) for key, value in limits.items()]
    within = _join_words(named) if len(named) <= MAX_NAMED else f"all {len(named)} limits"
    score = f" with {format_metric(choice)} {formatting.format_points(least)} or more" if least is not None else ""
    return f"{f' within {within}' if limits else ''}{score}"


def _format_doubt(choice: Choice, kept: Sequence[MetLimit]) -> str:
    """Return the limit that is kept with the least confidence, where that is not high."""
    known = [one for one in kept if one.probability is not None and round(one.probability, 2) < MIN_CONFIDENCE]
    if known:
        least = min(known, key=lambda one: one.probability or 0)
        words = format_limit(least.key, least.limit, format_metric(choice))
        verb = "reaches" if least.key == SCORE else "keeps"
        return f", but {verb} {words} with only {formatting.format_percent(least.probability)} confidence"
    if any(one.probability is None for one in kept):
        return "; without repeated seeds it is unknown whether it keeps them"
    return ""


def _format_limits(choice: Choice) -> str:
    """Return what the cell that a limit excludes would need."""
    excluded, least = choice.excluded, choice.budget.score
    if not choice.budget.limits and least is None:
        return ""
    if excluded is None:
        what = f"cell that is better by {format_margin(choice)}" if least is None else "faster cell"
        return f"No limit excludes a {what}."
    verdict = (
        f"{'is' if excluded.is_significant else 'may be'} better ({formatting.format_points(excluded.cell.score)})"
    )
    return (
        f"Beyond the limits, {excluded.cell.label} {verdict if least is None else 'is faster'} but "
        f"{_format_violations(choice, excluded.violations)}."
    )


def _format_marginal_gain(choice: Choice, gains: Sequence[MarginalGain]) -> str:
    """Return what more of a limit would buy, only where that limit alone excludes a better cell."""
    binding = [violation.key for violation in choice.excluded.violations] if choice.excluded else []
    gain = next((gain for gain in gains if [gain.key] == binding), None)
    if gain is None or gain.value is None or gain.low is None or gain.low <= 0:
        return ""
    return f"By the laws, {gain.unit} more would buy {POINT * gain.value:.2g} points."


def format_margin(choice: Choice) -> str:
    """Return the margin within which cells are equally good, in points."""
    margin = f"{POINT * choice.margin:g}"
    return f"{margin} point{'' if margin == '1' else 's'}"


def _format_violations(choice: Choice, violations: Sequence[LimitViolation]) -> str:
    """Return what a cell needs and what is allowed, such as ``needs 3.50 ms (you allow 3.00)``."""
    if len(violations) > MAX_NAMED:
        return f"misses {len(violations)} limits"
    costs, parts = [one for one in violations if one.key != SCORE], []
    if costs:
        needs = _join_words([AMOUNTS[violation.key](violation.got) for violation in costs])
        allowed = _join_words([AMOUNTS[violation.key](violation.limit).split()[0] for violation in costs])
        parts.append(f"needs {needs} (you allow {allowed})")
    for violation in violations:
        if violation.key == SCORE:
            got, limit = (formatting.format_points(value) for value in (violation.got, violation.limit))
            parts.append(f"scores {got} (you ask for {limit})")
    return _join_words(parts)


def _format_alternative(choice: Choice, best: CellSummary, other: Alternative | None) -> str:
    """Return how the cell that comes next compares, and which of its costs are lower or higher."""
    if other is None:
        return "No other cell fits."
    verdict = {
        EQUAL: f"is equally good (within {format_margin(choice)})",
        UNDECIDED: "may be as good",
        WORSE: "is worse",
        BETTER: "is better",
    }[other.verdict]
    rank = "best" if choice.budget.score is None else "fastest"
    lead = f"The next {rank}" if other is choice.alternatives[0] else "A cheaper cell"
    costs = _format_costs(other.cell, best)
    what = f"{verdict} and {costs}" if costs else verdict
    return f"{lead}, {other.cell.label}, scores {formatting.format_points(other.cell.score)}, {what}."


def _format_costs(pick: CellSummary, best: CellSummary) -> str:
    """Return what a cell costs more or less than another in each cost; times of two machines are not compared."""
    both = [("storage_bytes", pick.storage_bytes, best.storage_bytes)]
    if pick.machine == best.machine:
        both.insert(0, ("latency_p50_ms", pick.latency_p50_ms, best.latency_p50_ms))
    parts = [
        f"{AMOUNTS[key](abs(one - other))} {'less' if one < other else 'more'}"
        for key, one, other in both
        if one is not None and other is not None and not math.isclose(one, other, rel_tol=0.005)
    ]
    known = any(one is not None and other is not None for _, one, other in both)
    costs = f"takes {_join_words(parts)}" if parts else "costs the same" if known else ""
    if pick.machine == best.machine:
        return costs
    return f"{costs}; its times are from another machine" if parts else "its times are from another machine"


def _format_required(choice: Choice, other: Alternative | None) -> str:
    """Return how many more seeds or examples would decide between the recommended cell and an undecided one."""
    if other is None or other.verdict != UNDECIDED:
        return ""
    if not choice.has_repeated_seeds:
        return "No difference is shown without repeated seeds that learn: run at least 3 seeds."
    if other.required is None:
        return ""
    what = (
        f"show that the two are equal within {format_margin(choice)}" if other.required.as_equal else "separate the two"
    )
    seeds, examples = other.required.seeds, other.required.examples
    improvements = [
        *([_format_count(seeds, "seed")] if seeds is not None and seeds <= MAX_SEEDS else []),
        *([_format_count(_round_up(examples), "test example")] if examples is not None else []),
    ]
    if not improvements:
        return f"Neither more seeds nor more test examples alone can {what}."
    alone = ""
    if len(improvements) == 1:
        alone = "; more test examples alone cannot" if examples is None else "; more seeds alone cannot"
    return f"About {' or '.join(improvements)} would {what}{alone}."


def _format_count(count: int, what: str) -> str:
    return f"{count:,} more {what}{'' if count == 1 else 's'}"


def _round_up(count: int) -> int:
    """Return a count with two digits, rounded up."""
    step: int = 10 ** max(0, len(str(count)) - 2)
    return -(-count // step) * step


def _format_nothing(choice: Choice, improvements: Sequence[Improvement]) -> list[str]:
    """Return why no cell is recommended: none is better than a constant answer, or none keeps the limits."""
    within = _format_scope(choice)
    near, best = choice.nearest, choice.strongest
    if best is not None:
        scope = within if near is not None else ""
        sentences = [
            f"Nothing works yet for {choice.task}{scope}: no cell scores clearly above a constant answer.",
            f"The best of them, {best.label}, reaches {format_metric(choice)} {_format_score(best)}"
            f"{_format_baseline(choice)}.",
        ]
    elif near is not None:
        sentences = [f"No cell for {choice.task} works{within}."]
    else:
        sentences = [f"No cell for {choice.task} has the numbers that its limits need."]
    if near is not None:
        violations = _format_violations(choice, choice.violations)
        sentences.append(
            f"The nearest that works, {near.label} ({formatting.format_points(near.score)}), {violations}."
        )
    elif best is not None:
        sentences += [_format_improvement(improvement) for improvement in improvements[:MAX_NAMED]] or [NO_WAY]
    return [*sentences, _format_unmeasured(choice)]


def _format_improvement(improvement: Improvement) -> str:
    more = (
        f"{improvement.factor} times the labelled examples ({improvement.amount:,.0f})"
        if improvement.kind == DATA
        else f"a model {improvement.factor} times as large"
    )
    return f"By the law of {improvement.kind}, {more} would score about {formatting.format_points(improvement.score)}."


def _format_unmeasured(choice: Choice) -> str:
    """Return which cells lack the number of a limit, and which numbers those are."""
    if not choice.unmeasured:
        return ""
    keys = [key for key in COSTS if any(key in missing for _, missing in choice.unmeasured)]
    names = [name for name, _ in choice.unmeasured]
    cells = _join_words(names) if len(names) <= MAX_NAMED else f"{len(names)} cells"
    return f"Not considered: {cells} (no {_join_words(keys, 'or')})."


def _join_words(parts: Sequence[str], last: str = "and") -> str:
    return f" {last} ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
