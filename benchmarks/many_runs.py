"""What the comparison takes for so many trials: seconds and memory, with records made up in the shape of real ones.

``python benchmarks/many_runs.py --tasks 1 3 10`` lays out plans of so many tasks, 10 models, 10 ratios and 10 seeds
(1,000, 3,000 and 10,000 trials). ``--ratios 100 --seeds 3 --tasks 1`` makes 1,000 cells of one task.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ruamel.yaml import YAML

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.core.paths import ROOT
from tests import fakes

TASKS = ["mrpc", "starter-swap", "starter-nest", "starter-replace", "rte", "sst2", "qnli", "qqp", "cola", "mnli"]
MODELS = {
    "bert-tiny": (0.4, 4.4), "ladder-2x64": (0.6, 0.7), "ladder-2x96": (0.9, 1.0), "ladder-3x96": (1.4, 1.6),
    "ladder-4x128": (2.4, 2.7), "bert-mini": (3.2, 11.2), "starter-4x128": (5.0, 5.3), "bert-small": (12.6, 28.8),
    "bert-medium": (25.2, 41.4), "bert-base": (85.0, 109.0),
}  # fmt: skip


def laboratory(root: Path, tasks: list[str], ratios: list[float], seeds: int) -> None:
    """Lay out a copy of the project in which every cell was evaluated."""
    fakes.TASKS.update({task: ("accuracy", 7200, 0.5) for task in tasks if task != "mrpc"})
    fakes.MODELS.update(MODELS)
    for name in ("conf", "hydra_plugins", "pipeline"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    yaml = YAML()
    content = yaml.load(ROOT / "params.yaml")
    content.update(tasks=tasks, models=list(MODELS), ratios=ratios, seeds=list(range(seeds)))
    content.update(variants={}, distill={}, compress={}, compare={"budget": {"latency_p50_ms": 3}})
    content["benchmark"].update(task=tasks[0], models=[])
    yaml.dump(content, root / "params.yaml")
    fakes.write(
        root,
        (
            fakes.evaluation(task, model, ratio, range(seeds))
            for task in tasks
            for model in MODELS
            for ratio in ratios
        ),
    )  # fmt: skip


def compared(root: Path) -> tuple[float, float, float]:
    """Return the processor seconds, the peak in MiB and the page in MB of a comparison in a process of its own."""
    command = [sys.executable, "-m", "pipeline.stages.compare", "--multirun", "+sweep=once"]
    settings = {**os.environ, "LAB_WARM": "0", "PYTHONPATH": str(root)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=root, env=settings, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, after.ru_maxrss / 1024, (root / "report/index.html").stat().st_size / 1e6


def main() -> None:
    """Measure plans of growing length, the shortest first: a peak is that of all processes so far."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--tasks", type=int, nargs="+", default=[1, 3, 10])
    asked.add_argument("--ratios", type=int, default=10)
    asked.add_argument("--seeds", type=int, default=10)
    given = asked.parse_args()
    ratios = [round(0.1 + 0.9 * step / max(1, given.ratios - 1), 4) for step in range(given.ratios)]
    print("tasks | cells | trials | compare, s | peak, MiB | page, MB")
    for count in given.tasks:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            laboratory(root, TASKS[:count], ratios, given.seeds)
            seconds, peak, page = compared(root)
        cells = count * len(MODELS) * len(ratios)
        print(f"{count} | {cells} | {cells * given.seeds} | {seconds:.1f} | {peak:.0f} | {page:.1f}", flush=True)


if __name__ == "__main__":
    main()
