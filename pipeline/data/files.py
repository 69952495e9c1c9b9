"""Reading a folder of splits: JSON lines, parquet, or the tab-separated files of GLUE and of the MSR corpus."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import UserError

FILE = re.compile(
    r"(?P<split>[a-z_]+?)(-(?P<number>\d{5})-of-(?P<of>\d{5}))?\.(?P<kind>jsonl|parquet|tsv)"
    r"|(?P<msr>msr_paraphrase_[a-z]+)\.txt"
)
NAMES = {  # what GLUE's and MSR's own files call the splits
    "dev": "validation",
    "dev_matched": "validation_matched",
    "dev_mismatched": "validation_mismatched",
    "msr_paraphrase_train": "train",
    "msr_paraphrase_test": "test",
}
DEV_IDS = "dev_ids.tsv"  # the sentence ids by which GLUE cuts its validation split out of MSR's train file
IDS = ("#1 ID", "#2 ID")  # the columns of MSR's files that hold them
COLA = ["source", "label", "mark", "sentence"]  # the only files of GLUE without a header
COLUMNS = {  # tab-separated names -> the names that the Hub's GLUE gives the same columns
    "Quality": "label",
    "#1 String": "sentence1",
    "#2 String": "sentence2",
    "is_duplicate": "label",
    "gold_label": "label",
    "score": "label",
}
MNLI = {"sentence1": "premise", "sentence2": "hypothesis"}


def read(folder: Path) -> dict[str, pa.Table]:
    """Return every split of a folder, its columns under the names of the source (the Hub's, for GLUE).

    A split is one file, or all shards of one (``train-00000-of-00002.parquet``). Where the files of MSR lie beside
    those that GLUE made of them, GLUE's are read.

    Raises UserError when there are no splits, two files claim one, or a file cannot be read as what its name says.
    """
    files = splits(folder)
    if not files:
        raise UserError(f"{folder}: no splits; put train and validation there, as .jsonl, .parquet, .tsv or MSR's .txt")
    read = {name: _together(folder, name, [_table(path) for path in paths]) for name, paths in files.items()}
    ids = folder / DEV_IDS
    return _cut(read, ids) if ids.is_file() and "validation" not in read else read


def _together(folder: Path, split: str, shards: list[pa.Table]) -> pa.Table:
    """Return the rows of all shards of a split."""
    try:
        return pa.concat_tables(shards, promote_options="default")
    except pa.ArrowException as error:
        raise UserError(
            f"{folder}: {split}: its shards hold other columns or kinds of values ({_first(error)}); make them alike"
        ) from None


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def splits(folder: Path) -> dict[str, list[Path]]:
    """Return the files of each split of a folder, the shards of one in order.

    Raises UserError when two files claim a split, or a shard is missing.
    """
    found: dict[str, list[re.Match[str]]] = {}
    for path in _listed(folder):
        if path.name != DEV_IDS and path.is_file() and (match := FILE.fullmatch(path.name)):
            name = match["split"] or match["msr"]
            found.setdefault(NAMES.get(name, name), []).append(match)
    return {split: [folder / match[0] for match in _one(folder, split, files)] for split, files in found.items()}


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}; give yourself the right to") from None


def _one(folder: Path, split: str, files: list[re.Match[str]]) -> list[re.Match[str]]:
    """Return the file of a split, or its shards."""
    files = [match for match in files if not match["msr"]] or files
    names = ", ".join(match[0] for match in files)
    wanted = [f"{number:05d}" for number in range(int(files[0]["of"] or 0))]
    if len(files) > 1 and (not wanted or len({(match["kind"], match["of"]) for match in files}) > 1):
        raise UserError(f"{folder}: {split} stands in several files: {names}; leave one of them, or all shards of one")
    if wanted and [match["number"] for match in files] != wanted:
        raise UserError(f"{folder}: {split} has {len(files)} of {len(wanted)} shards: {names}; add the missing ones")
    return files


def _table(path: Path) -> pa.Table:
    return READERS[path.suffix[1:]](path)


def table(columns: Mapping[str, Sequence[Any]], where: str) -> pa.Table:
    """Return a table of columns of plain values.

    Raises UserError when a column mixes kinds of values, or holds half a surrogate pair.
    """
    arrays = {}
    for name, values in columns.items():
        try:
            arrays[name] = pa.array(values)
        except (pa.ArrowException, UnicodeEncodeError, OverflowError, RecursionError) as error:
            raise UserError(f"{where}: column {name!r} does not hold values of one kind ({_first(error)})") from None
    return pa.table(arrays)


def _json_lines(path: Path) -> pa.Table:
    rows = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}: line {number} is not JSON ({error.msg}); write one object a line") from None
        except (ValueError, RecursionError) as error:  # thousands of digits, or of brackets
            raise UserError(f"{path}: line {number} is not JSON that can be read ({error})") from None
        if not isinstance(row, dict):
            raise UserError(f"{path}: line {number} holds {type(row).__name__}; write one object a line")
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return table({name: [row.get(name) for row in rows] for name in names}, str(path))


def _parquet(path: Path) -> pa.Table:
    try:
        read = pq.read_table(path, partitioning=None)  # or folders that are called a=b would be columns
        read.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not parquet that can be read ({_first(error)})") from None
    return read


def _tab_separated(path: Path) -> pa.Table:
    """Read fields between tabs as they are: in these files a quotation mark is a letter like any other.

    A row with more or fewer fields than the header is kept as a row of nulls, for the validation to count.
    """
    rows = [line.split("\t") for line in _lines(path)]
    if not rows:
        raise UserError(f"{path}: empty; write a header and one row a line")
    headless = len(rows[0]) == len(COLA) and rows[0][1] in ("0", "1")
    header = COLA if headless else rows.pop(0)
    nothing = [None] * len(header)
    fields = zip(*(row if len(row) == len(header) else nothing for row in rows), strict=True)
    found = dict(zip(header, fields, strict=True)) if rows else dict.fromkeys(header, ())
    return table({_renamed(name, header): values for name, values in found.items()}, str(path))


def _renamed(name: str, header: list[str]) -> str:
    """Return the Hub's name of a column of GLUE's files; a name that another column bears already stays with it."""
    hub = MNLI.get(name, COLUMNS.get(name, name)) if "gold_label" in header else COLUMNS.get(name, name)
    return name if hub in header else hub


def _lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 file; only a line feed ends one, for sentences hold every other kind of break.

    Raises UserError where a line is not UTF-8.
    """
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; give yourself the right to") from None
    try:
        return [line.removesuffix(b"\r").decode() for line in (lines if lines[-1] else lines[:-1])]
    except UnicodeDecodeError:
        number, line = next((i, line) for i, line in enumerate(lines, start=1) if not _decodes(line))
        bad = sum(not _decodes(line) for line in lines)
        raise UserError(
            f"{path}: {bad} lines are not UTF-8, the first is line {number}: {line[:40]!r}; convert the file"
        ) from None


def _decodes(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _cut(splits: dict[str, pa.Table], ids: Path) -> dict[str, pa.Table]:
    """Cut MSR's train file into GLUE's train and validation splits by the ids of both sentences."""
    wanted = {tuple(line.split("\t")) for line in _lines(ids)}
    rows = splits.get("train", pa.table({}))
    if lacking := [name for name in IDS if rows.column_names.count(name) != 1]:
        raise UserError(
            f"{ids}: cuts validation out of a train split by {' and '.join(IDS)}, but there is no {lacking[0]}; "
            f"put MSR's train file beside it, or remove {DEV_IDS}"
        )
    pairs = zip(*(rows[name].to_pylist() for name in IDS), strict=True)
    held = pa.array([pair in wanted for pair in pairs])
    return splits | {"train": rows.filter(pc.invert(held)), "validation": rows.filter(held)}


READERS = {"jsonl": _json_lines, "parquet": _parquet, "tsv": _tab_separated, "txt": _tab_separated}
