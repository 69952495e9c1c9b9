"""A choice in at most three plain sentences: what to take, what stands next to it, and what more would buy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pipeline.scaling import texts
from pipeline.scaling.budget import COSTS
from pipeline.scaling.choosing import SCORE, Choice, Miss, Pick
from pipeline.scaling.gains import Gain

SURE = 0.95  # a limit that is kept as surely as this needs no word
NAMED = 3  # cells at most that are named instead of counted
MANY = 10  # times a limit; what lies so far off is told as a multiple
POINT = 100  # a score is shown in hundredths

AMOUNTS: dict[str, Callable[[float], str]] = {
    "latency_p50_ms": lambda value: f"{texts.digits(value)} ms",
    "storage_bytes": lambda value: f"{texts.digits(value / 1e6)} MB",
    "inference_memory_mib": lambda value: f"{texts.digits(value)} MiB of memory",
    "train_seconds": lambda value: f"{texts.digits(value)} s of training",
    "train_examples": lambda value: f"{value:,.0f} labelled examples",
}


def sentences(choice: Choice, gains: Sequence[Gain] = (), baseline: float | None = None) -> tuple[str, ...]:
    """Return the answer for a task, the most important first; scores in hundredths, intervals of 95%.

    ``baseline`` is the score of always predicting the majority class.
    """
    if choice.recommended is None:
        return _nothing(choice, baseline)
    name = metric(choice)
    first = (
        f"For {choice.task}{_within(choice)}: {_named(choice.recommended, name)}{_doubts(choice.recommended, name)}"
        f"{_against(choice.recommended, baseline)}."
    )
    found = (first, _beside(choice, baseline), _bought(gains, name))
    return tuple(sentence for sentence in found if sentence)


def warnings(found: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return a line for each warning about the data of the cells in an answer: ``Warning (a, b): sentence``.

    ``found`` are the warnings of each cell, by its label.
    """
    labels: dict[str, list[str]] = {}
    for label, of_cell in found.items():
        for sentence in of_cell:
            labels.setdefault(sentence, []).append(label)
    return tuple(f"Warning ({'; '.join(cells)}): {sentence}" for sentence, cells in labels.items())


def metric(choice: Choice) -> str:
    """Return the metric's name without its unit."""
    return texts.metric(choice.metric).split(" (")[0]


def _within(choice: Choice) -> str:
    """Return what is asked, and of how many cells that have it the answer is the best or the fastest."""
    limits = [AMOUNTS[key](limit) for key, limit in choice.budget.limits.items()]
    asked = f" within {_listed(limits)}" if limits else ""
    if choice.budget.score is not None:
        asked += f" at {metric(choice)} {texts.points(choice.budget.score)} or more"
    if not choice.fitting:
        return asked
    rule = "the best" if choice.budget.score is None else "the fastest"
    without = f", without {_unmeasured(choice)}" if choice.unmeasured else ""
    return f"{asked}, {rule} of {_cells(choice.fitting)}{without}"


def _named(pick: Pick, name: str) -> str:
    score = " ".join(filter(None, (texts.points(pick.score), texts.between(pick.low, pick.high))))
    return f"{pick.label}, {name} {score}{_costs(pick)}"


def _costs(pick: Pick) -> str:
    costs = {"latency_p50_ms": pick.latency_p50_ms, "storage_bytes": pick.storage_bytes}
    return "".join(f", {AMOUNTS[key](cost)}" for key, cost in costs.items() if cost is not None)


def _doubts(pick: Pick, name: str) -> str:
    """Say which limits it may not keep."""
    unsure = [kept for kept in pick.kept if kept.probability is not None and kept.probability < SURE]
    said = [f"it keeps {limit(kept.key, kept.limit, name)} with {texts.percent(kept.probability)} confidence"
            for kept in unsure]  # fmt: skip
    if untold := [limit(kept.key, kept.limit, name) for kept in pick.kept if kept.probability is None]:
        said.append(f"one seed does not tell how surely it keeps {_listed(untold)}")
    return "".join(f"; {doubt}" for doubt in said)


def _against(pick: Pick, baseline: float | None) -> str:
    """Return a remark where a cell is below the majority baseline, or not clearly above it."""
    if baseline is None or pick.low is None or pick.high is None or pick.low > baseline:
        return ""
    verdict = "below" if pick.high < baseline else "not clearly above"
    return f"; that is {verdict} the baseline of always predicting the majority class ({texts.points(baseline)})"


def _below(pick: Pick, baseline: float | None) -> str:
    """Return a remark where a cell that is not recommended is below the majority baseline."""
    return " (below the baseline)" if baseline is not None and pick.high is not None and pick.high < baseline else ""


def limit(key: str, value: float, name: str) -> str:
    """Return a limit in words; ``name`` is the metric's."""
    return f"{name} {texts.points(value)}" if key == SCORE else AMOUNTS[key](value)


def _beside(choice: Choice, baseline: float | None) -> str:
    """Say what stands next, how sure the order is, and what is cheaper and not significantly different."""
    second = choice.runner_up
    if second is None:
        return "No other cell fits."
    said = (
        f"Runner-up: {second.label}, {texts.points(second.score)}{_below(second, baseline)}{_costs(second)}; "
        f"{_compare_with_runner_up(choice)}"
    )
    if not choice.cheaper:
        return f"{said}."
    cheaper = choice.cheaper[0]
    if cheaper.name == second.name:
        return f"{said}, and the runner-up costs less."
    said += f"; cheaper and not significantly different: {cheaper.label}, {texts.points(cheaper.score)}"
    return f"{said}{_below(cheaper, baseline)}{_costs(cheaper)}."


def _compare_with_runner_up(choice: Choice) -> str:
    """Return whether the recommended cell and the runner-up differ significantly."""
    if choice.corrected_p is None:
        return "no cell repeats a seed, so it is unknown whether the two differ"
    verdict = "significantly different" if choice.told_apart else "not significantly different"
    shares = texts.percent(choice.at_least_runner_up)
    if choice.fitting > 2 and choice.budget.score is None:
        shares += f", and as much as all that fit in {texts.percent(choice.best_of_all)}"
    return (
        f"the two are {verdict} (p {texts.chance(choice.corrected_p)} over all pairs; "
        f"the first scores at least as much in {shares} of draws)"
    )


def _bought(gains: Sequence[Gain], name: str) -> str:
    known = [f"{gain.unit} more would buy {bought(gain)} points of {name}" for gain in gains if gain.value is not None]
    units: dict[str, list[str]] = {}
    for gain in (gain for gain in gains if gain.why_not):
        units.setdefault(gain.why_not, []).append(gain.unit)
    unknown = [f"what {_listed(of, 'or')} more would buy is not known: {why}" for why, of in units.items()]
    said = "; ".join([*known, *unknown])
    return f"{said[0].upper()}{said[1:]}." if said else ""


def bought(gain: Gain) -> str:
    """Return what a unit more buys, in hundredths of the score with its interval; nothing where that is not known."""
    if gain.value is None or gain.low is None or gain.high is None:
        return ""
    return f"{POINT * gain.value:+.2g} [{POINT * gain.low:+.2g}, {POINT * gain.high:+.2g}]"


def _nothing(choice: Choice, baseline: float | None) -> tuple[str, ...]:
    """Say that nothing fits, what comes nearest and what it misses, and what was not measured."""
    name = metric(choice)
    first = f"For {choice.task}{_within(choice)}: no cell fits."
    found = [first]
    if choice.nearest is not None:
        misses = _listed([_missed(miss, name) for miss in choice.misses])
        found.append(
            f"Nearest: {_named(choice.nearest, name)}, which misses {misses}{_against(choice.nearest, baseline)}."
        )
    if choice.unmeasured:
        found.append(f"Not considered: {_unmeasured(choice)}.")
    return tuple(found)


def _unmeasured(choice: Choice) -> str:
    """Return which cells lack the number of a limit, and which numbers those are."""
    keys = [key for key in COSTS if any(key in missing for _, missing in choice.unmeasured)]
    names = [name for name, _ in choice.unmeasured]
    who = _listed(names) if len(names) <= NAMED else _cells(len(names))
    return f"{who} (no {_listed(keys, 'or')})"


def _cells(count: int) -> str:
    return f"{count} cell{'s' if count > 1 else ''}"


def _missed(miss: Miss, name: str) -> str:
    way = "less" if miss.key == SCORE else "more"
    off = (
        f"{texts.percent(miss.excess)} {way}"
        if miss.excess < MANY
        else f"{texts.digits(1 + miss.excess)} times as much"
    )
    got = texts.points(miss.got) if miss.key == SCORE else AMOUNTS[miss.key](miss.got)
    return f"{limit(miss.key, miss.limit, name)} ({got}, {off})"


def _listed(parts: Sequence[str], last: str = "and") -> str:
    return f" {last} ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
