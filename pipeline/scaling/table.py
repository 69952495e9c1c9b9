"""One row for each evaluated cell: its coordinates, its score with two intervals, its costs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pipeline import records
from pipeline.errors import UserError, near
from pipeline.scaling import texts


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

    Scores and their ends are in the metric's own unit (accuracy and F1 from 0 to 1). ``ci95`` is Student's t interval
    of the mean over seeds, None for one seed; ``bootstrap`` resamples the examples, averaged over seeds. ``gain`` is
    what a student's score has over that of the same student ``alone``, paired by seed; ``changed`` says what a
    compression did, in its first trial; ``hole`` says why a cell has no numbers. What is ``to_95pct`` was spent when
    the score on the selection rows came to 95% of its final value.
    """

    family: str = "pretrained"
    seeds: int = 0
    score_name: str | None = None
    score: float | None = None
    ci95_low: float | None = None
    ci95_high: float | None = None
    bootstrap_low: float | None = None
    bootstrap_high: float | None = None
    majority_score: float | None = None
    loss: float | None = None
    collapsed: int | None = None
    train_examples: int | None = None
    parameters: int | None = None
    parameters_non_embedding: int | None = None
    train_operations: float | None = None
    train_seconds: float | None = None
    operations_to_95pct: float | None = None
    seconds_to_95pct: float | None = None
    examples_to_95pct: float | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    latency_p99_ms: float | None = None
    inference_pairs_per_second: float | None = None
    inference_operations: float | None = None
    inference_memory_mib: float | None = None
    inference_memory_added_mib: float | None = None
    parameters_nonzero: int | None = None
    storage_bytes: int | None = None
    alone_score: float | None = None
    gain: float | None = None
    gain_ci95_low: float | None = None
    gain_ci95_high: float | None = None
    changed: str | None = None
    machine: str | None = None
    hole: str | None = None

    @property
    def low(self) -> float | None:
        """Return the lower end of both intervals together."""
        return min((end for end in (self.ci95_low, self.bootstrap_low) if end is not None), default=None)

    @property
    def high(self) -> float | None:
        """Return the upper end of both intervals together."""
        return max((end for end in (self.ci95_high, self.bootstrap_high) if end is not None), default=None)

    @property
    def above_majority(self) -> str:
        """Say whether the score beats always answering the commonest class: ``unclear`` inside either interval."""
        if self.majority_score is None or self.low is None or self.high is None:
            return ""
        if self.low > self.majority_score:
            return "yes"
        return "no" if self.high < self.majority_score else "unclear"


@dataclass(frozen=True)
class Sheet:
    """A table as texts: what it shows, its headings, its rows, and what is to be said of single rows."""

    title: str
    headings: tuple[str, ...]
    rows: list[list[str]]
    notes: tuple[str, ...] = ()


FAMILIES = ("pretrained", "fresh", "random")  # trained once and kept, trained anew in every run, not trained
MEANS = (
    "score", "bootstrap_low", "bootstrap_high", "majority_score", "loss", "train_operations", "train_seconds",
    "operations_to_95pct", "seconds_to_95pct", "examples_to_95pct", "latency_p50_ms", "latency_p95_ms",
    "latency_p99_ms", "inference_pairs_per_second", "inference_operations", "inference_memory_mib",
    "inference_memory_added_mib", "alone_score", "gain",
)  # fmt: skip
COUNTS = ("train_examples", "parameters", "parameters_non_embedding", "parameters_nonzero", "storage_bytes")


def read(plan: Iterable[Point], folder: Path) -> list[Row]:
    """Return the row of each cell from its record in ``folder``, in the given order.

    A record that is missing, or that is of an earlier training than the one that stands, is a hole. Raises UserError
    where a record is not whole, is of another layout, lacks what a row needs, or names a family that nobody draws.
    """
    return [_row(point, folder / f"{point.cell}.json") for point in plan]


def _row(point: Point, path: Path) -> Row:
    if why := records.hole(path):
        return Row(**vars(point), hole=why)
    record = records.opened(path, ("score", "score_name", "family", "collapsed"))
    summary, trials = record["summary"], record["trials"]
    family = trials[0]["family"]
    if family not in FAMILIES:
        raise UserError(
            f"conf/model/{point.model}.yaml: family: got {family!r}; {near(family, FAMILIES)}; then `dvc repro`"
        )
    return Row(
        **vars(point),
        family=family,
        seeds=len(trials),
        score_name=trials[0]["score_name"],
        ci95_low=summary["score"]["ci95_low"],
        ci95_high=summary["score"]["ci95_high"],
        **{f"gain_{end}": summary["gain"][end] for end in ("ci95_low", "ci95_high") if "gain" in summary},
        machine=_machine(record["machine"]),
        changed=trials[0].get("changed"),
        collapsed=sum(bool(trial["collapsed"]) for trial in trials),
        **{name: summary[name]["mean"] for name in MEANS if name in summary},
        **{name: round(summary[name]["mean"]) for name in COUNTS if name in summary},
    )


def _machine(known: dict[str, Any]) -> str:
    """Return what the numbers of a record depend on besides the plan."""
    return f"{known['processor']}, {known['device']}, {known['threads']} threads, torch {known['torch']}"


def as_csv(rows: Iterable[Row]) -> str:
    """Return every field of every row, numbers unrounded, holes empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [column.name for column in fields(Row)]
    writer.writerow([*names, "above_majority"])
    for row in rows:
        writer.writerow([*(getattr(row, name) for name in names), row.above_majority])
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
        f"{first.task}: {texts.metric(first.score_name)}, mean over {over} seed{'s' if seeds[-1] > 1 else ''}; "
        f"always the commonest answer: {texts.points(first.majority_score)}"
    )


def holes(rows: Sequence[Row]) -> str:
    """Say which cells were evaluated once and do not count, and why; nothing where there is none."""
    outdated = [row for row in rows if row.hole not in (None, records.NOT_RUN)]
    if not outdated:
        return ""
    return (
        f"cells that were evaluated once and do not count: {len(outdated)}, the first is {outdated[0].cell}: "
        f"{outdated[0].hole}; `dvc repro` fills them"
    )


def overview(rows: Sequence[Row]) -> str:
    """Return in one line how much there is, and what is missing or broken."""
    done = [row for row in rows if row.score is not None]
    parts = [f"{len(done)} of {len(rows)} cells have results"]
    if told := holes(rows):
        parts.append(told)
    if collapsed := sum(row.collapsed or 0 for row in done):
        parts.append(f"{collapsed} of {sum(row.seeds for row in done)} trials collapsed to one answer")
    if unclear := sum(row.above_majority in ("no", "unclear") for row in done):
        parts.append(f"{unclear} cells are not clearly above the commonest answer")
    return "; ".join(parts) + "."


HEADINGS = (
    "model",
    "parameters",
    "ratio",
    "examples",
    "score",
    "95% over seeds",
    "95% over examples",
    "above majority",
    "collapsed",
    "p50 ms",
    "pairs/s",
    "stored",
)


def name(row: Row) -> str:
    """Return a row's model, with its own name where it is beside the grid."""
    return f"{row.model} ({row.cell})" if row.section else row.model


def state(row: Row) -> str:
    """Say in a word or two why a row has no numbers; ``overview`` says more."""
    return records.NOT_RUN if row.hole in (None, records.NOT_RUN) else "outdated"


def cells(row: Row) -> list[str]:
    """Return a row as texts under ``HEADINGS``."""
    if row.score is None:
        return [name(row), "", f"{row.ratio:g}", "", state(row), *[""] * (len(HEADINGS) - 5)]
    return [
        name(row),
        texts.count(row.parameters),
        f"{row.ratio:g}",
        f"{row.train_examples:,}" if row.train_examples is not None else "",
        texts.points(row.score),
        texts.between(row.ci95_low, row.ci95_high),
        texts.between(row.bootstrap_low, row.bootstrap_high),
        row.above_majority,
        f"{row.collapsed} of {row.seeds}" if row.collapsed else "",
        f"{row.latency_p50_ms:.1f}" if row.latency_p50_ms is not None else "",
        f"{row.inference_pairs_per_second:,.0f}" if row.inference_pairs_per_second is not None else "",
        f"{row.storage_bytes / 1e6:.1f} MB" if row.storage_bytes is not None else "",
    ]


def sheets(rows: Iterable[Row]) -> list[Sheet]:
    """Return a table for each task: its models as they were fine-tuned, not taught by others and not compressed."""
    finetuned = [row for row in rows if row.source is None]
    by_task = [[row for row in finetuned if row.task == task] for task in tasks(finetuned)]
    return [Sheet(title(of_task), HEADINGS, [cells(row) for row in of_task]) for of_task in by_task]


def as_markdown(sheet: Sheet) -> str:
    """Return a table in Markdown."""
    lines = [sheet.headings, ["---", *["---:"] * (len(sheet.headings) - 1)], *sheet.rows]
    notes = [f"- {note}" for note in sheet.notes]
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), *([""] if notes else []), *notes])
