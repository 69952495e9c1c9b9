"""Status of the plan: which cells are stale, and the seconds that they are expected to take (``lab status``)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from statistics import median

from pipeline.core import paths, records
from pipeline.core.errors import UserError
from pipeline.plan import Cell, Plan, disk_space, source_digests
from pipeline.runner import code_digests

COMPUTED = ("pretrain", "finetune", "distill", "compress", "evaluate", "benchmark")  # stages that use torch


def show(study: Plan) -> None:
    """Print the cells with their state and expected seconds, and the sum over the stale ones."""
    from rich.console import Console
    from rich.table import Table

    stale = stale_cells(study)
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("cell", "state"):
        table.add_column(column)
    for column in ("expected s", "from"):
        table.add_column(column, justify="right")
    total, unknown = 0.0, 0
    known, cells = known_seconds(study), study.cells
    for cell in cells:
        seconds, origin = expected_seconds(cell, study, known)
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


def stale_cells(study: Plan) -> set[str]:
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


def expected_seconds(cell: Cell, study: Plan, known: Mapping[Cell, float]) -> tuple[float | None, str]:
    """Return the seconds that the trials of a cell take and where the number comes from.

    An earlier run of the cell itself is taken as it is; else the median over cells of the same stage and model,
    in proportion to the ratio; else the median of the stage; else nothing. ``known`` are seconds of a trial.
    """
    if cell in known:
        return known[cell] * len(study.seeds if cell.ratio else [0]), "itself"
    peers = [(other, seconds) for other, seconds in known.items() if other.stage == cell.stage]
    alike = [(other, seconds) for other, seconds in peers if other.model == cell.model and cell.ratio]
    if alike:
        scaled = median(seconds * share(cell) / share(other) for other, seconds in alike)
        return scaled * len(study.seeds), "same model"
    if peers:
        return median(seconds for _, seconds in peers) * len(study.seeds if cell.ratio else [0]), "same stage"
    return None, ""


def share(cell: Cell) -> float:
    """Return what the seconds of a cell grow with: the ratio where it trains, nothing where it only evaluates."""
    return cell.ratio if cell.stage == "finetune" and cell.ratio else 1.0


def known_seconds(study: Plan) -> dict[Cell, float]:
    """Return the mean seconds of a trial in the last run of each cell that ran, from its record.

    A record with other coordinates than the cell's is not used; the seconds of a trial hold for other seeds as well.
    """
    planned, known = study.describe_cells(), {}
    for cell in study.cells:
        file = paths.get_metrics_path(cell.stage, cell.name)
        if not file.exists():
            continue
        record = records.read_record(file)
        if not records.compare_with_plan(record, f"{cell.stage}/{cell.name}", planned, seeds=False):
            known[cell] = float(record["summary"]["trial_seconds"]["mean"])
    return known
