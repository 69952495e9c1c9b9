"""Split the grid of a long plan into parts, each with its own ``dvc.yaml`` and ``dvc.lock`` below ``parts/``.

DVC reads and rewrites the whole ``dvc.lock`` after each cell, which takes 10 s at 1,000 cells. A split empties some
axes of the grid in the project's ``dvc.yaml`` (``task: []``), so that its blocks make no cell.
``parts/<task>/dvc.yaml`` holds the same blocks for one task. They run in the project's folder, with the same paths,
commands and outputs, so nothing becomes stale. The other axes follow ``params.yaml`` as before.
"""

from __future__ import annotations

import json
import re
from itertools import product
from typing import TYPE_CHECKING

from pipeline.core import paths
from pipeline.core.errors import UserError

if TYPE_CHECKING:
    from pipeline.plan.cells import Plan

AXES = {
    "task": "tasks",
    "model": "models",
    "ratio": "ratios",
    "recipe": "recipes",
}  # of the grid, and their names in params.yaml
BLOCK = re.compile(r"^  ([\w-]+):\n(?:(?: {4}.*)?\n)+", re.MULTILINE)
AXIS = re.compile(rf"^( {{6}})({'|'.join(AXES)}): (\$\{{(?:{'|'.join(AXES.values())})\}}|\[\])$", re.MULTILINE)
HEADER = """\
# Generated from dvc.yaml by `lab split`: edit that file, then run it again.

vars: [{up}/params.yaml]

stages:
"""


def find_grid_blocks(text: str) -> dict[str, str]:
    """Return the blocks of a ``dvc.yaml`` that make a cell for each point of the grid, by name."""
    every = {match[1]: match[0] for match in BLOCK.finditer(text)}
    return {name: block for name, block in every.items() if {axis for _, axis, _ in AXIS.findall(block)} == {*AXES}}


def read_pipeline() -> str:
    """Return the text of the project's ``dvc.yaml``, or an empty text where there is none."""
    file = paths.ROOT / paths.PIPELINE
    return file.read_text(encoding="utf-8") if file.exists() else ""


def get_split_axes() -> tuple[str, ...]:
    """Return the axes by which the grid is split now."""
    grid_blocks = find_grid_blocks(read_pipeline()).values()
    return tuple(axis for axis in AXES if any(f" {axis}: []\n" in block for block in grid_blocks))


def empty_axes(text: str, by: tuple[str, ...]) -> str:
    """Return a ``dvc.yaml`` with the axes in ``by`` emptied and the other axes of the grid restored."""
    for block in find_grid_blocks(text).values():
        emptied = AXIS.sub(
            lambda line: f"{line[1]}{line[2]}: {'[]' if line[2] in by else f'${{{AXES[line[2]]}}}'}", block
        )
        text = text.replace(block, emptied)
    return text


def get_part_folder(by: tuple[str, ...], point: dict[str, object]) -> str:
    """Return the folder of the part that holds a point of the grid, relative to the project."""
    return "/".join(["parts", *(str(point[axis]) for axis in by)])


def create_parts(text: str, study: Plan) -> dict[str, str]:
    """Return the ``dvc.yaml`` of each part by its path, built from the ``text`` of the project's own."""
    by, up = study.parts, "/".join([".."] * (1 + len(study.parts)))
    parts = {}
    for values in product(*(getattr(study, AXES[axis]) for axis in by)) if by else ():
        point = dict(zip(by, values, strict=True))
        content = HEADER.format(up=up) + "\n".join(
            _narrow(block, point, up) for block in find_grid_blocks(text).values()
        )
        parts[f"{get_part_folder(by, point)}/{paths.PIPELINE}"] = content
    return parts


def _narrow(block: str, point: dict[str, object], up: str) -> str:
    """Return a block for one point of the split axes, which runs in the project's folder."""

    def fill(line: re.Match[str]) -> str:
        return f"{line[1]}{line[2]}: [{json.dumps(point[line[2]])}]" if line[2] in point else line[0]

    name, _, body = AXIS.sub(fill, block).rstrip("\n").partition("\n")
    return f"{name}\n    wdir: {up}\n{body}\n"


def check_parts(study: Plan) -> None:
    """Raise UserError where the files in ``parts/`` do not match ``dvc.yaml`` and the plan."""
    expected = create_parts(read_pipeline(), study)
    parts = [file for file in paths.list_pipelines() if file != paths.ROOT / paths.PIPELINE]
    actual = {str(file.relative_to(paths.ROOT)): file.read_text(encoding="utf-8") for file in parts}
    if wrong := sorted(file for file in actual.keys() | expected.keys() if actual.get(file) != expected.get(file)):
        raise UserError(
            f"{wrong[0]}: got another content than params.yaml and dvc.yaml make, in {len(wrong)} parts; run "
            "`lab split`, then the same command again"
        )
