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
GROUPS = {"tasks": "task", "models": "model", "task": "task", "model": "model", "recipe": "recipe"}
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
RECIPE = "standard"  # how the grid is fine-tuned; a variant names its own
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

    Raises UserError with every mistake in it, a line each.
    """
    content = read(path)
    mistakes = [f"{path.name}: {mistake}" for mistake in check(content)]
    if mistakes:
        raise UserError("\n".join(mistakes))
    variants = {
        name: Variant(**{**entry, "ratio": float(entry["ratio"])})
        for name, entry in (content.get("variants") or {}).items()
    }
    axes = {axis: tuple(content[axis]) for axis in AXES}
    return Plan(**axes, variants=variants)


def read(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file, read as DVC reads it (YAML 1.2, no key twice).

    Raises UserError naming the file and the line.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.name}: no such file; copy one of conf/plan/ to it") from None
    except (YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{path.name}: {where}not YAML that can be read: {reason}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path.name}: got {type(content).__name__}; write one section a key: {', '.join(AXES)}")
    return content


def check(content: dict[str, Any]) -> list[str]:
    """Return every mistake in the content of ``params.yaml``, an empty list for a sound plan."""
    mistakes = [*_keys(content, (*AXES, "variants"))]
    for axis in ("tasks", "models"):
        mistakes += _axis(content, axis, partial(_known, group=GROUPS[axis]))
    mistakes += _axis(content, "ratios", _ratio)
    mistakes += _axis(content, "seeds", _seed)
    mistakes += _variants(content)
    return mistakes or [*_duplicates(content), *_empty_classes(content)]


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
        elif found := _known(entry[key], GROUPS[key]):
            yield f"{key}: {found}"
        elif key != "recipe" and entry[key] not in (made := _list(content.get(f"{key}s"))):
            yield f"{key}: no cell makes {entry[key]!r}; add it to {key}s, or name one of them ({', '.join(made)})"


def _list(value: object) -> list[str]:
    return [str(entry) for entry in value] if isinstance(value, list) else []


def _duplicates(content: dict[str, Any]) -> Iterator[str]:
    """Name cells that would write the same files, such as a variant that bears the name of a cell of the grid."""
    names = [f"{t}-{m}-{r}" for t in content["tasks"] for m in content["models"] for r in content["ratios"]]
    for name, count in Counter([*names, *(content.get("variants") or {})]).items():
        if count > 1:
            yield f"{count} cells would write runs/finetune/{name}; rename one"


def _empty_classes(content: dict[str, Any]) -> Iterator[str]:
    """Name ratios whose share of the training rows would leave a class out."""
    points = [(task, f"ratios[{i}]", r) for task in content["tasks"] for i, r in enumerate(content["ratios"])]
    points += [(v["task"], f"variants.{name}.ratio", v["ratio"]) for name, v in (content.get("variants") or {}).items()]
    for task, where, ratio in points:
        rows, least = _rows(task)
        if round(ratio * rows) < least:
            yield (
                f"{where}: {ratio} of {task} is {round(ratio * rows)} training rows, too few for every class to "
                f"appear; use at least {math.ceil((least + 0.5) / rows * 1e4) / 1e4}"
            )


@cache
def _rows(task: str) -> tuple[int, int]:
    """Return how many rows a task trains on and how many of them it takes for every class to appear.

    The subsets' order gives the i-th of n rows of a class the position (i + 1/2) / n, so the rarest class appears
    as soon as the rows at positions up to its first one are in.
    """
    conf = read(paths.CONF / "task" / f"{task}.yaml")
    carved = 1 - conf["selection"]["fraction"]
    counts = [round(count * carved) for count in conf["train_counts"]]
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
