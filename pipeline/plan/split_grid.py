"""A plan too long for one ``dvc.yaml``: its grid split into parts, each with a ``dvc.yaml`` of its own.

DVC reads and writes all of ``dvc.lock`` after each cell of the ``dvc.yaml`` beside it, which takes 10 s at 1,000 cells.
The blocks of the grid are written once, below ``stages/``, where the axes by which it is split are emptied
(``task: []``), so that they make no cell. ``parts/<task>/dvc.yaml`` holds the same blocks for one task, run from the
project's folder: paths, commands and outputs stay what they were, so nothing is stale. Axes by which it is not split
follow ``params.yaml`` by themselves.
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

AXES = {"task": "tasks", "model": "models", "ratio": "ratios"}  # of the grid, and what params.yaml calls them
BLOCK = re.compile(r"^  ([\w-]+):\n(?:(?: {4}.*)?\n)+", re.MULTILINE)
AXIS = re.compile(rf"^( {{6}})({'|'.join(AXES)}): (\$\{{(?:{'|'.join(AXES.values())})\}}|\[\])$", re.MULTILINE)
WDIR = re.compile(r"^    wdir: .*$", re.MULTILINE)
MADE = "# Made of stages/*/dvc.yaml by `lab split`: edit those, then run it again."
HEADER = f"{MADE}\n\nvars: [{{up}}/params.yaml]\n\nstages:\n"


def blocks(text: str) -> dict[str, str]:
    """Return the blocks that make a cell of each point of the grid, by their names, of the text of a ``dvc.yaml``."""
    found = {match[1]: match[0] for match in BLOCK.finditer(text)}
    return {name: block for name, block in found.items() if {axis for _, axis, _ in AXIS.findall(block)} == {*AXES}}


def axes() -> tuple[str, ...]:
    """Return the axes by which the grid is split, as what is written says."""
    known = blocks(written())
    return tuple(axis for axis in AXES if any(f" {axis}: []\n" in block for block in known.values()))


def written() -> str:
    """Return the text of each ``dvc.yaml`` that people write, one behind the other."""
    return "\n".join(file.read_text(encoding="utf-8") for file in paths.list_source_pipelines() if file.exists())


def cut(text: str, by: tuple[str, ...]) -> str:
    """Return a ``dvc.yaml`` whose grid is split by some axes and makes no cell itself, or makes all for none."""
    for block in blocks(text).values():
        emptied = AXIS.sub(
            lambda line: f"{line[1]}{line[2]}: {'[]' if line[2] in by else f'${{{AXES[line[2]]}}}'}", block
        )
        text = text.replace(block, emptied)
    return text


def folder(by: tuple[str, ...], point: dict[str, object]) -> str:
    """Return the folder of the part that holds a point of the grid, from the project's folder."""
    return "/".join(["parts", *(str(point[axis]) for axis in by)])


def made(text: str, study: Plan) -> dict[str, str]:
    """Return the ``dvc.yaml`` of each part by its path, made of the ``text`` of those that people write."""
    by, up = study.parts, "/".join([".."] * (1 + len(study.parts)))
    found = {}
    for values in product(*(getattr(study, AXES[axis]) for axis in by)) if by else ():
        point = dict(zip(by, values, strict=True))
        own = [_of_part(block, point, up) for block in blocks(text).values()]
        content = HEADER.format(up=up) + "\n".join(own)
        found[f"{folder(by, point)}/{paths.PIPELINE}"] = content.rstrip("\n") + "\n"
    return found


def _of_part(block: str, point: dict[str, object], up: str) -> str:
    """Return a block that makes the cells of some values of the axes, in the project's folder."""

    def narrowed(line: re.Match[str]) -> str:
        return f"{line[1]}{line[2]}: [{json.dumps(point[line[2]])}]" if line[2] in point else line[0]

    return WDIR.sub(f"    wdir: {up}", AXIS.sub(narrowed, block)).rstrip("\n") + "\n"


def check(study: Plan) -> None:
    """Raise UserError where the parts that lie there are not those that the blocks of the grid and the plan make."""
    wanted = made(written(), study)
    parted = [file for file in paths.list_pipelines() if file not in paths.list_source_pipelines()]
    found = {str(file.relative_to(paths.ROOT)): file.read_text(encoding="utf-8") for file in parted}
    if found != wanted:
        wrong = sorted(file for file in found.keys() | wanted.keys() if found.get(file) != wanted.get(file))
        raise UserError(
            f"{wrong[0]}: not what params.yaml and stages/ make of it, {len(wrong)} such in all; run `lab split`, "
            "then the same command again"
        )
