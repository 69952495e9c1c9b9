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
    unmeasured = f", and {unknown} of which nothing is known yet" if unknown else ""
    print(f"\n{count} of {len(cells)} cells to run, about {total:.0f} s of trials{unmeasured}")
    print(disk_space.expected(study, [cell for cell in cells if cell.address in stale]))
    for line in describe_other_versions(study):
        print(line)


def describe_other_versions(study: Plan) -> Iterator[str]:
    """Yield a line for each set of versions, other than the installed ones, with which cells were computed.

    Those cells are not stale: whether they should run again is for the user to decide.
    """
    made: dict[str, list[str]] = {}
    for cell in study.cells:
        file = paths.get_metrics_path(cell.stage, cell.name)
        machine = records.read_record(file)["machine"] if cell.stage in COMPUTED and file.exists() else {}
        if versions := source_digests.find_other_versions(machine):
            made.setdefault(versions, []).append(cell.address)
    here = ", ".join(f"{name} {version}" for name, version in source_digests.find_versions().items())
    for versions, cells in made.items():
        yield (
            f"{len(cells)} of {len(study.cells)} cells were computed with {versions}; installed: {here}. Their results "
            f"remain; `dvc repro -s -f <cell>` computes one again: {', '.join(cells)}"
        )


def find_stale_cells(study: Plan) -> set[str]:
    """Return the addresses of the cells that `dvc repro` would look at again: changed, or behind a changed one.

    Raises UserError where DVC cannot tell, such as while another of its commands holds its lock.
    """
    # DVC compares the digests that are there: an edit of code or data shows in the cells only once they are fresh.
    code_digests.write()
    source_digests.write()
    command = [sys.executable, "-m", "dvc", "status", "--json"]
    found = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False)
    if found.returncode:
        said = found.stderr.strip().splitlines() or [f"it ended with status {found.returncode} and said nothing"]
        reason = said[-1].removeprefix("ERROR: ")
        raise UserError(f"dvc status: {reason}; see to that, or wait for the `dvc` that is at work, and ask again")
    stale = set(json.loads(found.stdout or "{}"))
    for cell in study.cells:  # in story order, so that what a cell needs has been looked at
        if stale.intersection(cell.needs):
            stale.add(cell.address)
    return stale
