"""How a cell's numbers are kept: the version of their layout, and mean and interval of each over the trials.

Every stage's cells depend on this file (dvc.yaml), since it makes the numbers in all of their records. A record ends
with a digest of itself, by which one that was altered or cut short is told, and by which what is made of a cell says
of which training of it it was made.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.errors import UserError

SCHEMA = 2  # of a record, metrics/<stage>/<cell>.json
BY_EXAMPLE = ("predictions", "references")  # texts of a trial that grow with the examples: for the files alone
SEAL = "sha256"
# The keys of a record that name the cell of which it is made, and the tags that hold the digest of that one's record.
MADE_OF = {"source": "source_sha256", "teacher": "teacher_sha256"}
NOT_RUN = "not run"
AGAIN = "remove it, then run `dvc repro`"  # DVC makes what is missing, and would not see every change


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with its digest: the SHA-256 of the rest as JSON, keys sorted, without white space."""
    rest = {key: value for key, value in record.items() if key != SEAL}
    return {**rest, SEAL: hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()}


def opened(path: Path, needed: Iterable[str] = ()) -> dict[str, Any]:
    """Return the record in a file.

    Raises UserError where the file was altered or cut short since it was made, is of another layout, or where one of
    its trials lacks a key of ``needed``.
    """
    record, names = _read(path.read_bytes()), list(needed)
    if isinstance(record, str):
        raise UserError(f"{_shown(path)}: {record}; {AGAIN}")
    for trial in record["trials"] if names else ():
        if lacking := [name for name in names if trial.get(name) is None]:
            raise UserError(
                f"{_shown(path)}: seed {trial['seed']}: no {', '.join(lacking)}, without which there is nothing to "
                f"compare; {AGAIN}"
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
    if sealed(record) != record:
        return "altered since it was made, for its sha256 is that of other numbers"
    return record


def hole(path: Path) -> str | None:
    """Say why there are no numbers that count in metrics/<stage>/<cell>.json, or return None where there are.

    They count while what they were made of stands and is that very training: a cell whose training has failed since has
    no record, one that was trained again has another.
    """
    return _outdated(opened(path), path.parent.parent) if path.exists() else NOT_RUN


def _outdated(record: Mapping[str, Any], folder: Path) -> str | None:
    for key, tag in MADE_OF.items():
        if tag not in record["tags"]:
            continue
        source = str(record[key])
        path = folder / f"{source}.json"
        if not path.exists():
            return f"{source} has no results"
        found = opened(path)
        if found[SEAL] != record["tags"][tag]:
            return f"of an earlier training of {source}"
        if why := _outdated(found, folder):
            return f"{source} is a hole as well: {why}"
    return None


def _shown(path: Path) -> str:
    """Return what a message calls a record: its place in the project, or its place among the records."""
    return str(path.relative_to(paths.ROOT)) if path.is_relative_to(paths.ROOT) else "/".join(path.parts[-3:])


def summary(trials: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Return mean and 95% interval of every number that all trials have; truth values count as 0 and 1."""
    names = [name for name in trials[0] if name != "seed"]
    columns = {name: [trial.get(name) for trial in trials] for name in names}
    return {name: interval(_floats(values)) for name, values in columns.items() if len(_floats(values)) == len(trials)}


def _floats(values: Iterable[object]) -> list[float]:
    return [float(value) for value in values if isinstance(value, (int, float))]


def interval(values: list[float]) -> dict[str, float | None]:
    """Return mean, standard deviation and Student's t 95% interval of the mean; no interval for a single value."""
    from scipy.special import stdtrit

    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return {"mean": mean, "std": None, "ci95_low": None, "ci95_high": None}
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(stdtrit(count - 1, 0.975)) * deviation / math.sqrt(count)
    return {"mean": mean, "std": deviation, "ci95_low": mean - half, "ci95_high": mean + half}
