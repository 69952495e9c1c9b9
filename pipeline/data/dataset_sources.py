"""Sources of a task's rows: functions that `source._target_` in conf/task can name.

A source returns ``{split: rows}``, at least train and the report split. Rows are a ``pyarrow.Table`` or a list of dicts
with the source's column names; ``columns`` in the conf file maps them to the task's. The starter's source is
``pipeline.data.synthetic.pairs``. A mirror is searched before any source.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.data import file_formats, hub, mirror
from pipeline.data import split_files as folders

Splits = Mapping[str, Any]  # split -> pyarrow.Table, or a sequence of dicts

GLUE = "nyu-mll/glue"  # Wang et al. 2019, "GLUE: A Multi-Task Benchmark and Analysis Platform", arXiv 1804.07461


class Found(NamedTuple):
    """The splits of a task, and the SHA-256 of the mirror's files if they come from a mirror."""

    splits: Mapping[str, pa.Table]
    mirrored: dict[str, str]


def glue(config: str, revision: str) -> dict[str, pa.Table]:
    """Return the splits of a GLUE task from the Hub at a commit, through ``datasets``.

    Raises hub.Away if the Hub does not answer.
    """
    if not hub.offline():
        hub.names(GLUE, revision, "dataset")  # `datasets` itself would retry for 23 s
    return hub.ask(f"{GLUE} ({config}) at {revision[:12]}", lambda: _load(config, revision))


def _load(config: str, revision: str) -> dict[str, pa.Table]:
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    loaded = load_dataset(GLUE, config, revision=revision)
    return {split: dataset.data.table for split, dataset in loaded.items()}


def files(path: str) -> folders.Splits:
    """Return the splits of a local folder, such as ``inputs/reviews``: ``train.jsonl``, ``validation.csv``...

    Raises UserError if it is missing or ``pipeline.data.split_files`` cannot read it.
    """
    folder = paths.ROOT / path
    if not folder.is_dir():
        raise UserError(
            f"conf/task: source.path: got {path!r}, but the project has no such folder; give one, such as "
            f"inputs/<name>, that holds train and validation as {folders.READABLE}"
        )
    return folders.read(folder)


def find(task: str, place: str | None, source: Callable[[], Splits]) -> Found:
    """Return the rows of a task from the mirror at ``place``, else from its source.

    Raises UserError if neither has them.
    """
    folder = mirror.find(place, "data", task)
    if folder:
        return Found(
            folders.read(folder), {path.name: _digest(path) for path in sorted(folder.iterdir()) if path.is_file()}
        )
    try:
        splits = source()
    except hub.Away as away:
        raise UserError(f"{away}; {mirror.advice(place, 'data', task)}") from None
    if isinstance(splits, folders.Splits):
        return Found(splits, {})
    return Found({split: _table(rows, f"{task} {split}") for split, rows in splits.items()}, {})


def _table(rows: Any, where: str) -> pa.Table:
    if isinstance(rows, pa.Table):
        return rows
    names = dict.fromkeys(name for row in rows for name in row)
    return file_formats.make_table({name: [row.get(name) for row in rows] for name in names}, where)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
