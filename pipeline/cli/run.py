"""Run the plan by DVC with one job or several, then print its results: ``lab run``."""

import os

from pipeline import plan
from pipeline.cli import split
from pipeline.core import paths
from pipeline.runner import dvc_lock_repair, dvc_process, scheduler
from pipeline.stages import compare
from pipeline.system import preload


def run(jobs: int, keep_going: bool = False) -> int:
    """Run what is stale with ``jobs`` parallel cells, print the results, and return the exit status."""
    dvc_lock_repair.repair_files()
    if (paths.ROOT / "parts").is_dir():
        split.split([])  # params.yaml may have changed since
    os.environ["LAB_RUN"] = "1"  # the comparison prints nothing: its tables follow below, also if it is up to date
    if jobs == 1:
        status = dvc_process.run_in_foreground(["repro", *(["--keep-going"] if keep_going else [])])
    else:
        study = plan.load()
        preload.start_server()
        status = scheduler.run_plan(study, jobs, keep_going)
    if not status:
        compare.show()
    return status
