"""Check how cells depend on each other: missing sources, circles, teachers of another task, impossible steps.

It opens no model. A model's shape is read from the config.json that lies where its weights are fetched from, or that
`pretrain` has made; where there is none yet, the stage itself checks what depends on the shape.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.compression.argument_checks import EncoderShape
from pipeline.core import instantiate, paths
from pipeline.core.errors import UserError, suggest
from pipeline.plan import source_paths
from pipeline.plan.load_plan import AXES, read
from pipeline.training.distillation.distillation_settings import load_distillation

Named = dict[str, dict[str, dict[str, Any]]]  # section -> name -> entry


class Made(NamedTuple):
    """What is known of a cell that holds a classifier before it is made."""

    task: str
    model: str
    shape: EncoderShape | None


def find_mistakes(axes: dict[str, list[Any]], named: Named) -> Iterator[str]:
    """Yield what is wrong between the entries of ``distill`` and ``compress`` and what they are made of."""
    made = _list_finetuned(axes, named)
    known = [
        *made,
        *(f"distill/{name}" for name in named["distill"]),
        *(f"compress/{name}" for name in named["compress"]),
    ]
    sources = {f"distill/{name}": ("teacher", entry["teacher"]) for name, entry in named["distill"].items()}
    sources |= {f"compress/{name}": ("source", entry["source"]) for name, entry in named["compress"].items()}
    found = False
    for cell, (key, source) in sources.items():
        if source not in known:
            found = True
            yield f"{cell.replace('/', '.')}.{key}: no cell makes {source!r}; {suggest(source, known)}"
    try:
        order = [*TopologicalSorter({cell: [source] for cell, (_, source) in sources.items()}).static_order()]
    except CycleError as error:
        yield f"{' <- '.join(error.args[1])}: made of itself; name a source that is there before it"
        return
    if not found:
        for cell in order:
            yield from _check_entry(cell, made, named, axes["seeds"])


def _list_finetuned(axes: dict[str, list[Any]], named: Named) -> dict[str, Made]:
    """Return the task and the shape of each fine-tuned cell."""
    grid = {
        f"finetune/{task}-{model}-{ratio}-{recipe}": Made(task, model, _find_shape(model))
        for task, model, ratio, recipe in product(*(axes[axis] for axis in AXES[:4]))
    }
    return grid | {
        f"finetune/{name}": Made(entry["task"], entry["model"], _find_shape(entry["model"]))
        for name, entry in named["variants"].items()
    }


def _check_entry(cell: str, made: dict[str, Made], named: Named, seeds: list[int]) -> Iterator[str]:
    """Check one entry once what it is made of is known, and add what it makes itself to ``made``."""
    stage, _, name = cell.partition("/")
    if stage == "distill":
        entry = named["distill"][name]
        teacher = made[entry["teacher"]]
        if (task := teacher.task) != entry["task"]:
            yield f"distill.{name}.teacher: {entry['teacher']!r} is a teacher for {task}, not for {entry['task']}"
        yield from (f"distill.{name}{mistake}" for mistake in _check_distillation(entry, teacher, seeds))
        made[cell] = Made(entry["task"], entry["student"], _find_student_shape(entry))
    elif stage == "compress":
        entry = named["compress"][name]
        source = made[entry["source"]]
        if _is_int8(entry["source"], named):
            yield f"compress.{name}.source: {entry['source']!r} has int8 weights, which come last; name its own source"
        content = _read_file("compression", entry["compression"])
        where = f"compress.{name}: conf/compression/{entry['compression']}.yaml"
        yield from (f"{where}: {mistake}" for mistake in _check_method(content, source.shape))
        made[cell] = source if getattr(_load_method(content), "KEEPS_SHAPE", False) else source._replace(shape=None)


def _check_distillation(entry: Mapping[str, Any], teacher: Made, seeds: list[int]) -> Iterator[str]:
    """Yield what is wrong with the file of a distillation, and with what it asks of the teacher."""
    name = entry["distillation"]
    where = f": conf/distillation/{name}.yaml"
    try:
        settings = load_distillation(_read_file("distillation", name))
    except UserError:
        return  # reported with the file
    if settings.teacher_seed is not None and settings.teacher_seed not in seeds:
        yield f"{where}: teacher_seed: got {settings.teacher_seed}; {suggest(settings.teacher_seed, seeds)}"
    if not isinstance(settings.start, int):
        return
    if teacher.shape and settings.start > teacher.shape.layers:
        yield f"{where}: start: every: got {settings.start} of a teacher of {teacher.shape.layers} layers"
    if entry["student"] != teacher.model:
        made = f"conf/distillation/{name}.yaml makes it of the teacher's layers"
        yield f".student: got {entry['student']!r}, but {made}; write {teacher.model!r}, of which the teacher is made"


def _check_method(content: Mapping[str, Any], shape: EncoderShape | None) -> Iterator[str]:
    """Yield the mistakes that a method's check finds in its settings; a user's method may have no check."""
    package = paths.ROOT / "pipeline"
    if found := [*instantiate.find_mistakes(content.get("method"), package)]:
        yield from (f"method: {mistake}" for mistake in found)
        return
    method = _load_method(content)
    if not hasattr(method, "check"):
        return
    settings = {key: value for key, value in content["method"].items() if key != "_target_"}
    try:
        instantiate.validate_arguments(method.apply, settings, "method", without=("model", "calibration"))
    except UserError as error:
        yield str(error)
        return
    yield from (f"method: {mistake}" for mistake in method.check(shape, **settings))


def _load_method(content: Mapping[str, Any]) -> Any:
    """Return the module of a compression's method, None where it cannot be imported; it imports no torch."""
    method = content.get("method")
    target = method.get("_target_") if isinstance(method, Mapping) else None
    if not str(target).startswith("pipeline.compression."):
        return None
    with suppress(ImportError):
        return import_module(str(target).rpartition(".")[0])
    return None


def _is_int8(source: str, named: Named) -> bool:
    stage, _, name = source.partition("/")
    if stage != "compress":
        return False
    content = _read_file("compression", named["compress"][name]["compression"])
    return getattr(_load_method(content), "MUST_BE_LAST", False)


def _find_student_shape(entry: Mapping[str, Any]) -> EncoderShape | None:
    return (
        _find_shape(entry["student"])
        if isinstance(_read_file("distillation", entry["distillation"]).get("start"), str)
        else None
    )


@cache
def _read_file(group: str, name: str) -> dict[str, Any]:
    """Return the content of a file of conf/, empty where it cannot be read, which is reported elsewhere."""
    try:
        return read(paths.CONF / group / f"{name}.yaml", ())
    except UserError:
        return {}


@cache
def _find_shape(model: str) -> EncoderShape | None:
    """Return how large a model is, None where no file has it yet."""
    source = _read_file("model", model).get("source")
    folders = [paths.get_model_dir(model)]
    if isinstance(source, Mapping) and isinstance(source.get("path"), str):
        folders.insert(0, paths.ROOT / source["path"])
    with suppress(UserError):  # a mirror that cannot be known, which is reported where it is used
        if mirror := source_paths.read_mirror("pretrain"):
            folders.insert(0, Path(mirror).expanduser() / "models" / model)
    for folder in folders:
        file = folder / "config.json"
        try:
            if file.is_file():
                return EncoderShape.from_config(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError):
            continue
    return None
