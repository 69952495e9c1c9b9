"""Every mistake of a plan at once: its axes, its entries, what stands between them, and the files that it names."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from pipeline.core import conf_keys, instantiate, paths
from pipeline.core.errors import UserError, suggest
from pipeline.core.validators import is_number, is_whole
from pipeline.plan import benchmark_section, budget, dependencies, named_sections, source_paths
from pipeline.plan.cells import RECIPE
from pipeline.plan.load_plan import AXES, read, shown, unknown
from pipeline.plan.named_sections import ratio
from pipeline.plan.yaml_versions import find_misread
from pipeline.tasks import task_config
from pipeline.training import recipe

NEEDED = {  # keys without which a file of conf/ says too little
    "task": ("name", "source", "train_counts", "selection"),
    "model": ("name", "source"),
    "recipe": ("name",),
    "distillation": ("name", "alpha", "temperature"),
    "compression": ("name", "method", "recovery"),
}

PARSED: dict[str, Callable[[dict[str, Any]], object]] = {"task": task_config.parse, "recipe": recipe.parse}
COMPARISON = "compare"
TEXTS = {"task": ("labels",)}  # lists in a file of conf/ whose entries are text, even where YAML reads numbers
# DVC writes its whole lock file anew after each cell: at a thousand cells that takes two seconds of each.
MOST_CELLS = 5000


def check(content: dict[str, Any]) -> list[str]:
    """Return every mistake in the content of ``params.yaml``, an empty list for a sound plan.

    What is wrong between entries (outputs written twice, a ratio too small for a task, a source that no cell makes) is
    looked for among the entries that are sound by themselves.
    """
    if (cells := _cells(content)) > MOST_CELLS:
        return [f"{cells:,} cells; DVC can bear some thousand, at most {MOST_CELLS:,} are taken: make an axis shorter"]
    sections = (*AXES, benchmark_section.SECTION, *named_sections.SECTIONS, COMPARISON)
    mistakes = [f"{key}: unknown section; {suggest(key, sections)}" for key in content if key not in sections]
    for axis, mistake in ENTRIES.items():
        mistakes += _axis(content, axis, mistake)
    mistakes += benchmark_section.mistakes(content)
    mistakes += named_sections.mistakes(content)
    mistakes += _comparison(content.get(COMPARISON))
    axes = {axis: _sound(content, axis) for axis in AXES}
    named = named_sections.sound(content)
    return [
        *mistakes,
        *_duplicates(axes, named),
        *_empty_classes(content, axes, named),
        *dependencies.mistakes(axes, named),
    ]


def _cells(content: dict[str, Any]) -> int:
    """Return how many cells the lists of a plan would make, whatever stands in them."""
    timed = content.get(benchmark_section.SECTION)
    tasks, models, ratios = (_length(content.get(axis)) for axis in ("tasks", "models", "ratios"))
    named = sum(_length(content.get(section)) for section in named_sections.SECTIONS)
    of = [_length(timed.get(axis)) for axis in benchmark_section.AXES] if isinstance(timed, dict) else [0]
    return tasks + models + 2 * (tasks * models * ratios + named) + math.prod(of)


def _length(given: object) -> int:
    return len(given) if isinstance(given, (list, dict)) else 0


def files(content: dict[str, Any]) -> Iterator[str]:
    """Name what is wrong with the files of conf/ that the plan names."""
    named = named_sections.sound(content)
    groups = {"task": _sound(content, "tasks"), "model": _sound(content, "models"), "recipe": [RECIPE]}
    for section in named_sections.SECTIONS:
        for entry in named[section].values():
            for group in ("recipe", "distillation", "compression"):
                groups.setdefault(group, []).extend([entry[group]] if group in entry else [])
    yield from _mirrors(groups)
    for group, chosen in groups.items():
        for name in dict.fromkeys(chosen):
            yield from file(group, name)
    sweeps = sorted((paths.CONF / "sweep").glob("*.yaml"))
    for path in [*(paths.CONF / f"{stage}.yaml" for stage in conf_keys.STAGES), *sweeps]:
        yield from _composed(path)


@cache
def _composed(path: Path) -> tuple[str, ...]:
    """Return what is wrong with a file of conf/ that Hydra composes: how it reads, and keys that no code reads."""
    try:
        content = read(path, ("defaults",))
    except UserError as error:
        return (str(error),)
    known = stage_keys(path.stem, content) if path.parent == paths.CONF else _sweep_keys()
    mistakes = [*find_misread(path), *conf_keys.find_unknown(content, known)]
    return tuple(f"{shown(path)}: {mistake}" for mistake in mistakes)


def stage_keys(stage: str, content: dict[str, Any]) -> tuple[str, ...]:
    """Return the keys that ``conf/<stage>.yaml`` may hold: its own, those of all stages, the groups that it names."""
    defaults = content.get("defaults")
    entries_ = defaults if isinstance(defaults, list) else []
    groups = [str(group) for entry in entries_ if isinstance(entry, dict) for group in entry if "/" not in str(group)]
    return (*conf_keys.STAGES[stage], *conf_keys.STAGES["workspace"], *groups)


def _sweep_keys() -> tuple[str, ...]:
    """Return the keys that a file of conf/sweep/ may hold: those of any stage."""
    return tuple(dict.fromkeys(key for keys in conf_keys.STAGES.values() for key in keys))


def _comparison(given: object) -> Iterator[str]:
    """Check the limits by which a cell is recommended, and the margin within which cells are equally good."""
    if not isinstance(given, dict):
        got = "nothing" if given is None else type(given).__name__
        yield f"{COMPARISON}: got {got}; write budget: with limits by name, or budget: {{}} for none"
        return
    known = ("budget", "margin")
    yield from (f"{COMPARISON}.{key}: unknown key; {suggest(key, known)}" for key in given if key not in known)
    if "budget" not in given:
        yield f"{COMPARISON}.budget: missing; write limits by name, or {{}} for none"
    yield from budget.mistakes(given.get("budget"), f"{COMPARISON}.budget")
    margin = given.get("margin", budget.MARGIN)
    if not is_number(margin) or not 0 < margin < 100:
        yield f"{COMPARISON}.margin: got {margin!r}; give a number of points above 0, such as {budget.MARGIN}"


def _axis(content: dict[str, Any], axis: str, mistake: Callable[[object], str | None]) -> Iterator[str]:
    """Check that an axis is a list without repetition whose every entry is sound."""
    given = content.get(axis)
    if not isinstance(given, list) or not given:
        yield f"{axis}: got {given!r}; write a list with at least one entry"
        return
    for index, entry in enumerate(given):
        if found := mistake(entry):
            yield f"{axis}[{index}]: {found}"
    counts = Counter(entry for entry in given if not mistake(entry))
    for entry, count in counts.items():
        if count > 1:
            yield f"{axis}: {entry!r} stands {count} times, so its outputs would be written twice; keep one"


def _seed(seed: object) -> str | None:
    if not is_whole(seed, maximum=2**32 - 1):
        return f"got {seed!r}; a seed is a whole number from 0 to {2**32 - 1}"
    return None


ENTRIES: dict[str, Callable[[object], str | None]] = {  # what is wrong with an entry of an axis, or None
    "tasks": partial(unknown, group="task"),
    "models": partial(unknown, group="model"),
    "ratios": ratio,
    "seeds": _seed,
}


def _sound(content: dict[str, Any], axis: str) -> list[Any]:
    """Return the entries of an axis that are sound by themselves, each once."""
    given = content.get(axis)
    return list(dict.fromkeys(e for e in given if not ENTRIES[axis](e))) if isinstance(given, list) else []


def _duplicates(axes: dict[str, list[Any]], named: named_sections.Named) -> Iterator[str]:
    """Name cells that would write the same files, such as a variant that bears the name of a cell of the grid."""
    names = [
        f"{task}-{model}-{share}" for task in axes["tasks"] for model in axes["models"] for share in axes["ratios"]
    ]
    finetuned = Counter([*names, *named["variants"]])
    for name, count in finetuned.items():
        if count > 1:
            yield f"{count} cells would write runs/finetune/{name}; rename one"
    for name, count in Counter([*finetuned, *named["distill"], *named["compress"]]).items():
        if count > 1:
            yield f"{count} cells would write runs/evaluate/{name}; rename one"


def _empty_classes(content: dict[str, Any], axes: dict[str, list[Any]], named: named_sections.Named) -> Iterator[str]:
    """Name ratios whose share of the training rows would leave a class out."""
    axis = content.get("ratios")
    ratios = [(i, share) for i, share in enumerate(axis) if not ratio(share)] if isinstance(axis, list) else []
    points = [(task, f"ratios[{i}]", share) for task in axes["tasks"] for i, share in ratios]
    for section in ("variants", "distill"):
        points += [(e["task"], f"{section}.{name}.ratio", e["ratio"]) for name, e in named[section].items()]
    for task, where, share in points:
        if file("task", task):
            continue  # its own mistakes are told first
        rows, least = _rows(task)
        if round(share * rows) < least:
            yield (
                f"{where}: {share} of {task} is {round(share * rows)} training rows, too few for every class to "
                f"appear; use at least {min(1.0, math.ceil((least + 0.5) / rows * 1e4) / 1e4)}"
            )


@cache
def file(group: str, name: str) -> tuple[str, ...]:
    """Return the mistakes in a file of conf/ that would come to light in the middle of a run, or not at all."""
    path = paths.CONF / group / f"{name}.yaml"
    try:
        content = read(path, NEEDED[group])
    except UserError as error:
        return (str(error),)
    needed = ", ".join(NEEDED[group])
    missing = [f"{key}: missing; a {group} states {needed}" for key in NEEDED[group] if key not in content]
    misread = find_misread(path, TEXTS.get(group, ()))
    known = content if group == "distillation" else conf_keys.GROUPS[group]  # making.mistakes checks all of that one
    unknown_keys = conf_keys.find_unknown(content, known)
    mistakes = [*misread, *missing, *unknown_keys, *_named(content, name), *_contained(group, content)]
    return tuple(f"{shown(path)}: {mistake}" for mistake in mistakes) or tuple(_stated(group, content))


def _named(content: dict[str, Any], name: str) -> Iterator[str]:
    if "name" in content and content["name"] != name:
        yield f"name: got {content['name']!r}, but outputs are looked for under the file's name; write name: {name}"


def _contained(group: str, content: dict[str, Any]) -> Iterator[str]:
    """Name what is wrong with the parts of a file that are not read as a whole, or not by this check alone."""
    if group == "task":
        yield from _counted(content)
    if group in ("task", "model") and "source" in content:
        yield from (
            f"source: {mistake}" for mistake in instantiate.find_mistakes(content["source"], paths.ROOT / "pipeline")
        )
        yield from source_paths.list_mistakes(content["source"], content.get("name"))
    if group == "model" and not _rate(content.get("learning_rate", 1)):
        yield f"learning_rate: got {content['learning_rate']!r}; give a number above 0"


def _mirrors(groups: dict[str, list[Any]]) -> Iterator[str]:
    """Name the first task and the first model whose folder of the mirror is an output of this project."""
    for group, stage in source_paths.STAGES.items():
        try:
            read(paths.CONF / f"{stage}.yaml", ("defaults",))
        except UserError:
            continue  # reported with the other files that cannot be read
        try:
            mirror = source_paths.read_mirror(stage)
        except UserError as error:
            yield str(error)
            continue
        found = (source_paths.find_mirror_mistake(mirror, group, name) for name in groups[group])
        yield from [*filter(None, found)][:1]


def _rate(value: object) -> bool:
    return is_number(value) and value > 0


def _stated(group: str, content: dict[str, Any]) -> Iterator[str]:
    """Name the first thing that a stage would refuse of a task or a recipe; what interpolates is known to it alone."""
    if group not in PARSED or any("${" in str(value) for key, value in content.items() if key != "learning_rate"):
        return
    if group == "recipe" and isinstance(rate := content.get("learning_rate"), str) and rate.startswith("${"):
        content = {**content, "learning_rate": 1e-4}
    try:
        PARSED[group](content)
    except UserError as error:
        yield str(error)


def _counted(content: dict[str, Any]) -> Iterator[str]:
    """Name what is wrong with the numbers from which the rows of a task's subsets are told."""
    if "train_counts" in content:
        counts = content["train_counts"]
        whole = isinstance(counts, list) and all(is_whole(count, 1) for count in counts)
        if not whole or not counts:
            yield f"train_counts: got {counts!r}; write the rows of each class in train, whole numbers from 1"
    if "selection" in content:
        selection = content["selection"]
        share = selection.get("fraction") if isinstance(selection, dict) else None
        if not is_number(share) or not 0 < share < 1:
            yield f"selection: got {selection!r}; write {{fraction: ..., seed: ...}}, the fraction between 0 and 1"


@cache
def _rows(task: str) -> tuple[int, int]:
    """Return how many rows a task trains on and how many of them it takes for every class to appear.

    The subsets' order gives the i-th of n rows of a class the position (i + 1/2) / n, so the rarest class appears
    as soon as the rows at positions up to its first one are in.
    """
    conf = read(paths.CONF / "task" / f"{task}.yaml", NEEDED["task"])
    carved = 1 - conf["selection"]["fraction"]
    counts = [max(1, round(count * carved)) for count in conf["train_counts"]]
    first = 0.5 / min(counts)
    return sum(counts), sum(math.floor(count * first + 0.5) for count in counts)
