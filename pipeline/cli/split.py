"""Split the grid of a long plan by axes: ``lab split task model``; ``none`` joins it again.

Without a word it is split as it was, for a ``params.yaml`` or a block of the grid that has changed since.
What has run stays so: DVC's records of it go with their cells from one ``dvc.lock`` to the other.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pipeline import plan
from pipeline.core import paths
from pipeline.core.errors import UserError, suggest
from pipeline.plan import Plan, split_grid
from pipeline.runner import dvc_lock_repair

JOINED = "none"


def split(words: Sequence[str]) -> str:
    """Split the grid by the axes in ``words``, and say what there is now.

    Raises UserError for a word that is no axis and while DVC runs.
    """
    if unknown := [word for word in words if word not in split_grid.AXES and list(words) != [JOINED]]:
        raise UserError(f"got {unknown[0]!r}; {suggest(unknown[0], [*split_grid.AXES, JOINED])}")
    by = tuple(axis for axis in split_grid.AXES if axis in words) if words else split_grid.get_split_axes()
    study = replace(plan.load(), parts=by)
    dvc_lock_repair.repair_files()
    with dvc_lock_repair.hold_dvc_lock():
        if dvc_lock_repair.is_dvc_running():
            raise UserError("another `dvc` is running; wait for it, then run the same command again")
        _lay(study)
    count = len(paths.list_pipelines()) - 1
    return f"{count} parts, each with its dvc.yaml and dvc.lock below parts/" if count else "one grid, without parts"


def _lay(study: Plan) -> None:
    """Write the files of the parts, then those of the project, then remove parts that are no more.

    A kill in the middle may leave a record in two lock files; both are the same.
    """
    main = paths.ROOT / paths.PIPELINE
    text = split_grid.empty_axes(split_grid.read_pipeline(), study.parts)
    files = {paths.ROOT / name: content for name, content in split_grid.create_parts(text, study).items()} | {
        main: text
    }
    before, earlier = _recorded(), paths.list_pipelines()
    recorded: dict[Any, dict[str, Any]] = {file: {} for file in files}
    owners = {
        name: paths.ROOT / file for file, _, name in (cell.address.rpartition(":") for cell in study.cells) if file
    }
    for lock in before.values():
        for name, entry in lock.items():
            recorded[owners.get(name, main)][name] = entry
    for file, content in files.items():
        if recorded[file] != before.get(file, {}):
            paths.write_bytes(file.with_suffix(".lock"), _as_dvc_writes({"schema": "2.0", "stages": recorded[file]}))
        paths.write_bytes(file, content.encode())
    for file in earlier:
        if file not in files:
            file.unlink()
            file.with_suffix(".lock").unlink(missing_ok=True)
            with suppress(OSError):  # the folder holds a file of the user
                for folder in file.relative_to(paths.ROOT).parents[:-1]:
                    (paths.ROOT / folder).rmdir()


def _recorded() -> dict[Any, dict[str, Any]]:
    """Return what DVC has recorded of each cell, by the ``dvc.yaml`` that makes it."""
    from ruamel.yaml import YAML

    files = [file for file in paths.list_pipelines() if file.with_suffix(".lock").exists()]
    read = (YAML(typ="safe").load(file.with_suffix(".lock").read_text(encoding="utf-8")) for file in files)
    return {file: content.get("stages", {}) for file, content in zip(files, read, strict=True)}


def _as_dvc_writes(content: dict[str, Any]) -> bytes:
    from ruamel.yaml import YAML

    stream = io.BytesIO()
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(content, stream)
    return stream.getvalue()
