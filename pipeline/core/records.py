"""How a cell's numbers are kept: the version of their layout, and mean and deviation of each over the trials.

Every stage's cells depend on this file (dvc.yaml), since it makes the numbers in all of their records. A record ends
with a digest of itself, by which one that was altered or cut short is told, and by which what is made of a cell says
of which training of it it was made.
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
# Texts of a trial that grow with the examples, for the files alone; the last is of students that have a teacher.
PER_EXAMPLE_KEYS = ("predictions", "references", "alone_predictions")
DIGEST_KEY = "sha256"
# The keys of a record that name the cell of which it is made, and the tags that hold the digest of that one's record.
SOURCE_TAGS = {"source": "source_sha256", "teacher": "teacher_sha256"}
NOT_RUN = "not run"
VERSIONED_PACKAGES = ("torch", "transformers")  # packages whose versions a record holds
VERSION_SEPARATOR = " / "  # between versions, where trials or the records of a chain differ
REMEDY = "remove it, then run `dvc repro`"  # DVC makes what is missing, and would not see every change


def sign(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with its digest: the SHA-256 of the rest as JSON, keys sorted, without white space."""
    rest = {key: value for key, value in record.items() if key != DIGEST_KEY}
    return {
        **rest,
        DIGEST_KEY: hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest(),
    }


def read_record(path: Path, needed: Iterable[str] = ()) -> dict[str, Any]:
    """Return the record in a file.

    Raises UserError where the file was altered or cut short since it was made, is of another layout, or where one of
    its trials lacks a key of ``needed``.
    """
    record, names = _read(path.read_bytes()), list(needed)
    if isinstance(record, str):
        raise UserError(f"{_shown(path)}: {record}; {REMEDY}")
    for trial in record["trials"] if names else ():
        if lacking := [name for name in names if trial.get(name) is None]:
            raise UserError(
                f"{_shown(path)}: seed {trial['seed']}: no {', '.join(lacking)}, without which there is nothing to "
                f"compare; {REMEDY}"
            )
    return record


@lru_cache(maxsize=2048)  # what a cell is made of is asked for by all that is made of it
def _read(content: bytes) -> dict[str, Any] | str:
    """Return the record that a file holds, or what is wrong with it."""
    try:
        record = json.loads(content)
    except (ValueError, RecursionError):
        return "cut short or altered since it was made, so that it is no JSON"
    if not isinstance(record, dict):
        return "altered since it was made, so that it is no record"
    if (schema := record.get("schema")) != SCHEMA:
        return f"schema: got {schema!r}, but this version reads {SCHEMA}"
    if sign(record) != record:
        return "altered since it was made, for its sha256 is that of other numbers"
    return record


@dataclass(frozen=True)
class PlannedCell:
    """A cell as the plan has it: its coordinates, under the keys of a record, and its seeds.

    ``inputs`` are the cells that made its data and its pre-trained model, as <stage>/<cell>.
    """

    coordinates: Mapping[str, object]
    seeds: frozenset[int]
    inputs: tuple[str, ...] = ()


Planned = Mapping[str, PlannedCell]  # every cell of the plan, by <stage>/<cell>


def missing_reason(path: Path, planned: Planned) -> str | None:
    """Return why the record metrics/<stage>/<cell>.json does not count; None where it does.

    A record counts if its coordinates and seeds are those of the plan, if the cells that it was made from count as
    well, and if none of those was trained again since. DVC removes the record of a cell that it runs again, so one that
    is missing has failed. Raises UserError where one of them is damaged.
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
    """Return a record and those of the cells that it was made from, by <stage>/<cell>; None where one is missing."""
    stage, name = path.parent.name, path.stem
    chain: dict[str, dict[str, Any] | None] = {f"{stage}/{name}": read_record(path)}
    record: dict[str, Any] | None = chain[f"{stage}/{name}"]
    while record is not None and (source := _source(record)) and source not in chain:
        file = path.parent.parent / f"{source}.json"
        record = chain[source] = read_record(file) if file.exists() else None
    return chain


def _source(record: Mapping[str, Any]) -> str | None:
    """Return the cell that a record was made from, its teacher included; None for a plain fine-tuning."""
    return next((str(record[key]) for key, tag in SOURCE_TAGS.items() if tag in record["tags"]), None)


def _find_fault(chain: Mapping[str, dict[str, Any] | None], planned: Planned) -> str | None:
    """Return why the first record of a chain does not count; None where it does."""
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
    """Return in what a record differs from the cell ``name`` (<stage>/<cell>) of the plan; None where in nothing.

    Names and numbers are compared, not the content of files; the order of the seeds does not matter.
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
    """Return the warnings of all trials, each sentence once, in their order."""
    return tuple(dict.fromkeys(str(sentence) for trial in trials for sentence in trial.get("warnings") or ()))


def read_versions(made_by: Iterable[Mapping[str, Any] | None]) -> dict[str, str | None]:
    """Return the versions of torch and transformers that made some records; ``a / b`` where they differ."""
    machines = [record["machine"] for record in made_by if record]
    found = {name: dict.fromkeys(str(at[name]) for at in machines if at.get(name)) for name in VERSIONED_PACKAGES}
    return {name: VERSION_SEPARATOR.join(versions) or None for name, versions in found.items()}


def _format_seeds(seeds: Iterable[int]) -> str:
    numbers = sorted(seeds)
    return f"{'seed' if len(numbers) == 1 else 'seeds'} {', '.join(map(str, numbers))}"


def _shown(path: Path) -> str:
    """Return what a message calls a record: its place in the project, or its place among the records."""
    return str(path.relative_to(paths.ROOT)) if path.is_relative_to(paths.ROOT) else "/".join(path.parts[-3:])


def compute_summary(trials: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Return mean and standard deviation of every number that all trials have; truth values count as 0 and 1.

    There is no interval: three trials estimate their own spread poorly, so ``compare`` pools it over cells.
    """
    names = [name for name in trials[0] if name != "seed"]
    columns = {name: _floats(trial.get(name) for trial in trials) for name in names}
    return {name: compute_spread(values) for name, values in columns.items() if len(values) == len(trials)}


def _floats(values: Iterable[object]) -> list[float]:
    return [float(value) for value in values if isinstance(value, (int, float))]


def compute_spread(values: list[float]) -> dict[str, float | None]:
    """Return mean and standard deviation; no deviation for a single value."""
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return {"mean": mean, "std": None}
    return {"mean": mean, "std": math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))}
