"""What gains speed and what does not: trained models asked in turns, in one run, beside the first of them.

    python benchmarks/side_by_side.py finetune/mrpc-all-MiniLM-L6-v2-1.0-standard compress/narrow compress/int8 ...

For each ``<stage>/<cell>`` below runs/ its first seed is asked single examples of the reported split and batches of 32
of like length, in rounds in which every model has its turn, so that what disturbs the machine disturbs all of them.
"""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.core import paths
from pipeline.data import batches
from pipeline.data.batches import Batch
from pipeline.evaluation.cost import model_cost, timing
from pipeline.models import load_model
from pipeline.system import hardware

ROUNDS, SINGLE, TOGETHER, ROWS = 12, 12, 2, 32


def opened(cell: str) -> tuple[Any, list[Batch], list[Batch], dict[str, float]]:
    """Return a model, single examples and batches for it, and its bytes and FLOPs."""
    folders = sorted((paths.ROOT / "runs" / cell).glob("seed-*"))
    if not folders:
        raise SystemExit(f"error: runs/{cell}: not made yet; name <stage>/<cell> as the plan does")
    folder = folders[0]
    task = OmegaConf.load(folder / "config.yaml").task
    report = batches.read(paths.get_data_dir(task.name) / "report.parquet", 1.0, folder, task.max_length)
    at = hardware.get_device()
    model = load_model.load_finetuned(folder).model.to(at)
    rows = np.linspace(0, len(report) - 1, SINGLE).round().astype(int)
    ordered = list(batches.by_length(report.lengths, ROWS))
    middle = ordered[len(ordered) // 2 : len(ordered) // 2 + TOGETHER]
    single = [batches.collate(report, np.array([row])).to(at) for row in rows]
    together = [batches.collate(report, chosen).to(at) for chosen in middle]
    return model, single, together, {**model_cost.storage(model, Path(folder)), **model_cost.flops(model, report)}


@torch.inference_mode()
def seconds(model: Any, asked: list[Batch]) -> list[float]:
    """Return what each batch takes."""
    taken = []
    for batch in asked:
        started = timing.now(hardware.get_device())
        model(**batch.inputs)
        taken.append(timing.now(hardware.get_device()) - started)
    return taken


def main(cells: list[str]) -> None:
    """Print a row for each cell: bytes, FLOPs, milliseconds of one example, pairs a second, and their ratios."""
    models = {cell: opened(cell) for cell in cells}
    alone: dict[str, list[float]] = {cell: [] for cell in cells}
    many: dict[str, list[float]] = {cell: [] for cell in cells}
    started = time.perf_counter()
    for turn in range(ROUNDS + 1):
        for cell, (model, single, together, _) in models.items():
            one, several = seconds(model, single), seconds(model, together)
            if turn:  # the first warms up
                alone[cell] += one
                many[cell] += several
    print(f"{torch.get_num_threads()} threads, {time.perf_counter() - started:.0f} s, fp32 but for int8\n")
    print("| | stored, MB | Mop | one example, ms | times as fast | pairs/s | times as fast |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    first, crowd = np.median(alone[cells[0]]), np.median(many[cells[0]])
    for cell in cells:
        told, one, several = models[cell][3], np.median(alone[cell]), np.median(many[cell])
        print(
            f"| {cell} | {told['storage_bytes'] / 1e6:.1f} | {told['inference_flops'] / 1e6:.0f} "
            f"| {1000 * one:.2f} | {first / one:.2f} | {ROWS / several:.0f} | {crowd / several:.2f} |"
        )


if __name__ == "__main__":
    main(sys.argv[1:] or sys.exit(__doc__))
