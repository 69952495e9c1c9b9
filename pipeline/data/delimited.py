"""Parsing comma-separated and tab-separated text.

CSV follows RFC 4180: quotation marks enclose fields that hold commas, line breaks or (doubled) quotation marks. In TSV
there are two customs. pandas and spreadsheets write quotation marks as in CSV; GLUE's and MSR's own files, and most
corpora, hold them as letters. The rule: a TSV file is read with quotation marks if every field that begins with one is
closed and every row then has as many fields as the header. Otherwise, and in GLUE's and MSR's files, they are letters.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipeline.core.errors import UserError

Columns = Mapping[str, Sequence[str | None]]
Rows = list[list[str]]

QUOTE = '"'
COLA = ["source", "label", "mark", "sentence"]  # the only files of GLUE without a header
GLUE = (  # how the headers of GLUE's and MSR's own files begin
    ("Quality", "#1 ID"),
    ("Quality", "#1 String"),
    ("index", "#1 ID"),
    ("index", "#1 String"),
    ("index", "genre", "filename"),
    ("index", "promptID"),
    ("index", "question", "sentence"),
    ("index", "sentence1", "sentence2"),
    ("index", "sentence"),
    ("id", "qid1"),
    ("id", "question1"),
)
COLUMNS = {  # tab-separated names -> the names that the Hub's GLUE gives the same columns
    "Quality": "label",
    "#1 String": "sentence1",
    "#2 String": "sentence2",
    "is_duplicate": "label",
    "gold_label": "label",
    "score": "label",
}
MNLI = {"sentence1": "premise", "sentence2": "hypothesis"}

csv.field_size_limit(2**31 - 1)  # the default refuses a text of 128 KiB


class ParsedTsv(NamedTuple):
    """Columns of a TSV file, how its quotation marks were read, and whether that may be wrong."""

    columns: Columns
    note: str = ""
    doubtful: bool = False


class _Irregular(Exception):
    """Why text cannot be parsed with quotation marks."""


def parse_csv(text: str, where: str) -> Columns:
    """Return the columns of CSV text, all values as text. ``where`` names the file in messages.

    Raises UserError for quotation marks that are not closed and for rows that do not have the fields of the header.
    """
    try:
        header, *rows = _parse_quoted(text, ",") or [[]]
    except _Irregular as error:
        raise UserError(
            f"{where}: {error}; enclose a field that holds quotation marks in quotation marks and double those inside"
        ) from None
    if not header:
        raise UserError(f"{where}: empty; write a header and one row a line")
    ragged = [(number, row) for number, row in enumerate(rows, start=1) if len(row) != len(header)]
    if ragged:
        number, row = ragged[0]
        raise UserError(
            f"{where}: {len(ragged)} rows do not have the {len(header)} fields of the header, "
            f"the first is row {number} ({len(row)}); enclose a field that holds a comma in quotation marks"
        )
    return _make_columns(header, rows, where)


def parse_tsv(text: str, where: str) -> ParsedTsv:
    """Return the columns of TSV text, all values as text. ``where`` names the file in messages.

    A row with more or fewer fields than the header becomes a row of nulls, which the validation counts.
    Raises UserError for text without a header.
    """
    lines = text.split("\n")
    rows = [line.removesuffix("\r").split("\t") for line in (lines if lines[-1] else lines[:-1])]
    if not rows:
        raise UserError(f"{where}: empty; write a header and one row a line")
    if len(rows[0]) == len(COLA) and rows[0][1] in ("0", "1"):
        rows.insert(0, COLA)
        glue = True
    else:
        glue = any(tuple(rows[0][: len(names)]) == names for names in GLUE)
    if not any(field.startswith(QUOTE) for row in rows for field in row):
        return ParsedTsv(_make_glue_columns(rows[0], rows[1:], where))
    if glue:
        note = "quotation marks are letters, as in GLUE's and MSR's own files"
        return ParsedTsv(_make_glue_columns(rows[0], rows[1:], where), note)
    try:
        quoted = _parse_regular(text, rows)
    except _Irregular as error:
        note = f"quotation marks are read as letters, because {error}"
        return ParsedTsv(_make_glue_columns(rows[0], rows[1:], where), note, doubtful=True)
    note = "quotation marks enclose fields and are no part of them, as in files of pandas"
    return ParsedTsv(_make_glue_columns(quoted[0], quoted[1:], where), note)


def _parse_regular(text: str, letters: Rows) -> Rows:
    """Return TSV rows read with quotation marks. Raises _Irregular where the file was not written so.

    ``letters`` are the rows of the reading in which quotation marks are letters. Where that one is regular too and has
    other rows, a quotation mark that is never closed would swallow lines.
    """
    rows = _parse_quoted(text, "\t")
    for number, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise _Irregular(f"row {number} would have {len(row)} fields, the header has {len(rows[0])}")
    if len(rows) != len(letters) and all(len(row) == len(letters[0]) for row in letters):
        raise _Irregular("fields would hold line breaks although every line has the fields of the header")
    return rows


def _parse_quoted(text: str, delimiter: str) -> Rows:
    """Return the rows of text in which quotation marks enclose fields; lines without content are no rows.

    Raises _Irregular at the first row whose quotation marks are not closed or not doubled.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: Rows = []
    start = 1
    try:
        for row in reader:
            if row:
                rows.append(row)
            start = reader.line_num + 1
    except csv.Error as error:
        end = "is never closed" if "end of data" in str(error) else "is not closed at the end of the field"
        raise _Irregular(f"a quotation mark that opens a field {end} (the row at line {start})") from None
    return rows


def _make_glue_columns(header: list[str], rows: Rows, where: str) -> Columns:
    """Return rows as columns under the names that the Hub's GLUE gives them."""
    return {_rename(name, header): values for name, values in _make_columns(header, rows, where).items()}


def _make_columns(header: list[str], rows: Rows, where: str) -> Columns:
    """Return rows as columns; a row that does not have the fields of the header becomes nulls.

    Raises UserError where the header holds a name twice.
    """
    if repeated := [name for name in header if name and header.count(name) > 1]:
        raise UserError(f"{where}: the header holds {repeated[0]!r} {header.count(repeated[0])} times; keep one")
    nothing = [None] * len(header)
    fields = zip(*(row if len(row) == len(header) else nothing for row in rows), strict=True)
    return dict(zip(header, fields, strict=True)) if rows else dict.fromkeys(header, ())


def _rename(name: str, header: list[str]) -> str:
    """Return the Hub's name of a column of GLUE's files; a name that another column has already stays with it."""
    hub = MNLI.get(name, COLUMNS.get(name, name)) if "gold_label" in header else COLUMNS.get(name, name)
    return name if hub in header else hub
