"""One row for each evaluated cell: its coordinates, its score with its interval, its costs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline.analysis.recommendation import latency_pool
from pipeline.analysis.report import formatting, warning_marks
from pipeline.core import records
from pipeline.core.errors import UserError, suggest

LATENCY = "latency_p50_ms"


@dataclass(frozen=True)
class Point:
    """A cell of the plan that holds a classifier: its name in files and its coordinates.

    ``section`` is the part of the plan that names it, empty for the grid; ``source`` is the ``<stage>/<cell>`` that it
    is made of or learns from, and ``method`` the file of conf/ that says how; ``address`` is its evaluation's in DVC.
    """

    cell: str
    task: str
    model: str
    ratio: float
    recipe: str
    address: str
    section: str = field(default="", kw_only=True)
    source: str | None = field(default=None, kw_only=True)
    method: str | None = field(default=None, kw_only=True)

    @property
    def made(self) -> str:
        """Return ``<stage>/<cell>`` of the classifier."""
        return f"{self.section if self.source else 'finetune'}/{self.cell}"


@dataclass(frozen=True)
class Row(Point):
    """A cell's results; every number is None where the cell has none.

    Scores and their ends are in the metric's own unit (accuracy and F1 from 0 to 1). ``low`` and ``high`` are the ends
    of the 95% interval over seeds and examples (``task_scores``), None where no cell of the task repeats a seed.
    ``gain`` is a student's score less that of the same student ``alone``, paired by seed; ``changed`` is what a
    compression did, in its first trial; ``hole`` says why a cell has no numbers. What is ``to_95pct`` was spent when
    the score on the selection rows had covered 95% of the way from the baseline to its final value. ``warnings`` are
    sentences about the data of the cell. ``latency_p50_ms`` is the median over the ``latency_cells`` cells whose
    ``computation`` is the same; ``latency_p50_seeds_ms`` are the cell's own, one a seed. ``torch`` and ``transformers``
    are the versions that trained and evaluated it.
    """

    family: str = "pretrained"
    seeds: int = 0
    score_name: str | None = None
    score: float | None = None
    low: float | None = None
    high: float | None = None
    majority_score: float | None = None
    loss: float | None = None
    collapsed: int | None = None
    train_examples: int | None = None
    parameters: int | None = None
    parameters_non_embedding: int | None = None
    train_flops: float | None = None
    train_seconds: float | None = None
    flops_to_95pct: float | None = None
    seconds_to_95pct: float | None = None
    examples_to_95pct: float | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
    inference_pairs_per_second: float | None = None
    inference_flops: float | None = None
    inference_memory_mib: float | None = None
    inference_memory_added_mib: float | None = None
    parameters_nonzero: int | None = None
    storage_bytes: int | None = None
    alone_score: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    changed: str | None = None
    machine: str | None = None
    computation: str = ""
    latency_p50_seeds_ms: tuple[float, ...] = ()
    latency_cells: int = 0
    torch: str | None = None
    transformers: str | None = None
    warnings: tuple[str, ...] = ()
    hole: str | None = None

    @property
    def above_majority(self) -> str:
        """Return whether the score is above the baseline (``yes``, ``no`` below it, ``unclear``)."""
        if self.majority_score is None or self.low is None or self.high is None:
            return ""
        if self.low > self.majority_score:
            return "yes"
        return "no" if self.high < self.majority_score else "unclear"


@dataclass(frozen=True)
class Sheet:
    """A table as texts: its title, headings and rows, notes on single rows, and warnings about the data behind it."""

    title: str
    headings: tuple[str, ...]
    rows: list[list[str]]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


Intervals = Mapping[str, Mapping[str, float]]
NO_INTERVALS: Intervals = MappingProxyType({})
FAMILIES = ("pretrained", "fresh", "random")  # trained once and kept, trained anew in every run, not trained
MEANS = (
    "score", "majority_score", "loss", "train_flops", "train_seconds", "flops_to_95pct",
    "seconds_to_95pct", "examples_to_95pct", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms",
    "inference_pairs_per_second", "inference_flops", "inference_memory_mib", "inference_memory_added_mib",
    "alone_score", "gain",
)  # fmt: skip
COUNTS = ("train_examples", "parameters", "parameters_non_embedding", "parameters_nonzero", "storage_bytes")


def read(
    points: Iterable[Point], folder: Path, planned: records.Planned, intervals: Intervals = NO_INTERVALS
) -> list[Row]:
    """Return the row of each cell from its record in ``folder``, in the given order.

    ``intervals`` are by cell the ends of its interval and of its gain's (``task_scores.collect_intervals``).
    A record that does not count (``records.missing_reason``) leaves a hole with the reason. Raises UserError if a
    record is damaged, has another layout, lacks a key that a row needs, or names an unknown family. Latencies are
    pooled over the cells that compute the same.
    """
    rows = [_row(point, folder / f"{point.cell}.json", planned, intervals) for point in points]
    return latency_pool.pool_rows(rows)


def _row(point: Point, path: Path, planned: records.Planned, intervals: Intervals) -> Row:
    if reason := records.missing_reason(path, planned):
        return Row(**vars(point), hole=reason)
    record = records.read_record(path, ("score", "score_name", "family", "collapsed"))
    summary, trials = record["summary"], record["trials"]
    ends: dict[str, Any] = {**intervals.get(point.cell, {})}
    versions = records.read_versions(records.open_chain(path).values())
    family = trials[0]["family"]
    if family not in FAMILIES:
        raise UserError(
            f"conf/model/{point.model}.yaml: family: got {family!r}; {suggest(family, FAMILIES)}; then `dvc repro`"
        )
    return Row(
        **vars(point),
        family=family,
        seeds=len(trials),
        score_name=trials[0]["score_name"],
        **ends,
        machine=format_machine(record["machine"]),
        computation=latency_pool.compute_key(point, trials[0], format_machine(record["machine"])),
        latency_p50_seeds_ms=tuple(trial[LATENCY] for trial in trials if trial.get(LATENCY) is not None),
        torch=versions["torch"],
        transformers=versions["transformers"],
        warnings=records.collect_warnings(trials),
        changed=trials[0].get("changed"),
        collapsed=sum(bool(trial["collapsed"]) for trial in trials),
        **{name: summary[name]["mean"] for name in MEANS if name in summary},
        **{name: round(summary[name]["mean"]) for name in COUNTS if name in summary},
    )


def format_machine(known: dict[str, Any]) -> str:
    """Return what the numbers of a record depend on besides the plan."""
    return f"{known['processor']}, {known['device']}, {known['threads']} threads, torch {known['torch']}"


def as_csv(rows: Iterable[Row]) -> str:
    """Return every field of every row, numbers unrounded, holes empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [column.name for column in fields(Row)]
    writer.writerow([*names, "above_majority"])
    for row in rows:
        values = (getattr(row, name) for name in names)
        texts = (" ".join(map(str, value)) if isinstance(value, tuple) else value for value in values)
        writer.writerow([*texts, row.above_majority])
    return text.getvalue()


def tasks(rows: Iterable[Row]) -> list[str]:
    """Return the tasks in the order of the rows."""
    return list(dict.fromkeys(row.task for row in rows))


def title(rows: list[Row]) -> str:
    """Return what a table of one task's rows shows, its baseline included."""
    measured = [row for row in rows if row.score is not None]
    if not measured:
        return f"{rows[0].task}: no results yet"
    first = measured[0]
    seeds = sorted({row.seeds for row in measured})
    over = " to ".join(str(count) for count in dict.fromkeys((seeds[0], seeds[-1])))
    return (
        f"{first.task}: {formatting.metric(first.score_name)}, mean over {over} seed{'s' if seeds[-1] > 1 else ''}; "
        f"baseline (best constant answer): {formatting.points(first.majority_score)}"
    )


def overview(rows: Sequence[Row]) -> str:
    """Return in one line how many cells have results, and how many of those are doubtful."""
    done = [row for row in rows if row.score is not None]
    parts = [f"{len(done)} of {len(rows)} cells have results"]
    if collapsed := sum(row.collapsed or 0 for row in done):
        parts.append(f"{collapsed} of {sum(row.seeds for row in done)} trials collapsed to one answer")
    verdicts = [row.above_majority for row in done]
    if below := verdicts.count("no"):
        parts.append(f"{_count_cells(below)} below the baseline")
    if unclear := verdicts.count("unclear"):
        parts.append(f"{_count_cells(unclear)} not clearly above the baseline")
    if single := sum(row.low is None for row in done):
        cells = "cell has" if single == 1 else "cells have"
        parts.append(f"{single} {cells} no interval, since no cell of the task has two seeds that learned")
    if warned := sum(bool(row.warnings) for row in done):
        parts.append(f"{warned} {'cell has' if warned == 1 else 'cells have'} warnings about the data")
    return "; ".join(parts) + "."


def _count_cells(count: int) -> str:
    return f"{count} {'cell is' if count == 1 else 'cells are'}"


BELOW = "below the baseline"
HEADINGS = (
    "model",
    "parameters",
    "ratio",
    "examples",
    "score",
    "95%",
    "above baseline",
    "collapsed",
    "p50 ms",
    "pairs/s",
    "stored",
)


def name(row: Row) -> str:
    """Return a row's model, with its own name where it is beside the grid."""
    return f"{row.model} ({row.cell})" if row.section else row.model


def state(hole: str | None) -> str:
    """Return in a word or two why a cell has no numbers."""
    return records.NOT_RUN if hole in (None, records.NOT_RUN) else "outdated"


def list_holes(rows: Iterable[Row]) -> tuple[str, ...]:
    """Return why the records of cells do not count, a note for each."""
    return tuple(f"{row.cell}: {row.hole}" for row in rows if row.hole not in (None, records.NOT_RUN))


def cells(row: Row, marks: Mapping[str, str]) -> list[str]:
    """Return a row as texts under ``HEADINGS``; ``marks`` are those of the warnings of its table."""
    if row.score is None:
        return [name(row), "", f"{row.ratio:g}", "", state(row.hole), *[""] * (len(HEADINGS) - 5)]
    return [
        name(row),
        formatting.count(row.parameters),
        f"{row.ratio:g}",
        f"{row.train_examples:,}" if row.train_examples is not None else "",
        warning_marks.format_score(row, marks),
        formatting.between(row.low, row.high),
        BELOW if row.above_majority == "no" else row.above_majority,
        f"{row.collapsed} of {row.seeds}" if row.collapsed else "",
        f"{row.latency_p50_ms:.1f}" if row.latency_p50_ms is not None else "",
        f"{row.inference_pairs_per_second:,.0f}" if row.inference_pairs_per_second is not None else "",
        f"{row.storage_bytes / 1e6:.1f} MB" if row.storage_bytes is not None else "",
    ]


def sheets(rows: Iterable[Row]) -> list[Sheet]:
    """Return a table for each task: its models as they were fine-tuned, not taught by others and not compressed."""
    finetuned = [row for row in rows if row.source is None]
    return [_sheet([row for row in finetuned if row.task == task]) for task in tasks(finetuned)]


def _sheet(rows: list[Row]) -> Sheet:
    marks = warning_marks.number_warnings(rows)
    shown = [cells(row, marks) for row in rows]
    notes = (*filter(None, [latency_pool.format_note(rows)]), *list_holes(rows))
    return Sheet(title(rows), HEADINGS, shown, notes, warning_marks.list_warnings(marks))


def as_markdown(sheet: Sheet) -> str:
    """Return a table in Markdown, its warnings before its notes."""
    lines = [sheet.headings, ["---", *["---:"] * (len(sheet.headings) - 1)], *sheet.rows]
    notes = [f"- {note}" for note in (*sheet.warnings, *sheet.notes)]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), *([""] if notes else []), *notes])
