"""Check the rows of a task: refuse what cannot be trained on, count and report the rest.

Nothing is repaired or dropped silently. Missing columns and unknown labels are errors. Rows with a missing field are
left out and counted. Empty texts, broken encodings, duplicates and leaks are kept and counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import UserError
from pipeline.tasks import labels
from pipeline.tasks.task_config import Task

# The replacement character of decoders, and control characters, which no sentence contains.
BROKEN = re.compile("[\ufffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

Key = tuple[str, ...]


class Finding(NamedTuple):
    """The number of such rows, and the index of the first in the source's split."""

    rows: int
    first: int | None

    @classmethod
    def of(cls, places: Iterable[int]) -> Finding:
        """Count rows, given in their order."""
        listed = list(places)
        return cls(len(listed), listed[0] if listed else None)


def keys(table: pa.Table) -> list[Key]:
    """Return a key per row that is equal for rows with the same texts, in either order."""
    pairs = zip(table["text_a"].to_pylist(), table["text_b"].to_pylist(), strict=True)
    return [(a,) if b is None else (min(a, b), max(a, b)) for a, b in pairs]


def check(task: Task, name: str, source: pa.Table) -> tuple[pa.Table, dict[str, Finding]]:
    """Return a split in the project's columns, and the findings in it.

    Columns out: ``text_a`` and ``text_b`` (strings, ``text_b`` null where a task has one text), ``label`` (int64, or
    float64 for a regression), ``idx`` (int64, the row in the source's split).

    Raises UserError for missing columns, columns that hold no text, and unknown labels.
    """
    where = f"task {task.name}: {name}"
    _columns(task, where, source)
    fields = {column: source[origin].to_pylist() for column, origin in task.source_columns.items()}
    rows = [row for row, values in enumerate(zip(*fields.values(), strict=True)) if None not in values]
    fields = {column: [values[row] for row in rows] for column, values in fields.items()}
    for column in task.texts:
        _strings(fields[column], rows, f"{where}: column {task.source_columns[column]!r}")
    columns = {
        "text_a": pa.array(fields["text_a"], pa.string()),
        "text_b": pa.array(fields.get("text_b", [None] * len(rows)), pa.string()),
        "label": pa.array(_labels(task, fields["label"], rows, where), pa.float64() if task.regression else pa.int64()),
        "idx": pa.array(rows, pa.int64()),
    }
    table = pa.table(columns)
    left_out = Finding.of(sorted(set(range(source.num_rows)) - set(rows)))
    return table, {"incomplete": left_out, **_oddities(table)}


def _oddities(table: pa.Table) -> dict[str, Finding]:
    """Count the rows that are kept although something is wrong with them.

    A duplicate has the texts of an earlier row; a contradicting one has them with another label.
    """
    rows = list(zip(table["idx"].to_pylist(), table["label"].to_pylist(), keys(table), strict=True))
    first: dict[Key, tuple[int, Any]] = {}
    for row, label, key in rows:
        first.setdefault(key, (row, label))
    repeated = [(row, label != first[key][1]) for row, label, key in rows if row != first[key][0]]
    return {
        "empty_text": Finding.of(row for row, _, key in rows if not all(text.strip() for text in key)),
        "broken_encoding": Finding.of(row for row, _, key in rows if any(map(BROKEN.search, key))),
        "duplicate": Finding.of(row for row, _ in repeated),
        "contradicting_duplicate": Finding.of(row for row, other in repeated if other),
    }


def varied(task: Task, name: str, table: pa.Table) -> None:
    """Raise UserError if all rows of a split have one label, or train lacks a class."""
    where, found = f"task {task.name}: {name}", pc.unique(table["label"]).to_pylist()
    if len(found) == 1:
        said = found[0] if task.labels is None else task.labels[found[0]]
        raise UserError(
            f"{where}: {said!r} is the label of all rows ({table.num_rows}), of which nothing can be learned or "
            "measured; give rows with others"
        )
    if name == "train" and (absent := set(range(len(task.labels or ()))) - set(found)):
        names = ", ".join((task.labels or ())[label] for label in sorted(absent))
        raise UserError(f"{where}: no rows of {names}; give some of every class, or take it out of labels")


def leaks(earlier: pa.Table, later: pa.Table) -> Finding:
    """Count the rows of one split that another split contains, their texts in either order."""
    known = set(keys(earlier))
    return Finding.of(row for row, key in zip(later["idx"].to_pylist(), keys(later), strict=True) if key in known)


def count_relabelled(earlier: pa.Table, later: pa.Table) -> int:
    """Return how many rows of one split have the texts of rows of another split, but none of their labels."""
    labels: dict[Key, set[Any]] = {}
    for key, label in zip(keys(earlier), earlier["label"].to_pylist(), strict=True):
        labels.setdefault(key, set()).add(label)
    rows = zip(keys(later), later["label"].to_pylist(), strict=True)
    return sum(key in labels and label not in labels[key] for key, label in rows)


def _columns(task: Task, where: str, source: pa.Table) -> None:
    if twice := [name for name in task.source_columns.values() if source.column_names.count(name) > 1]:
        raise UserError(f"{where}: column {twice[0]!r} is there {source.column_names.count(twice[0])} times; keep one")
    missing = [name for name in task.source_columns.values() if name not in source.column_names]
    if missing:
        raise UserError(
            f"{where}: {len(missing)} of {len(task.source_columns)} columns missing: {', '.join(missing)}; "
            f"there are {', '.join(source.column_names)}; name them under columns in conf/task/{task.name}.yaml"
        )


def _strings(values: Sequence[Any], rows: Sequence[int], where: str) -> None:
    bad = [(row, value) for row, value in zip(rows, values, strict=True) if not isinstance(value, str)]
    if bad:
        row, value = bad[0]
        raise UserError(f"{where}: {len(bad)} rows hold no text, the first is row {row}: {value!r}; write strings")


def _labels(task: Task, values: Sequence[Any], rows: Sequence[int], where: str) -> list[int | float | None]:
    """Return the class index, or the number, of each label value.

    Raises UserError for values that are no label of the task.
    """
    if task.labels is not None:
        read: Callable[[object], int | float | None] = labels.make_class_reader(task.labels)
    else:
        read = labels.make_number_reader(*(task.range or (0.0, 0.0)))
    read_once = lru_cache(maxsize=None, typed=True)(read)  # typed: True, 1 and 1.0 are equal but not the same label
    numbers = [read_once(value) if isinstance(value, Hashable) else None for value in values]
    bad = [(row, value) for row, value, number in zip(rows, values, numbers, strict=True) if number is None]
    if bad:
        row, value = bad[0]
        boolean = "; a boolean is a class only if labels spells it: true, false" if isinstance(value, bool) else ""
        raise UserError(
            f"{where}: {len(bad)} rows with an unknown label, the first is row {row}: {value!r}; "
            f"allowed: {labels.describe_allowed(task.labels, task.range)}{boolean}"
        )
    return numbers
