"""The section ``benchmark`` of the plan: what is timed, and on how many processes, threads, and so on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from pipeline.core.errors import suggest
from pipeline.evaluation import benchmark_settings
from pipeline.plan.load_plan import unknown

SECTION = "benchmark"
AXES = ("models", "processes", "threads", "precisions", "batches")


ENTRIES: dict[str, Callable[[object], str | None]] = {  # what is wrong with an entry of an axis, or None
    "models": lambda name: unknown(name, "model"),
    "processes": benchmark_settings.count,
    "threads": benchmark_settings.count,
    "precisions": benchmark_settings.precision,
    "batches": benchmark_settings.count,
}


def mistakes(content: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the section."""
    given, keys = content.get(SECTION), ("task", *AXES)
    if not isinstance(given, dict):
        got = "nothing" if given is None else type(given).__name__
        yield f"{SECTION}: got {got}; write {', '.join(keys)}, with models: [] for no benchmark"
        return
    yield from (f"{SECTION}.{key}: unknown key; {suggest(key, keys)}" for key in given if key not in keys)
    yield from (f"{SECTION}.{key}: missing; a benchmark names {', '.join(keys)}" for key in keys if key not in given)
    if "task" in given and (found := unknown(given["task"], "task")):
        yield f"{SECTION}.task: {found}"
    elif "task" in given:
        yield from _made("task", given["task"], content.get("tasks"), "tasks")
    for axis in AXES:
        if axis in given:
            yield from (f"{SECTION}.{axis}{mistake}" for mistake in _axis(axis, given[axis]))
    if not [*_axis("models", given.get("models"))]:
        for name in given["models"]:
            yield from _made("models", name, content.get("models"), "models")
    yield from _shares(given)


def _axis(axis: str, entries: object) -> Iterator[str]:
    if not isinstance(entries, list):
        yield f": got {entries!r}; write a list"
        return
    for index, entry in enumerate(entries):
        if found := ENTRIES[axis](entry):
            yield f"[{index}]: {found}"
    counts = Counter(entry for entry in entries if not ENTRIES[axis](entry))
    yield from (f": {entry!r} stands {count} times; keep one" for entry, count in counts.items() if count > 1)


def _made(key: str, name: str, axis: object, where: str) -> Iterator[str]:
    made = [str(entry) for entry in axis] if isinstance(axis, list) else []
    if name not in made:
        yield (f"{SECTION}.{key}: no cell makes {name!r}; add it to {where}, or name one of them ({', '.join(made)})")


def _shares(given: dict[str, Any]) -> Iterator[str]:
    """Name batches that cannot be shared evenly."""
    axes = [given.get(axis) for axis in ("batches", "processes")]
    if not all(isinstance(axis, list) and not any(map(benchmark_settings.count, axis)) for axis in axes):
        return  # its own mistakes are told
    for batch in given["batches"]:
        for processes in given["processes"]:
            if found := benchmark_settings.shares(batch, processes):
                yield f"{SECTION}.batches: {found}"
