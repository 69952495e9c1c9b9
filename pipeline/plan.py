"""``params.yaml`` as typed objects, and the check that runs before the first second of work.

``python -m pipeline.plan`` reports every mistake of the plan at once and loads no model.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.errors import UserError, ending, near

AXES = ("tasks", "models", "ratios", "seeds")
VARIANT = ("task", "model", "ratio", "recipe")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
RECIPE = "standard"  # how the grid is fine-tuned; a variant names its own
NEEDED = {  # keys without which a file of conf/ says too little
    "task": ("name", "source", "train_counts", "selection"),
    "model": ("name", "source"),
    "recipe": ("name",),
}
CHECKED = paths.CACHE / "plan-is-sound"


@dataclass(frozen=True)
class Cell:
    """A stage at one point of the grid: its DVC address, its name in files, and its coordinates."""

    stage: str
    name: str
    address: str
    needs: tuple[str, ...]
    task: str | None = None
    model: str | None = None
    ratio: float | None = None
    recipe: str | None = None
    beside_grid: bool = False


@dataclass(frozen=True)
class Variant:
    """A cell beside the grid, under a name of its own."""

    task: str
    model: str
    ratio: float
    recipe: str


@dataclass(frozen=True)
class Plan:
    """What runs: the axes of the grid and the variants beside it."""

    tasks: tuple[str, ...]
    models: tuple[str, ...]
    ratios: tuple[float, ...]
    seeds: tuple[int, ...]
    variants: dict[str, Variant]

    @property
    def cells(self) -> list[Cell]:
        """Return every cell in story order."""
        return [*self._prepare(), *self._pretrain(), *self.results("finetune"), *self.results("evaluate")]

    def results(self, stage: str) -> list[Cell]:
        """Return the cells of ``finetune`` or ``evaluate``: the grid first, then the variants."""
        grid = [
            (f"{task}-{model}-{ratio}", "", Variant(task, model, ratio, RECIPE))
            for task in self.tasks
            for model in self.models
            for ratio in self.ratios
        ]
        beside = [(name, "-variant", variant) for name, variant in self.variants.items()]
        return [_result(stage, *entry) for entry in grid + beside]

    def _prepare(self) -> Iterator[Cell]:
        for task in self.tasks:
            yield Cell("prepare", task, f"prepare@{task}", ("plan",), task=task)

    def _pretrain(self) -> Iterator[Cell]:
        for model in self.models:
            yield Cell("pretrain", model, f"pretrain@{model}", ("plan",), model=model)


def _result(stage: str, name: str, block: str, at: Variant) -> Cell:
    sources = [f"prepare@{at.task}"]
    sources.append(f"finetune{block}@{name}" if stage == "evaluate" else f"pretrain@{at.model}")
    address = f"{stage}{block}@{name}"
    return Cell(stage, name, address, tuple(sources), at.task, at.model, at.ratio, at.recipe, beside_grid=bool(block))


def load(path: Path = paths.PARAMS) -> Plan:
    """Return the plan in ``path``.

    Raises UserError with every mistake in it and in the files of conf/ that it names, a line each.
    """
    content = read(path)
    mistakes = [f"{_shown(path)}: {mistake}" for mistake in check(content)]
    if mistakes := [*mistakes, *_files(content)]:
        raise UserError("\n".join(mistakes))
    variants = {
        name: Variant(**{**entry, "ratio": float(entry["ratio"])})
        for name, entry in (content.get("variants") or {}).items()
    }
    axes = {axis: tuple(content[axis]) for axis in AXES}
    return Plan(**axes, variants=variants)


def read(path: Path, keys: Iterable[str] = AXES) -> dict[str, Any]:
    """Return the mapping in a YAML file, read as DVC reads it (YAML 1.2, no key twice).

    Raises UserError naming the file and the line; ``keys`` are some that it is expected to hold.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{_shown(path)}: no such file; copy one of conf/plan/ to it") from None
    except (YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{_shown(path)}: {where}not YAML that can be read: {reason}") from None
    if not isinstance(content, dict):
        got = "nothing" if content is None else type(content).__name__
        raise UserError(f"{_shown(path)}: got {got}; write keys and their values: {', '.join(keys)}")
    return content


def _shown(path: Path) -> str:
    """Return what a message calls a file: its place in the project, or its bare name."""
    return str(path.relative_to(paths.ROOT)) if path.is_relative_to(paths.ROOT) else path.name


def check(content: dict[str, Any]) -> list[str]:
    """Return every mistake in the content of ``params.yaml``, an empty list for a sound plan.

    What is wrong between entries (outputs written twice, a ratio too small for a task) is looked for among the
    entries that are sound by themselves.
    """
    mistakes = [*_keys(content, (*AXES, "variants"))]
    for axis, mistake in ENTRIES.items():
        mistakes += _axis(content, axis, mistake)
    mistakes += _variants(content)
    return [*mistakes, *_duplicates(content), *_empty_classes(content)]


def _keys(content: dict[Any, Any], allowed: tuple[str, ...]) -> Iterator[str]:
    for key in content:
        if key not in allowed:
            yield f"{key}: unknown section; {near(key, allowed)}"


def _axis(content: dict[str, Any], axis: str, mistake: Callable[[object], str | None]) -> Iterator[str]:
    """Check that an axis is a list without repetition whose every entry is sound."""
    entries = content.get(axis)
    if not isinstance(entries, list) or not entries:
        yield f"{axis}: got {entries!r}; write a list with at least one entry"
        return
    for index, entry in enumerate(entries):
        if found := mistake(entry):
            yield f"{axis}[{index}]: {found}"
    counts = Counter(entry for entry in entries if not mistake(entry))
    for entry, count in counts.items():
        if count > 1:
            yield f"{axis}: {entry!r} stands {count} times, so its outputs would be written twice; keep one"


@cache
def _names(group: str) -> frozenset[str]:
    return frozenset(path.stem for path in (paths.CONF / group).glob("*.yaml"))


def _known(name: object, group: str) -> str | None:
    if not isinstance(name, str):
        return f"got {name!r}; write the name of a file in conf/{group}/"
    if name not in _names(group):
        return f"no {group} {name!r} in conf/{group}/; {near(name, _names(group))}"
    return None


def _ratio(ratio: object) -> str | None:
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)) or not 0 < ratio <= 1:
        return f"got {ratio!r}; a ratio is a number above 0 and at most 1"
    return None


def _seed(seed: object) -> str | None:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        return f"got {seed!r}; a seed is a whole number from 0 to {2**32 - 1}"
    return None


ENTRIES: dict[str, Callable[[object], str | None]] = {  # what is wrong with an entry of an axis, or None
    "tasks": partial(_known, group="task"),
    "models": partial(_known, group="model"),
    "ratios": _ratio,
    "seeds": _seed,
}


def _sound(content: dict[str, Any], axis: str) -> list[Any]:
    """Return the entries of an axis that are sound by themselves, each once."""
    entries = content.get(axis)
    return list(dict.fromkeys(e for e in entries if not ENTRIES[axis](e))) if isinstance(entries, list) else []


def _sound_variants(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the variants that are sound by themselves."""
    entries = content.get("variants")
    return {
        name: entry
        for name, entry in (entries.items() if isinstance(entries, dict) else ())
        if isinstance(name, str)
        and NAME.fullmatch(name)
        and isinstance(entry, dict)
        and not [*_variant(entry, content)]
    }


def _variants(content: dict[str, Any]) -> Iterator[str]:
    entries = content.get("variants")
    if entries is None:
        entries = {}
    if not isinstance(entries, dict):
        yield f"variants: got {type(entries).__name__}; write one entry a variant, or {{}} for none"
        return
    for name, entry in entries.items():
        where = f"variants.{name}"
        if not isinstance(name, str) or not NAME.fullmatch(name):
            yield f"{where}: a name starts with a letter and holds letters, digits, '-' and '_' (DVC loses others)"
        elif not isinstance(entry, dict):
            yield f"{where}: got {entry!r}; write {{{', '.join(f'{key}: ...' for key in VARIANT)}}}"
        else:
            yield from (f"{where}.{mistake}" for mistake in _variant(entry, content))


def _variant(entry: dict[str, Any], content: dict[str, Any]) -> Iterator[str]:
    for key in entry:
        if key not in VARIANT:
            yield f"{key}: unknown key; {near(key, VARIANT)}"
    for key in VARIANT:
        if key not in entry:
            yield f"{key}: missing; a variant names {', '.join(VARIANT)}"
        elif key == "ratio":
            if found := _ratio(entry[key]):
                yield f"ratio: {found}"
        elif found := _known(entry[key], key):
            yield f"{key}: {found}"
        elif key != "recipe" and entry[key] not in (made := _list(content.get(f"{key}s"))):
            yield f"{key}: no cell makes {entry[key]!r}; add it to {key}s, or name one of them ({', '.join(made)})"


def _list(value: object) -> list[str]:
    return [str(entry) for entry in value] if isinstance(value, list) else []


def _duplicates(content: dict[str, Any]) -> Iterator[str]:
    """Name cells that would write the same files, such as a variant that bears the name of a cell of the grid."""
    tasks, models, ratios = (_sound(content, axis) for axis in ("tasks", "models", "ratios"))
    names = [f"{task}-{model}-{ratio}" for task in tasks for model in models for ratio in ratios]
    for name, count in Counter([*names, *_sound_variants(content)]).items():
        if count > 1:
            yield f"{count} cells would write runs/finetune/{name}; rename one"


def _empty_classes(content: dict[str, Any]) -> Iterator[str]:
    """Name ratios whose share of the training rows would leave a class out."""
    axis = content.get("ratios")
    ratios = [(i, ratio) for i, ratio in enumerate(axis) if not _ratio(ratio)] if isinstance(axis, list) else []
    points = [(task, f"ratios[{i}]", ratio) for task in _sound(content, "tasks") for i, ratio in ratios]
    points += [(v["task"], f"variants.{name}.ratio", v["ratio"]) for name, v in _sound_variants(content).items()]
    for task, where, ratio in points:
        if _file("task", task):
            continue  # its own mistakes are told first
        rows, least = _rows(task)
        if round(ratio * rows) < least:
            yield (
                f"{where}: {ratio} of {task} is {round(ratio * rows)} training rows, too few for every class to "
                f"appear; use at least {math.ceil((least + 0.5) / rows * 1e4) / 1e4}"
            )


def _files(content: dict[str, Any]) -> Iterator[str]:
    """Name what is wrong with the files of conf/ that the plan names."""
    for task in _sound(content, "tasks"):
        yield from _file("task", task)
    for model in _sound(content, "models"):
        yield from _file("model", model)
    for recipe in dict.fromkeys([RECIPE, *(entry["recipe"] for entry in _sound_variants(content).values())]):
        yield from _file("recipe", recipe)


@cache
def _file(group: str, name: str) -> tuple[str, ...]:
    """Return the mistakes in a file of conf/ that would come to light in the middle of a run, or not at all."""
    path = paths.CONF / group / f"{name}.yaml"
    try:
        content = read(path, NEEDED[group])
    except UserError as error:
        return (str(error),)
    needed = ", ".join(NEEDED[group])
    missing = [f"{key}: missing; a {group} states {needed}" for key in NEEDED[group] if key not in content]
    mistakes = [*missing, *_named(content, name), *(_counted(content) if group == "task" else ())]
    return tuple(f"{_shown(path)}: {mistake}" for mistake in mistakes)


def _named(content: dict[str, Any], name: str) -> Iterator[str]:
    if "name" in content and content["name"] != name:
        yield f"name: got {content['name']!r}, but outputs are looked for under the file's name; write name: {name}"


def _counted(content: dict[str, Any]) -> Iterator[str]:
    """Name what is wrong with the numbers from which the rows of a task's subsets are told."""
    if "train_counts" in content:
        counts = content["train_counts"]
        whole = isinstance(counts, list) and all(type(count) is int and count > 0 for count in counts)
        if not whole or not counts:
            yield f"train_counts: got {counts!r}; write the rows of each class in train, whole numbers from 1"
    if "selection" in content:
        selection = content["selection"]
        share = selection.get("fraction") if isinstance(selection, dict) else None
        if not isinstance(share, (int, float)) or not 0 < share < 1:
            yield f"selection: got {selection!r}; write {{fraction: ..., seed: ...}}, the fraction between 0 and 1"


@cache
def _rows(task: str) -> tuple[int, int]:
    """Return how many rows a task trains on and how many of them it takes for every class to appear.

    The subsets' order gives the i-th of n rows of a class the position (i + 1/2) / n, so the rarest class appears
    as soon as the rows at positions up to its first one are in.
    """
    conf = read(paths.CONF / "task" / f"{task}.yaml")
    carved = 1 - conf["selection"]["fraction"]
    counts = [max(1, round(count * carved)) for count in conf["train_counts"]]
    first = 0.5 / min(counts)
    return sum(counts), sum(math.floor(count * first + 0.5) for count in counts)


def register_resolver() -> None:
    """Let ``${plan:seeds}`` and its kin in ``conf/sweep/`` read the axes of ``params.yaml``."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("plan", lambda axis: _joined(getattr(load_or_exit(), axis)), replace=True)


def _joined(values: Iterable[object]) -> str:
    return ",".join(str(value) for value in values)


def load_or_exit() -> Plan:
    """Return the plan, or end the process with a line for each mistake."""
    with ending():
        return load()


def main() -> None:
    """Check the plan and leave word for DVC that it is sound."""
    plan = load_or_exit()
    CHECKED.parent.mkdir(exist_ok=True)
    CHECKED.write_text("checked\n", encoding="utf-8")  # always the same, so that it makes nothing stale
    print(f"params.yaml: {len(plan.cells)} cells, {len(plan.seeds)} seeds each: no mistakes found")


if __name__ == "__main__":
    main()
