"""Reading one file of rows: JSON, JSON lines, parquet, CSV or TSV, each also compressed with gzip."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import UserError
from pipeline.data import delimited

KINDS = ("jsonl", "json", "csv", "tsv", "parquet")
BOM = b"\xef\xbb\xbf"


class Parsed(NamedTuple):
    """The rows of a file, how they were read where there was a choice, and what may be wrong with that choice."""

    table: pa.Table
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_table(path: Path) -> Parsed:
    """Return the rows of a file, read by its extension.

    Raises UserError when it cannot be read as what its name states.
    """
    kind = path.name.lower().removesuffix(".gz").rpartition(".")[2]
    return READERS[kind](path)


def make_table(columns: Mapping[str, Sequence[Any]], where: str) -> pa.Table:
    """Return a table of columns of plain values.

    Raises UserError when a column mixes kinds of values, or holds half a surrogate pair.
    """
    arrays = {}
    for name, values in columns.items():
        kinds = {type(value) for value in values} - {type(None)}
        if bool in kinds and len(kinds) > 1:  # pyarrow would read true among floats as 1.0
            raise UserError(f"{where}: column {name!r} does not hold values of one kind (booleans and others)")
        try:
            arrays[name] = pa.array(values)
        except (pa.ArrowException, UnicodeEncodeError, OverflowError, RecursionError) as error:
            raise UserError(
                f"{where}: column {name!r} does not hold values of one kind ({first_line(error)})"
            ) from None
    return pa.table(arrays)


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 file; only a line feed ends one, because sentences hold every other kind of break.

    Raises UserError where a line is not UTF-8.
    """
    lines = _decode(path, _read_bytes(path)).split("\n")
    return [line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1])]


def first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _read_bytes(path: Path) -> bytes:
    """Return the content of a file, decompressed if its name ends in .gz."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; give yourself the right to") from None
    if not path.name.lower().endswith(".gz"):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: not gzip that can be read ({first_line(error)}); compress the file again") from None


def _decode(path: Path, content: bytes) -> str:
    """Return bytes as text. Raises UserError that counts the lines that are not UTF-8 and shows the first."""
    content = content.removeprefix(BOM)
    try:
        return content.decode()
    except UnicodeDecodeError:
        bad = [(number, line) for number, line in enumerate(content.split(b"\n"), start=1) if not _decodes(line)]
        number, line = bad[0]
        shown = line.removesuffix(b"\r")[:40]
        raise UserError(
            f"{path}: {len(bad)} lines are not UTF-8, the first is line {number}: {shown!r}; convert the file"
        ) from None


def _decodes(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _read_json_lines(path: Path) -> Parsed:
    """Read one JSON object a line."""
    rows = []
    for number, line in enumerate(read_lines(path), start=1):
        row = _parse_json(line, f"{path}: line {number}", "; write one object a line")
        if not isinstance(row, dict):
            raise UserError(f"{path}: line {number} holds {type(row).__name__}; write one object a line")
        rows.append(row)
    return Parsed(_make_rows(rows, path))


def _read_json(path: Path) -> Parsed:
    """Read an array of JSON objects, or one object a line."""
    text = _decode(path, _read_bytes(path))
    if not text.lstrip().startswith("["):
        return _read_json_lines(path)
    rows = _parse_json(text, str(path), "; write an array of objects, or one object a line")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise UserError(f"{path}: entry {number} of the array is {type(row).__name__}; write an array of objects")
    return Parsed(_make_rows(rows, path))


def _parse_json(text: str, where: str, advice: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_refuse_repeated_keys)
    except json.JSONDecodeError as error:
        raise UserError(f"{where} is not JSON ({error.msg}){advice}") from None
    except _RepeatedKey as error:
        raise UserError(f"{where} holds the key {error.args[0]!r} twice; keep one") from None
    except (ValueError, RecursionError) as error:  # thousands of digits, or of brackets
        raise UserError(f"{where} is not JSON that can be read ({error})") from None


class _RepeatedKey(Exception):
    """A JSON object that holds a key twice: the parser alone would drop the first value."""


def _refuse_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedKey(next(name for name in names if names.count(name) > 1))
    return row


def _make_rows(rows: list[dict[str, Any]], path: Path) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row)
    return make_table({name: [row.get(name) for row in rows] for name in names}, str(path))


def _read_parquet(path: Path) -> Parsed:
    try:
        compressed = path.name.lower().endswith(".gz")
        # without partitioning=None, folders that are called a=b would become columns
        table = pq.read_table(pa.BufferReader(_read_bytes(path)) if compressed else path, partitioning=None)
        table.validate(full=True)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not parquet that can be read ({first_line(error)})") from None
    return Parsed(table)


def _read_csv(path: Path) -> Parsed:
    return Parsed(make_table(delimited.parse_csv(_decode(path, _read_bytes(path)), str(path)), str(path)))


def _read_tsv(path: Path) -> Parsed:
    columns, note, doubtful = delimited.parse_tsv(_decode(path, _read_bytes(path)), str(path))
    table = make_table(columns, str(path))
    remarks = (f"{path.name}: {note}",) if note else ()
    return Parsed(table, warnings=remarks) if doubtful else Parsed(table, notes=remarks)


READERS: dict[str, Callable[[Path], Parsed]] = {
    "jsonl": _read_json_lines,
    "json": _read_json,
    "parquet": _read_parquet,
    "csv": _read_csv,
    "tsv": _read_tsv,
    "txt": _read_tsv,  # MSR's own files
}
