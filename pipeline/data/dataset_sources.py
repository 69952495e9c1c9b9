"""Where a task's rows come from: the functions that `source._target_` of a conf/task file can name.

A source is a plain function that returns ``{split: rows}``, at least train and the split the task reports. Rows are
a ``pyarrow.Table`` or a list of dicts under the source's own column names; ``columns`` of the conf file says which
of them the task uses. The starter's source is ``pipeline.data.synthetic.pairs``. A mirror is asked before any of them.
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
    """The splits of a task, and the digests of the mirror's files where they come from there."""

    splits: Mapping[str, pa.Table]
    mirrored: dict[str, str]


def glue(config: str, revision: str) -> dict[str, pa.Table]:
    """Return the splits of a GLUE task from the Hub at a commit, through ``datasets``.

    Raises hub.Away when the Hub does not answer.
    """
    if not hub.offline():
        hub.names(GLUE, revision, "dataset")  # `datasets` itself would try for 23 s before it gave up
    return hub.ask(f"{GLUE} ({config}) at {revision[:12]}", lambda: _load(config, revision))


def _load(config: str, revision: str) -> dict[str, pa.Table]:
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    loaded = load_dataset(GLUE, config, revision=revision)
    return {split: dataset.data.table for split, dataset in loaded.items()}


def files(path: str) -> folders.Splits:
    """Return the splits of a folder of your own, such as ``inputs/reviews``: ``train.jsonl``, ``validation.csv``...

    Raises UserError when it is not there, or not of a kind that ``pipeline.data.split_files`` reads.
    """
    folder = paths.ROOT / path
    if not folder.is_dir():
        raise UserError(
            f"conf/task: source.path: got {path!r}, but the project has no such folder; give one, such as "
            f"inputs/<name>, that holds train and validation as {folders.READABLE}"
        )
    return folders.read(folder)


def find(task: str, place: str | None, source: Callable[[], Splits]) -> Found:
    """Return the rows of a task from the mirror at ``place``, or else from its source.

    Raises UserError when neither has them.
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
