"""A task as ``conf/task/<task>.yaml`` states it: what its columns, labels, metrics and splits are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core import conf_keys
from pipeline.core.errors import UserError, suggest
from pipeline.core.validators import MAX_INT, NAME_RULE, is_name, is_number, is_whole
from pipeline.tasks.labels import find_equal_numerals

SELECTION = ("fraction", "seed")
COLUMNS = ("text_a", "text_b", "label")
CLASSIFICATION = ("accuracy", "f1", "matthews_correlation")
REGRESSION = ("pearson", "spearmanr")
KEYS = conf_keys.TASK


@dataclass(frozen=True)
class Task:
    """One task: ``labels`` in the order of their numbers, or for a regression the ``range`` (lowest, highest).

    ``columns`` leads from the prepared columns (``text_a``, ``text_b``, ``label``) to those of the source;
    ``train_counts`` are the rows of each class in the source's train split, or the one count of a regression.
    """

    name: str
    columns: dict[str, str]
    labels: tuple[str, ...] | None
    range: tuple[float, float] | None
    metrics: tuple[str, ...]
    score: str
    report: str
    train_counts: tuple[int, ...]
    selection_fraction: float
    selection_seed: int
    subset_seed: int
    max_length: int

    @property
    def regression(self) -> bool:
        """Return whether the label is a number to predict rather than a class."""
        return self.labels is None

    @property
    def texts(self) -> tuple[str, ...]:
        """Return the prepared columns that hold text: one, or two for a task on pairs."""
        return tuple(column for column in ("text_a", "text_b") if column in self.columns)


def parse(conf: Mapping[str, Any]) -> Task:
    """Return the task that a conf file states.

    Raises UserError, naming the file and the key, for what is missing or not allowed.
    """
    where = f"conf/task/{conf.get('name', '?')}.yaml"
    for key in KEYS:
        if key not in conf:
            raise UserError(f"{where}: {key}: missing; a task states {', '.join(KEYS)}")
    for mistake in [*conf_keys.find_unknown(conf, conf_keys.GROUPS["task"]), *_kinds(conf)]:
        raise UserError(f"{where}: {mistake}")
    labels, span, selection = conf["labels"], conf.get("range"), conf["selection"]
    task = Task(
        name=conf["name"],
        columns={key: name for key, name in conf["columns"].items() if name is not None},
        labels=None if labels is None else tuple(str(label) for label in labels),
        range=None if span is None else (float(span[0]), float(span[1])),
        metrics=tuple(conf["metrics"]),
        score=conf["score"],
        report=conf["report"],
        train_counts=tuple(conf["train_counts"]),
        selection_fraction=selection["fraction"],
        selection_seed=selection["seed"],
        subset_seed=conf["subset_seed"],
        max_length=conf["max_length"],
    )
    for mistake in _mistakes(task):
        raise UserError(f"{where}: {mistake}")
    return task


def _kinds(conf: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is of another kind than a task states under its key: a list, a name, a mapping."""
    if not is_name(conf["name"]):
        yield f"name: got {conf['name']!r}; {NAME_RULE}"
    for key in ("score", "report"):
        if not isinstance(conf[key], str):
            yield f"{key}: got {conf[key]!r}; write a name"
    columns, selection, span = conf["columns"], conf["selection"], conf.get("range")
    if not isinstance(columns, Mapping) or not all(isinstance(name, str | None) for name in columns.values()):
        yield f"columns: got {columns!r}; name the source's column for each of {', '.join(COLUMNS)}"
    if not isinstance(selection, Mapping) or set(selection) != set(SELECTION):
        yield f"selection: got {_plain(selection)}; give a fraction and a seed, and no other key"
    for key in ("metrics", "train_counts", *(("labels",) if conf["labels"] is not None else ())):
        given = conf[key]
        if not isinstance(given, (list, tuple)) or any(isinstance(each, (list, tuple, Mapping)) for each in given):
            yield f"{key}: got {given!r}; write a list"
        elif key == "labels":
            yield from _misread_names(given)
    if span is not None and not (
        isinstance(span, (list, tuple)) and len(span) == 2 and all(map(is_number, span)) and span[0] < span[1]
    ):
        yield f"range: got {span!r}; write the lowest and the highest number"


def _misread_names(labels: Sequence[object]) -> Iterator[str]:
    """Yield the class names that YAML did not read as text or as a plain whole number."""
    for index, label in enumerate(labels):
        if isinstance(label, bool) or not isinstance(label, (str, int)):
            written = json.dumps(label) if label is None or isinstance(label, (bool, float)) else str(label)
            words = " (or as the data write it: yes, no, on, off)" if isinstance(label, bool) else ""
            yield f'labels[{index}]: got {written}, which is no text; put it in quotes: "{written}"{words}'
        elif label == "":
            yield f"labels[{index}]: got an empty text; a class name holds at least one character"


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) or "nothing" if isinstance(value, Mapping) else repr(value)


def _mistakes(task: Task) -> Iterator[str]:
    """Yield what is not allowed in a task."""
    for column in task.columns:
        if column not in COLUMNS:
            yield f"columns.{column}: unknown; {suggest(column, COLUMNS)}"
    for column in ("text_a", "label"):
        if column not in task.columns:
            yield f"columns.{column}: missing; name the source's column"
    if (task.labels is None) == (task.range is None):
        yield "labels: give either the labels of a classification or the range of a regression"
    classes = len(task.labels or ())
    if not task.regression and (classes < 2 or len(set(task.labels or ())) < classes):
        yield f"labels: got {', '.join(task.labels or ())}; name at least two, each once, in the order of their numbers"
    if equal := find_equal_numerals(task.labels or ()):
        yield f"labels: {equal[0]!r} and {equal[1]!r} are the same number; rename one of them, in the data too"
    allowed = REGRESSION if task.regression else CLASSIFICATION
    for metric in task.metrics:
        if metric not in allowed:
            yield f"metrics: got {metric!r}; {suggest(metric, allowed)}"
    if "f1" in task.metrics and classes != 2:
        yield f"metrics: f1 is that of the second of two labels, but there are {classes}"
    if task.score not in task.metrics:
        yield f"score: got {task.score!r}; {suggest(task.score, task.metrics)}"
    if len(task.train_counts) != max(classes, 1):
        yield f"train_counts: got {len(task.train_counts)} counts; give {max(classes, 1)}, one a label"
    if not all(is_whole(count, 1) for count in task.train_counts):
        yield f"train_counts: got {list(task.train_counts)!r}; write the rows of each class, whole numbers from 1"
    if not is_number(task.selection_fraction) or not 0 < task.selection_fraction < 1:
        yield f"selection.fraction: got {task.selection_fraction!r}; it lies between 0 and 1"
    seeds: dict[str, Any] = {"selection.seed": task.selection_seed, "subset_seed": task.subset_seed}
    for key, seed in seeds.items():
        if not is_whole(seed, -MAX_INT):
            yield f"{key}: got {seed!r}; give a whole number"
    if not is_whole(task.max_length, 8):
        yield f"max_length: got {task.max_length!r}; give a whole number of tokens from 8"
