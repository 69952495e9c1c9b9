"""Problems of the records behind a report: outdated records and other package versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.analysis.results.cell_table import CellRow
from pipeline.analysis.results.costs import CellCost
from pipeline.core import records
from pipeline.system import hardware

MAX_LINES = 5  # reasons that are listed; the rest is counted


def collect_notices(rows: Sequence[CellRow], measured: Sequence[CellCost] = ()) -> list[str]:
    """Return one line per problem of the records, with the command to run."""
    return [*_list_outdated({"evaluate": rows, "benchmark": measured}), *_list_versions([*rows, *measured])]


def _list_outdated(cells: dict[str, Sequence[CellRow] | Sequence[CellCost]]) -> list[str]:
    """Return one line per reason why records do not count, with the first of them."""
    by_reason: dict[str, list[str]] = {}
    for stage, of_stage in cells.items():
        for cell in of_stage:
            if cell.missing_reason and cell.missing_reason != records.NOT_RUN:
                by_reason.setdefault(cell.missing_reason, []).append(f"metrics/{stage}/{cell.cell}.json")
    lines = [f"{_format_files(files)}: {reason}; run `dvc repro`" for reason, files in by_reason.items()]
    if rest := sum(len(files) for files in [*by_reason.values()][MAX_LINES:]):
        return [*lines[:MAX_LINES], f"{rest} more records do not count; run `dvc repro`"]
    return lines


def _format_files(files: Sequence[str]) -> str:
    return files[0] if len(files) == 1 else f"{files[0]} and {len(files) - 1} more"


def _list_versions(cells: Sequence[CellRow | CellCost]) -> list[str]:
    """Return a line for each set of package versions that made cells and is not installed."""
    installed = {name: _strip_build(version) for name, version in hardware.get_versions().items()}
    by_versions: dict[str, list[CellRow | CellCost]] = {}
    versioned = [(cell, versions) for cell in cells if (versions := _read_versions(cell))]
    for cell, versions in versioned:
        if any(used != [installed[name]] for name, used in versions.items()):
            by_versions.setdefault(_format_versions(versions), []).append(cell)
    expected = _format_versions({name: [version] for name, version in installed.items()})
    return [
        f"{len(others)} of {len(versioned)} {'cell was' if len(versioned) == 1 else 'cells were'} made with "
        f"{versions}, but {expected} is installed, so scores and times may differ; the first is {others[0].cell}; "
        f"run `dvc repro -f {others[0].address}`"
        for versions, others in by_versions.items()
    ]


def _read_versions(cell: CellRow | CellCost) -> dict[str, list[str]]:
    """Return the versions of each package that made a cell, without their builds (``+cpu``)."""
    texts = {name: getattr(cell, name) for name in records.VERSIONED_PACKAGES}
    return {
        name: [*dict.fromkeys(map(_strip_build, text.split(records.VERSION_SEPARATOR)))]
        for name, text in texts.items()
        if text
    }


def _strip_build(version: str) -> str:
    return version.partition("+")[0]


def _format_versions(versions_by_package: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(
        f"{name} {records.VERSION_SEPARATOR.join(versions)}" for name, versions in versions_by_package.items()
    )
