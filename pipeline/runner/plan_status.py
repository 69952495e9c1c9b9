"""Status of the plan: which cells are stale, and the seconds that they are expected to take (``lab status``)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

from pipeline.core import paths, records
from pipeline.core.errors import UserError
from pipeline.plan import Plan, disk_space, source_digests
from pipeline.runner import code_digests
from pipeline.runner.durations import CellDurations

COMPUTED = ("pretrain", "finetune", "distill", "compress", "evaluate", "benchmark")  # stages that use torch


def print_status(study: Plan) -> None:
    """Print the cells with their state and expected seconds, and the sum over the stale ones."""
    from rich.console import Console
    from rich.table import Table

    stale = find_stale_cells(study)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("cell", "state"):
        table.add_column(column)
    for column in ("expected s", "from"):
        table.add_column(column, justify="right")
    total, unknown = 0.0, 0
    durations, cells = CellDurations(study), study.cells
    for cell in cells:
        seconds, origin = durations.estimate(cell)
        state = "stale" if cell.address in stale else "done"
        if cell.address in stale:
            total, unknown = total + (seconds or 0), unknown + (seconds is None)
        table.add_row(cell.address.rpartition(":")[2], state, "?" if seconds is None else f"{seconds:.1f}", origin)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    count = sum(cell.address in stale for cell in cells)
    unmeasured = f", {unknown} of them never measured" if unknown else ""
    print(f"\n{count} of {len(cells)} cells to run, about {total:.0f} s of trials{unmeasured}")
    print(disk_space.expected(study, [cell for cell in cells if cell.address in stale]))
    for line in describe_other_versions(study):
        print(line)


def describe_other_versions(study: Plan) -> Iterator[str]:
    """Yield a line for each set of versions, other than the installed ones, with which cells were computed.

    Those cells are not stale: whether they should run again is for the user to decide.
    """
    cells_by_versions: dict[str, list[str]] = {}
    for cell in study.cells:
        file = paths.get_metrics_path(cell.stage, cell.name)
        machine = records.read_record(file)["machine"] if cell.stage in COMPUTED and file.exists() else {}
        if versions := source_digests.find_other_versions(machine):
            cells_by_versions.setdefault(versions, []).append(cell.address)
    here = ", ".join(f"{name} {version}" for name, version in source_digests.find_versions().items())
    for versions, cells in cells_by_versions.items():
        yield (
            f"{len(cells)} of {len(study.cells)} cells were computed with {versions}; installed: {here}. Their results "
            f"remain; `dvc repro -s -f <cell>` computes one again: {', '.join(cells)}"
        )


def find_stale_cells(study: Plan) -> set[str]:
    """Return the addresses of the cells that `dvc repro` would check again: changed, or downstream of a change.

    Raises UserError where `dvc status` fails, such as while another command holds DVC's lock.
    """
    # DVC compares these digests, so they must be current before it can detect an edit of code or data.
    code_digests.write()
    source_digests.write()
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode} without a message"]
        reason = lines[-1].removeprefix("ERROR: ")
        raise UserError(
            f"dvc status: {reason}; solve that, or wait for the other `dvc`, then run the same command again"
        )
    stale = set(json.loads(done.stdout or "{}"))
    for cell in study.cells:  # in story order: each cell after those that it needs
        if stale.intersection(cell.needs):
            stale.add(cell.address)
    return stale
