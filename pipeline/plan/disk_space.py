"""What a plan will write, in bytes, from what is known before it runs; nothing heavy is opened.

A result takes 4 bytes for each of its model's parameters, once below ``runs/`` and once in DVC's cache. A cell that has
run takes what it took then. A model of which only a name in the Hub is known is not counted, and is named.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.data import mirror
from pipeline.models import checkpoint_sources
from pipeline.models.model_files import WEIGHTS
from pipeline.plan import source_paths
from pipeline.plan.cells import Cell, Plan
from pipeline.plan.load_plan import read
from pipeline.plan.schema import TRAINED

FLOAT, HALF = 4, 2  # bytes of a parameter as it is trained, and as it is shipped or kept by pre-training
STATES = 3  # weights and the optimiser's two means, of the training that runs
# Bytes of a trial besides its weights, about: the tokenizer, curves and settings; its predictions; its runs in MLflow.
RECORDS, TOKENIZER, TRACKED = 10_000, 50_000, 150_000
ROW = 100  # bytes of a prepared row, about, and of what is said of it
REPORT = 20_000_000  # bytes of the comparison: the report and its copy in the tracking store
POSITIONS = 512


@dataclass(frozen=True)
class Space:
    """Bytes that a plan is expected to write and that are free for it; ``unknown`` models are not among them."""

    needed: int
    free: int
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"about {_format_bytes(self.needed)} to write, {_format_bytes(self.free)} free"
        return f"{text}; nothing is known yet of the size of {', '.join(self.unknown)}" if self.unknown else text


def expected(study: Plan, cells: Sequence[Cell]) -> Space:
    """Return what some cells of a plan will write, the comparison included, and what is free."""
    sizes = {name: parameters(name) for name in study.models}
    files = sum(_count_bytes(cell, study, sizes) * (1 if _get_folder(cell).exists() else 2) for cell in cells)
    trials = sum(_count_trials(cell, study) for cell in cells)
    trained = [sizes[str(cell.model)] or 0 for cell in cells if cell.stage in TRAINED]
    at_work = STATES * FLOAT * max(trained, default=0)
    unknown = {str(cell.model) for cell in cells if cell.model and sizes.get(cell.model, 0) is None}
    needed = files + trials * TRACKED + at_work + (REPORT if cells else 0)
    return Space(needed, shutil.disk_usage(paths.ROOT).free, tuple(sorted(unknown)))


def check(study: Plan) -> None:
    """Raise UserError where the cells that have never run need more than is free."""
    space = expected(study, [cell for cell in study.cells if not _get_folder(cell).exists()])
    if space.needed > space.free:
        raise UserError(
            f"the plan needs about {_format_bytes(space.needed)} (results of each seed below runs/ and again in DVC's "
            f"cache), but {_format_bytes(space.free)} are free in {paths.ROOT}; make room, or name fewer models, "
            "ratios or seeds in params.yaml, and run the same command again"
        )


def parameters(name: str) -> int | None:
    """Return the parameters of a model before it is there: of its weights' header or its settings; None if unknown."""
    source: dict[str, Any] = read(paths.CONF / "model" / f"{name}.yaml", ("name", "source"))["source"]
    folders = [paths.get_model_dir(name), mirror.find(source_paths.read_mirror("pretrain"), "models", name)]
    if isinstance(source.get("path"), str):
        folders.append(paths.ROOT / source["path"])
    for folder in folders:
        if folder and (folder / WEIGHTS).is_file():
            with suppress(UserError):  # weights that are broken: the stage that opens them reports it
                return checkpoint_sources.count_parameters(folder / WEIGHTS)
    if {"layers", "hidden", "vocabulary"} <= source.keys():
        return _count_bert_parameters(source["layers"], source["hidden"], source["vocabulary"])
    return None


def _count_bert_parameters(layers: int, hidden: int, vocabulary: int) -> int:
    """Return the parameters of a BERT without its heads: a layer is four square matrices and two four times as wide."""
    longest = min(POSITIONS, 8 * hidden)
    return hidden * (vocabulary + longest) + layers * (12 * hidden**2 + 13 * hidden) + hidden**2


def _count_trials(cell: Cell, study: Plan) -> int:
    return len(study.seeds) if cell.ratio else 1


def _count_bytes(cell: Cell, study: Plan, sizes: dict[str, int | None]) -> int:
    """Return the bytes that a cell's folders take: those that they took, or what follows from its model and task."""
    if _get_folder(cell).exists():
        return sum(_sum_sizes(folder) for folder in _list_folders(cell))
    weights = sizes.get(str(cell.model)) or 0
    rows = _rows(cell.task) if cell.task else 0
    each = {
        "prepare": ROW * rows,
        "pretrain": HALF * weights + TOKENIZER,
        "evaluate": ROW * rows // 4,
        "benchmark": 0,
        "distill": 2 * (FLOAT * weights + TOKENIZER),  # the student, and the same without a teacher
    }.get(cell.stage, FLOAT * weights + TOKENIZER)
    return (each + RECORDS) * _count_trials(cell, study)


@cache
def _rows(task: str) -> int:
    """Return the rows of a task, those that are reported included, which no file counts: as many again."""
    counts: list[int] = read(paths.CONF / "task" / f"{task}.yaml", ("name",)).get("train_counts") or [0]
    return 2 * sum(counts)


def _get_folder(cell: Cell) -> Path:
    return paths.get_cell_dir(cell.stage, cell.name)


def _list_folders(cell: Cell) -> list[Path]:
    product = paths.get_product_dir(cell.stage, cell.name) if cell.stage in ("prepare", "pretrain") else None
    return [_get_folder(cell), *([product] if product else [])]


def _sum_sizes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _format_bytes(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
