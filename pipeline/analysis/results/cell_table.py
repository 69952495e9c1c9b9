"""One row for each evaluated cell: its coordinates, its score with its interval, its costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline.analysis.recommendation import latency_pool
from pipeline.core import records
from pipeline.core.errors import UserError, suggest

LATENCY = "latency_p50_ms"


@dataclass(frozen=True)
class CellCoordinates:
    """A cell of the plan that holds a classifier: its name in files and its coordinates.

    ``section`` is the part of the plan that names it, empty for the grid; ``source`` is the ``<stage>/<cell>`` that it
    is made from or learns from, and ``method`` its file of conf/; ``address`` is its evaluation's in DVC.
    ``several_recipes`` is true where the grid has more than one recipe, so that a label must name it.
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
    several_recipes: bool = field(default=False, kw_only=True)

    @property
    def line(self) -> str:
        """Return the label of a line of the grid: the model, and its recipe where there are several."""
        return f"{self.model}, {self.recipe}" if self.several_recipes else self.model

    @property
    def producer(self) -> str:
        """Return ``<stage>/<cell>`` that produced the classifier."""
        return f"{self.section if self.source else 'finetune'}/{self.cell}"


@dataclass(frozen=True)
class CellRow(CellCoordinates):
    """A cell's results; every number is None where the cell has none.

    Scores and their ends are in the metric's own unit (accuracy and F1 from 0 to 1). ``low`` and ``high`` are the ends
    of the 95% interval over seeds and examples (``task_scores``), None where no cell of the task repeats a seed.
    ``gain`` is a student's score less that of the same student ``alone``, paired by seed; ``changed`` is what a
    compression did, in its first trial; ``missing_reason`` explains why a cell has no numbers. What is ``to_95pct`` was
    spent when the score on the selection rows had covered 95% of the way from the baseline to its final value.
    ``warnings`` are sentences about the data of the cell. ``latency_p50_ms`` is the median over the ``latency_cells``
    cells whose ``computation`` is the same; ``latency_p50_seeds_ms`` are the cell's own, one a seed. ``torch`` and
    ``transformers`` are the versions that trained and evaluated it.
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
    missing_reason: str | None = None

    @property
    def above_majority(self) -> str:
        """Return whether the score is above the baseline (``yes``, ``no`` below it, ``unclear``)."""
        if self.majority_score is None or self.low is None or self.high is None:
            return ""
        if self.low > self.majority_score:
            return "yes"
        return "no" if self.high < self.majority_score else "unclear"


Intervals = Mapping[str, Mapping[str, float]]
NO_INTERVALS: Intervals = MappingProxyType({})
FAMILIES = ("pretrained", "fresh", "random")  # pre-trained once, trained from scratch in each run, untrained
MEANS = (
    "score", "majority_score", "loss", "train_flops", "train_seconds", "flops_to_95pct",
    "seconds_to_95pct", "examples_to_95pct", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms",
    "inference_pairs_per_second", "inference_flops", "inference_memory_mib", "inference_memory_added_mib",
    "alone_score", "gain",
)  # fmt: skip
COUNTS = ("train_examples", "parameters", "parameters_non_embedding", "parameters_nonzero", "storage_bytes")


def read_rows(
    points: Iterable[CellCoordinates], folder: Path, planned: records.Planned, intervals: Intervals = NO_INTERVALS
) -> list[CellRow]:
    """Return the row of each cell from its record in ``folder``, in the given order.

    ``intervals`` are by cell the ends of its interval and of its gain's (``task_scores.collect_intervals``).
    A record that does not count (``records.missing_reason``) leaves a hole with the reason. Raises UserError if a
    record is damaged, has another layout, lacks a key that a row needs, or names an unknown family. Latencies are
    pooled over the cells that compute the same.
    """
    rows = [_read_row(point, folder / f"{point.cell}.json", planned, intervals) for point in points]
    return latency_pool.pool_rows(rows)


def _read_row(point: CellCoordinates, path: Path, planned: records.Planned, intervals: Intervals) -> CellRow:
    if reason := records.missing_reason(path, planned):
        return CellRow(**vars(point), missing_reason=reason)
    record = records.read_record(path, ("score", "score_name", "family", "collapsed"))
    summary, trials = record["summary"], record["trials"]
    ends: dict[str, Any] = {**intervals.get(point.cell, {})}
    versions = records.read_versions(records.open_chain(path).values())
    family = trials[0]["family"]
    if family not in FAMILIES:
        raise UserError(
            f"conf/model/{point.model}.yaml: family: got {family!r}; {suggest(family, FAMILIES)}; then `dvc repro`"
        )
    return CellRow(
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


def list_tasks(rows: Iterable[CellRow]) -> list[str]:
    """Return the tasks in the order of the rows."""
    return list(dict.fromkeys(row.task for row in rows))
