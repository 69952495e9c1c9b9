"""Records: the JSON file with a cell's numbers, and their mean and deviation over the trials.

Every cell depends on this file (dvc.yaml), since it computes the numbers of all records. A record contains a digest of
itself, which detects edits and truncation. Cells that are derived from a cell store the digest of its record, which
identifies the training that they used.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.core import paths
from pipeline.core.errors import UserError

SCHEMA = 3  # of a record, metrics/<stage>/<cell>.json
# Keys of a trial that grow with the examples, not logged to MLflow; the last one is for students with a teacher.
PER_EXAMPLE_KEYS = ("predictions", "references", "alone_predictions")
DIGEST_KEY = "sha256"
# The keys of a record that name its source cell, and the tags with the digest of that cell's record.
SOURCE_TAGS = {"source": "source_sha256", "teacher": "teacher_sha256"}
NOT_RUN = "not run"
VERSIONED_PACKAGES = ("torch", "transformers")  # packages whose versions a record holds
VERSION_SEPARATOR = " / "  # where the versions of trials, or of a chain of records, differ
REMEDY = "remove it, then run `dvc repro`"  # DVC restores a missing file, but does not notice every change


def sign(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with its digest: the SHA-256 of its other keys as JSON, sorted and without white space."""
    rest = {key: value for key, value in record.items() if key != DIGEST_KEY}
    return {
        **rest,
        DIGEST_KEY: hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest(),
    }


def read_record(path: Path, needed: Iterable[str] = ()) -> dict[str, Any]:
    """Return the record in a file.

    Raises UserError where the file was changed or truncated, has another schema, or a trial lacks a key of ``needed``.
    """
    record, names = _parse_record(path.read_bytes()), list(needed)
    if isinstance(record, str):
        raise UserError(f"{_format_path(path)}: {record}; {REMEDY}")
    for trial in record["trials"] if names else ():
        if missing := [name for name in names if trial.get(name) is None]:
            raise UserError(
                f"{_format_path(path)}: seed {trial['seed']}: no {', '.join(missing)}, which the comparison needs; "
                f"{REMEDY}"
            )
    return record


@lru_cache(maxsize=2048)  # the record of a source is read for every cell that uses it
def _parse_record(content: bytes) -> dict[str, Any] | str:
    """Return the record in a file, or what is wrong with it."""
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        return "truncated or changed: it is not JSON"
    if not isinstance(record, dict):
        return "changed: it is not a record"
    if (schema := record.get("schema")) != SCHEMA:
        return f"schema: got {schema!r}, but this version reads {SCHEMA}"
    if sign(record) != record:
        return "changed: its sha256 does not match its content"
    return record


@dataclass(frozen=True)
class PlannedCell:
    """A cell of the plan: its coordinates, with the keys of a record, and its seeds.

    ``inputs`` are the cells of its data and its pre-trained model, as <stage>/<cell>.
    """

    coordinates: Mapping[str, object]
    seeds: frozenset[int]
    inputs: tuple[str, ...] = ()


Planned = Mapping[str, PlannedCell]  # every cell of the plan, by <stage>/<cell>


def missing_reason(path: Path, planned: Planned) -> str | None:
    """Return why the record metrics/<stage>/<cell>.json is not valid for the plan; None if it is valid.

    A record is valid if its coordinates and seeds are those of the plan, its source cells are valid, and none of them
    was trained again since. DVC removes the record of a cell before it runs the cell, so a missing record means a
    failure. Raises UserError where a record is damaged.
    """
    if not path.exists():
        return NOT_RUN
    chain = open_chain(path)
    if fault := _find_fault(chain, planned):
        return fault
    inputs = dict.fromkeys(name for link in chain for name in planned[link].inputs)
    return next(
        (f"{name} has no results" for name in inputs if not (path.parent.parent / f"{name}.json").exists()), None
    )


def open_chain(path: Path) -> dict[str, dict[str, Any] | None]:
    """Return the record of a cell and those of its sources, by <stage>/<cell>; None for a missing record."""
    stage, name = path.parent.name, path.stem
    chain: dict[str, dict[str, Any] | None] = {f"{stage}/{name}": read_record(path)}
    record: dict[str, Any] | None = chain[f"{stage}/{name}"]
    while record is not None and (source := _get_source(record)) and source not in chain:
        file = path.parent.parent / f"{source}.json"
        record = chain[source] = read_record(file) if file.exists() else None
    return chain


def _get_source(record: Mapping[str, Any]) -> str | None:
    """Return the source or teacher of a record; None for a fine-tuning without one."""
    return next((str(record[key]) for key, tag in SOURCE_TAGS.items() if tag in record["tags"]), None)


def _find_fault(chain: Mapping[str, dict[str, Any] | None], planned: Planned) -> str | None:
    """Return why the first record of a chain is not valid; None if it is."""
    first, digest = next(iter(chain)), None
    for name, record in chain.items():
        if record is None:
            return f"{name} has no results"
        if digest not in (None, record[DIGEST_KEY]):
            return f"made from an earlier training of {name}"
        if difference := compare_with_plan(record, name, planned):
            return difference if name == first else f"{name} does not count: {difference}"
        digest = next((record["tags"][tag] for tag in SOURCE_TAGS.values() if tag in record["tags"]), None)
    return None


def compare_with_plan(record: Mapping[str, Any], name: str, planned: Planned, *, seeds: bool = True) -> str | None:
    """Return how a record differs from the cell ``name`` (<stage>/<cell>) of the plan; None if it does not.

    Compares names and numbers, not the content of files. The order of the seeds does not matter.
    """
    if name not in planned:
        return "the plan has no such cell"
    cell = planned[name]
    for key, value in {"cell": name.partition("/")[2], **cell.coordinates}.items():
        if record.get(key) != value:
            label = "student" if key == "model" and "distillation" in cell.coordinates else key
            return f"made with {label} {record.get(key, 'unknown')}, but the plan has {value}"
    if seeds and (used := {trial["seed"] for trial in record["trials"]}) != cell.seeds:
        return f"made with {_format_seeds(used)}, but the plan has {_format_seeds(cell.seeds)}"
    return None


def collect_warnings(trials: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the distinct warnings of all trials, in their order."""
    return tuple(dict.fromkeys(str(sentence) for trial in trials for sentence in trial.get("warnings") or ()))


def read_versions(made_by: Iterable[Mapping[str, Any] | None]) -> dict[str, str | None]:
    """Return the versions of torch and transformers of some records; ``a / b`` where they differ."""
    machines = [record["machine"] for record in made_by if record]
    versions = {name: dict.fromkeys(str(at[name]) for at in machines if at.get(name)) for name in VERSIONED_PACKAGES}
    return {name: VERSION_SEPARATOR.join(values) or None for name, values in versions.items()}


def _format_seeds(seeds: Iterable[int]) -> str:
    numbers = sorted(seeds)
    return f"{'seed' if len(numbers) == 1 else 'seeds'} {', '.join(map(str, numbers))}"


def _format_path(path: Path) -> str:
    """Return the path of a record for a message, relative to the project if it is inside."""
    return str(path.relative_to(paths.ROOT)) if path.is_relative_to(paths.ROOT) else "/".join(path.parts[-3:])


def compute_summary(trials: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Return mean and standard deviation of every number that all trials have; booleans count as 0 and 1.

    There is no interval: three trials estimate their deviation poorly, so ``compare`` pools it over cells.
    """
    names = [name for name in trials[0] if name != "seed"]
    columns = {name: _convert_to_floats(trial.get(name) for trial in trials) for name in names}
    return {name: compute_spread(values) for name, values in columns.items() if len(values) == len(trials)}


def _convert_to_floats(values: Iterable[object]) -> list[float]:
    return [float(value) for value in values if isinstance(value, (int, float))]


def compute_spread(values: list[float]) -> dict[str, float | None]:
    """Return mean and standard deviation; no deviation for a single value."""
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return {"mean": mean, "std": None}
    return {"mean": mean, "std": math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))}
