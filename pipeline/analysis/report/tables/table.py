"""Tables of the report: columns are specified once and rendered as HTML, Markdown, terminal table or CSV.

HTML is rendered by the macro in ``templates/table.html.jinja``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table as TerminalTable


@dataclass(frozen=True)
class Column:
    """A column: the key of its value in a row, its title, its text format, and what the value means.

    ``value`` computes the value from a row; without it, ``key`` is looked up. ``help`` explains the column on the page.
    Columns with ``in_terminal`` False are left out in the terminal, which is too narrow for all of them.
    """

    key: str
    title: str
    format: Callable[[Any], str] = str
    help: str = ""
    value: Callable[[Any], Any] | None = None
    in_terminal: bool = True

    def get_value(self, row: Any) -> Any:
        """Return the unrounded value of a row, None where it is missing."""
        if self.value is not None:
            return self.value(row)
        return row[self.key] if isinstance(row, Mapping) else getattr(row, self.key)

    def format_cell(self, row: Any) -> str:
        """Return the text of a row in this column, empty where the value is missing."""
        value = self.get_value(row)
        return "" if value is None else self.format(value)


@dataclass(frozen=True)
class Table:
    """A table: rows are objects or mappings; notes explain single rows, warnings the data behind them."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Any]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def headings(self) -> tuple[str, ...]:
        """Return the titles of the columns."""
        return tuple(column.title for column in self.columns)

    def format_rows(self) -> list[list[str]]:
        """Return the texts of each row, one per column."""
        return [[column.format_cell(row) for column in self.columns] for row in self.rows]

    def drop_empty_columns(self) -> Table:
        """Return the table without columns that are empty in every row."""
        filled = [column for column in self.columns if any(column.format_cell(row) for row in self.rows)]
        return replace(self, columns=filled)


@dataclass(frozen=True)
class TableSection:
    """Tables under one heading; ``name`` is the section's anchor. They sort unless the order of rows has a meaning."""

    name: str
    title: str
    tables: Sequence[Table]
    note: str = ""
    sortable: bool = True


def create_columns(titles: Mapping[str, str]) -> list[Column]:
    """Return a column of texts for each key and title."""
    return [Column(key, title) for key, title in titles.items()]


def render_markdown(table: Table) -> str:
    """Return a table in Markdown, followed by its warnings and notes."""
    rules = ["---", *["---:"] * (len(table.columns) - 1)]
    lines = [f"| {' | '.join(texts)} |" for texts in (table.headings, rules, *table.format_rows())]
    notes = [f"- {note}" for note in (*table.warnings, *table.notes)]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def render_terminal(table: Table, wrap: bool = False) -> TerminalTable:
    """Return a table for rich: first column left-aligned, others right-aligned; ``wrap`` breaks long texts."""
    from rich import box
    from rich.table import Table as TerminalTable

    narrow = replace(table, columns=[column for column in table.columns if column.in_terminal])
    rendered = TerminalTable(title=table.title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, heading in enumerate(narrow.headings):
        rendered.add_column(heading, justify="right" if number else "left", no_wrap=not wrap)
    for texts in narrow.format_rows():
        rendered.add_row(*texts)
    return rendered


def render_csv(table: Table) -> str:
    """Return the unrounded values as CSV with the columns' keys as header; missing values are empty."""
    lines = [[_join_values(column.get_value(row)) for column in table.columns] for row in table.rows]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([[column.key for column in table.columns], *lines])
    return text.getvalue()


def _join_values(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, tuple) else value
