"""All mistakes of a plan at once: in params.yaml, between its parts, and in the files of conf/ that it names."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from pipeline.core import instantiate, paths, validation
from pipeline.core.errors import UserError
from pipeline.evaluation.benchmark_settings import find_uneven_batch
from pipeline.plan import conf_files, dependencies, source_paths
from pipeline.plan.dependencies import Named
from pipeline.plan.load_plan import AXES, format_path, read
from pipeline.plan.schema import SECTIONS, TIMED_AXES, PlanFile
from pipeline.plan.yaml_versions import find_misread

TEXTS = {"task": ("labels",)}  # lists in a file of conf/ whose entries are text, even where YAML reads numbers
MADE_BY = {"task": "tasks", "model": "models", "student": "models"}  # key of an entry -> axis that makes its value
NAMED_FILES = ("recipe", "distillation", "compression")  # groups of conf/ that entries name
# DVC rewrites its whole lock file after each cell: at a thousand cells that takes two seconds each.
MAX_CELLS = 5000

Axes = dict[str, list[Any]]
Places = set[tuple[int | str, ...]]


def check(content: dict[str, Any]) -> list[str]:
    """Return every mistake in the content of ``params.yaml``, an empty list for a sound plan.

    Mistakes between entries (outputs written twice, a ratio too small for a task, a source that no cell makes) are
    looked for among the entries that have no mistake by themselves.
    """
    if (cells := _count_cells(content)) > MAX_CELLS:
        return [f"{cells:,} cells; DVC can bear some thousand, at most {MAX_CELLS:,} are taken: make an axis shorter"]
    mistakes = validation.find_mistakes(PlanFile, content)
    unmade = [*_find_unmade(content, {mistake.location for mistake in mistakes})]
    invalid = {mistake.location[:2] for mistake in [*mistakes, *unmade]}
    axes = {axis: _select_valid(content, axis, invalid) for axis in AXES}
    named = {section: _select_valid_entries(content, section, invalid) for section in SECTIONS}
    distinct = {axis: list(dict.fromkeys(entries)) for axis, entries in axes.items()}
    return [
        *(mistake.text for mistake in [*mistakes, *unmade]),
        *_check_benchmark(content, {mistake.location for mistake in mistakes}),
        *_check_repeats(axes, "; its outputs would be written twice; keep one"),
        *_check_outputs(distinct, named),
        *_check_classes(content, distinct, named, invalid),
        *dependencies.find_mistakes(distinct, named),
    ]


def _count_cells(content: dict[str, Any]) -> int:
    """Return how many cells the lists of a plan would make, valid or not."""
    benchmark = content.get("benchmark")
    tasks, models, ratios, recipes = (_length(content.get(axis)) for axis in AXES[:4])
    named = sum(_length(content.get(section)) for section in SECTIONS)
    timed = [_length(benchmark.get(axis)) for axis in TIMED_AXES] if isinstance(benchmark, dict) else [0]
    return tasks + models + 2 * (tasks * models * ratios * recipes + named) + math.prod(timed)


def _length(given: object) -> int:
    return len(given) if isinstance(given, (list, dict)) else 0


def _select_valid(content: dict[str, Any], axis: str, invalid: Places) -> list[Any]:
    """Return the entries of an axis that have no mistake by themselves."""
    given = content.get(axis)
    return [each for i, each in enumerate(given) if (axis, i) not in invalid] if isinstance(given, list) else []


def _select_valid_entries(content: dict[str, Any], section: str, invalid: Places) -> dict[str, dict[str, Any]]:
    """Return the entries of a section, by name, that have no mistake by themselves."""
    given = content.get(section)
    entries = given.items() if isinstance(given, dict) else ()
    return {name: entry for name, entry in entries if (section, name) not in invalid}


def _find_unmade(content: dict[str, Any], invalid: Places) -> Iterator[validation.Mistake]:
    """Yield the tasks and models of entries that no cell makes."""
    for section in SECTIONS:
        given = content.get(section)
        for name, entry in given.items() if isinstance(given, dict) else ():
            for key, axis in MADE_BY.items():
                place = (section, name, key)
                if isinstance(entry, dict) and key in entry and not any(place[: len(bad)] == bad for bad in invalid):
                    yield from _check_made(place, entry[key], content, axis)


def _check_made(
    place: tuple[int | str, ...], name: str, content: dict[str, Any], axis: str
) -> Iterator[validation.Mistake]:
    given = content.get(axis)
    made = [str(entry) for entry in given] if isinstance(given, list) else []
    if name not in made:
        advice = f"add it to {axis}, or name one of them ({', '.join(made)})"
        yield validation.Mistake(place, f"{'.'.join(map(str, place))}: no cell makes {name!r}; {advice}")


def _check_benchmark(content: dict[str, Any], invalid: Places) -> Iterator[str]:
    """Yield models and tasks that no cell makes, values that are repeated, and batches that cannot be shared."""
    benchmark = content.get("benchmark")
    if not isinstance(benchmark, dict):
        return
    bad = {place[1] for place in invalid if place[0] == "benchmark" and len(place) > 1}
    if "task" in benchmark and "task" not in bad:
        for mistake in _check_made(("benchmark", "task"), benchmark["task"], content, "tasks"):
            yield mistake.text
    lists = {axis: benchmark[axis] for axis in TIMED_AXES if axis in benchmark and axis not in bad}
    for name in lists.get("models", ()):
        for mistake in _check_made(("benchmark", "models"), name, content, "models"):
            yield mistake.text
    yield from _check_repeats({f"benchmark.{axis}": values for axis, values in lists.items()}, "; keep one")
    for batch, processes in product(lists.get("batches", ()), lists.get("processes", ())):
        if uneven := find_uneven_batch(batch, processes):
            yield f"benchmark.batches: {uneven}"


def _check_repeats(axes: Axes, advice: str) -> Iterator[str]:
    for axis, entries in axes.items():
        for entry, count in Counter(entries).items():
            if count > 1:
                yield f"{axis}: {entry!r} is there {count} times{advice}"


def _check_outputs(axes: Axes, named: Named) -> Iterator[str]:
    """Yield cells that would write the same files, such as a variant with the name of a cell of the grid."""
    grid = ["-".join(map(str, point)) for point in product(*(axes[axis] for axis in AXES[:4]))]
    finetuned = Counter([*grid, *named["variants"]])
    for name, count in finetuned.items():
        if count > 1:
            yield f"{count} cells would write runs/finetune/{name}; rename one"
    for name, count in Counter([*finetuned, *named["distill"], *named["compress"]]).items():
        if count > 1:
            yield f"{count} cells would write runs/evaluate/{name}; rename one"


def _check_classes(content: dict[str, Any], axes: Axes, named: Named, invalid: Places) -> Iterator[str]:
    """Yield ratios whose share of the training rows would lack a class."""
    given = content.get("ratios")
    ratios = (
        [(f"ratios[{i}]", ratio) for i, ratio in enumerate(given) if ("ratios", i) not in invalid]
        if isinstance(given, list)
        else []
    )
    points = [(task, place, ratio) for task in axes["tasks"] for place, ratio in ratios]
    for section in ("variants", "distill"):
        points += [(e["task"], f"{section}.{name}.ratio", e["ratio"]) for name, e in named[section].items()]
    for task, place, ratio in points:
        if find_file_mistakes("task", task):
            continue  # reported with the file
        rows, least = _count_rows(task)
        if round(ratio * rows) < least:
            yield (
                f"{place}: {ratio} of {task} is {round(ratio * rows)} training rows, too few for every class to "
                f"appear; use at least {min(1.0, math.ceil((least + 0.5) / rows * 1e4) / 1e4)}"
            )


@cache
def _count_rows(task: str) -> tuple[int, int]:
    """Return how many rows a task trains on, and how many of them contain every class.

    The subsets' order gives the i-th of n rows of a class the position (i + 1/2) / n, so the rarest class appears
    as soon as the rows at positions up to its first one are in.
    """
    conf = read(paths.CONF / "task" / f"{task}.yaml")
    kept = 1 - conf["selection"]["fraction"]
    counts = [max(1, round(count * kept)) for count in conf["train_counts"]]
    first = 0.5 / min(counts)
    return sum(counts), sum(math.floor(count * first + 0.5) for count in counts)


def list_conf_mistakes(content: dict[str, Any]) -> Iterator[str]:
    """Yield the mistakes in the files of conf/ that the plan names, and in those of stages and sweeps."""
    invalid = {mistake.location[:2] for mistake in validation.find_mistakes(PlanFile, content)}
    groups = {
        "task": _select_valid(content, "tasks", invalid),
        "model": _select_valid(content, "models", invalid),
        "recipe": _select_valid(content, "recipes", invalid),
    }
    for section in SECTIONS:
        for entry in _select_valid_entries(content, section, invalid).values():
            for group in NAMED_FILES:
                groups.setdefault(group, []).extend([entry[group]] if group in entry else [])
    yield from _check_mirrors(groups)
    for group, names in groups.items():
        for name in dict.fromkeys(names):
            yield from find_file_mistakes(group, name)
    sweeps = sorted((paths.CONF / "sweep").glob("*.yaml"))
    for path in [*(paths.CONF / f"{stage}.yaml" for stage in conf_files.STAGES), *sweeps]:
        yield from _find_composed_mistakes(path)


@cache
def find_file_mistakes(group: str, name: str) -> tuple[str, ...]:
    """Return the mistakes in a file of conf/<group>/; a compression's method is checked with its source."""
    path = paths.CONF / group / f"{name}.yaml"
    try:
        content = read(path, tuple(conf_files.GROUPS[group].model_fields))
    except UserError as error:
        return (str(error),)
    mistakes = [*find_misread(path, TEXTS.get(group, ()))]
    if content.get("name", name) != name:
        mistakes.append(
            f"name: got {content['name']!r}, but outputs are looked for under the file's name; write name: {name}"
        )
    mistakes += [each.text for each in conf_files.find_group_mistakes(group, content, interpolated=True)]
    if group in source_paths.STAGES and "source" in content:
        mistakes += [
            f"source: {each}" for each in instantiate.find_mistakes(content["source"], paths.ROOT / "pipeline")
        ]
        mistakes += source_paths.list_mistakes(content["source"], content.get("name"))
    return tuple(f"{format_path(path)}: {mistake}" for mistake in dict.fromkeys(mistakes))


@cache
def _find_composed_mistakes(path: Path) -> tuple[str, ...]:
    """Return the mistakes in a file of conf/ that Hydra composes: of a stage, or of a sweep."""
    try:
        content = read(path, ("defaults",))
    except UserError as error:
        return (str(error),)
    if path.parent == paths.CONF:
        found = conf_files.find_stage_mistakes(path.stem, content, interpolated=True)
    else:
        found = conf_files.find_sweep_mistakes(content)
    return tuple(f"{format_path(path)}: {mistake}" for mistake in [*find_misread(path), *(each.text for each in found)])


def _check_mirrors(groups: dict[str, list[Any]]) -> Iterator[str]:
    """Yield the first task and the first model whose folder of the mirror is an output of this project."""
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
        mistakes = (source_paths.find_mirror_mistake(mirror, group, name) for name in groups[group])
        yield from [*filter(None, mistakes)][:1]
