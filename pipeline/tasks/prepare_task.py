"""Write a task's rows as the three files that all later stages read.

``train.parquet`` is in the order of ``pipeline.data.subsets``. ``selection.parquet`` is taken from train; choices are
made on it. ``report.parquet`` is the report split; no choice uses it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import paths
from pipeline.core.errors import UserError, suggest
from pipeline.data import subsets
from pipeline.data.split_files import Splits, format_unread, name_split
from pipeline.tasks import row_checks, task_summary
from pipeline.tasks.labels import describe_rule, find_doubtful_numeral
from pipeline.tasks.row_checks import Finding
from pipeline.tasks.task_config import Task

SCHEMA = 1
SPLITS = ("train", "selection", "report")

ODD = {  # how a warning describes such rows
    "incomplete": "without all fields of the header, or with more (left out)",
    "empty_text": "with an empty text (kept)",
    "broken_encoding": "with characters of a broken encoding (kept)",
    "duplicate": "with the texts of an earlier row (kept)",
    "contradicting_duplicate": "with the texts of an earlier row and another label (kept)",
}


def prepare(task: Task, splits: Mapping[str, pa.Table], source: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Write a task's parquet files and ``summary.json`` into ``out`` and return the summary.

    The same rows give the same bytes. The summary holds the rule by which labels were read (``label_rule``), how files
    were read (``reading``) and what is wrong with the rows (``warnings``), in sentences.

    Raises UserError for what ``pipeline.tasks.row_checks`` refuses, and for ``train_counts`` that the data do not have.
    """
    train, found = _checked(task, "train", splits)
    described = task_summary.describe(task, train)
    _check_counts(task, described)
    report, found_in_report = _checked(task, task.report, splits)
    tables = {**_carved(task, train), "report": report}
    digests = {name: _written(table, out / f"{name}.parquet") for name, table in tables.items()}
    said, scores = task_summary.majority(task, tables["train"], report)
    content = {
        "schema": SCHEMA,
        "task": task.name,
        **_asked(task),
        "source": dict(source),
        "splits": {
            name: {**task_summary.describe(task, table), "sha256": digests[name]} for name, table in tables.items()
        },
        "source_train": described,
        "findings": {name: _plain(each) for name, each in (("train", found), (task.report, found_in_report))},
        "leaks": {
            f"{one}-{other}": {
                **row_checks.leaks(tables[one], tables[other])._asdict(),
                "relabelled": row_checks.count_relabelled(tables[one], tables[other]),
            }
            for one, other in combinations(SPLITS, 2)
        },
        "majority_class": said,
        "majority": scores,
        "label_rule": describe_rule(task.labels, task.range),
        "reading": [*splits.notes, *_name_unread(splits)] if isinstance(splits, Splits) else [],
    }
    from_files = splits.warnings if isinstance(splits, Splits) else []
    content["warnings"] = [*from_files, *_format_warnings(task, content)]
    paths.write_json(out / "summary.json", content)
    return content


def _name_unread(splits: Splits) -> list[str]:
    """Return the files of the source that were not read, as sentences."""
    return [f"not read: {name} ({reason})" for name, reason in splits.unread.items()]


def format_reading(content: Mapping[str, Any]) -> list[str]:
    """Return what ``prepare`` prints of a summary: how labels and files were read, and all warnings."""
    warnings = [f"warning: {warning}" for warning in content["warnings"]]
    return [f"labels: {content['label_rule']}", *content["reading"], *warnings]


def _asked(task: Task) -> dict[str, Any]:
    """Return the settings that later stages use, so that a change of them makes those stages stale."""
    labels = None if task.labels is None else list(task.labels)
    return {"labels": labels, "metrics": list(task.metrics), "score": task.score, "max_length": task.max_length}


def _checked(task: Task, name: str, splits: Mapping[str, pa.Table]) -> tuple[pa.Table, dict[str, Finding]]:
    """Return a split that is there, holds rows and is sound, and what was found in it."""
    where = f"task {task.name}"
    split = name if name in splits else name_split(name)
    if split not in splits:
        unread = format_unread(splits.unread) if isinstance(splits, Splits) else ""
        raise UserError(f"{where}: no split {name!r} in the source; {suggest(name, splits)}{unread}")
    table, findings = row_checks.check(task, name, splits[split])
    if not table.num_rows:
        raise UserError(f"{where}: {name}: no rows; every split that is used needs some")
    row_checks.varied(task, name, table)
    return table, findings


def _carved(task: Task, table: pa.Table) -> dict[str, pa.Table]:
    """Return train in subset order and the split that selects in the order of the source."""
    labels = table["label"].to_numpy()
    kept, chosen = subsets.carve(labels, task.regression, task.selection.fraction, task.selection.seed)
    if not kept or not chosen:
        raise UserError(
            f"task {task.name}: train: {len(labels)} rows, too few for selection.fraction {task.selection.fraction}; "
            "both parts need some"
        )
    drawn = subsets.order(subsets.strata(labels[kept], task.regression), task.subset_seed)
    return {"train": table.take([kept[row] for row in drawn]), "selection": table.take(chosen)}


def _written(table: pa.Table, path: Path) -> str:
    """Write parquet of which the bytes follow from the rows and the version of pyarrow; return their SHA-256."""
    pq.write_table(table, path, compression="zstd", version="2.6", store_schema=False)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _plain(findings: Mapping[str, Finding]) -> dict[str, dict[str, int | None]]:
    return {name: finding._asdict() for name, finding in findings.items()}


def _check_counts(task: Task, described: Mapping[str, Any]) -> None:
    """Raise UserError where the conf file states other rows by class than the train split has.

    The plan computes from them how many rows of each class a subset holds.
    """
    counts = list(described.get("classes", {"": described["rows"]}).values())
    if counts != list(task.train_counts):
        where = f"conf/task/{task.name}.yaml: train_counts"
        raise UserError(f"{where}: got {list(task.train_counts)}; the data have {counts}; write that")


def _format_warnings(task: Task, content: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the rows of a task, a sentence each."""
    lines = []
    for split, findings in content["findings"].items():
        for name, what in ODD.items():
            if rows := findings[name]["rows"]:
                lines.append(f"{split} has {_count(rows)} {what}; the first is row {findings[name]['first']}")
    for pair, finding in content["leaks"].items():
        earlier, later = pair.split("-")
        if rows := finding["rows"]:
            whole = content["splits"][later]["rows"]
            share = f"{rows} of {_count(whole)} of {later} ({rows / whole:.1%})"
            relabelled = f", {finding['relabelled']} of them with another label" if finding["relabelled"] else ""
            lines.append(f"leak: {share} also in {earlier}{relabelled} (kept); the first is row {finding['first']}")
    if doubtful := find_doubtful_numeral(task.labels or ()):
        name, other = doubtful
        lines.append(f"labels: {name} is read as the class {name!r}, not as the index of {other!r}")
    return lines


def _count(rows: int) -> str:
    return f"{rows:,} row" if rows == 1 else f"{rows:,} rows"


def result(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of a summary that a cell carries: rows, words, oddities and the majority baseline."""
    flat: dict[str, Any] = {f"{name}_rows": split["rows"] for name, split in content["splits"].items()}
    flat["words_mean"] = content["splits"]["train"]["words"]["mean"]
    for name in ODD:
        flat[f"{name}_rows"] = sum(findings[name]["rows"] for findings in content["findings"].values())
    flat["leaked_rows"] = sum(finding["rows"] for finding in content["leaks"].values())
    flat |= {f"majority_{metric}": value for metric, value in content["majority"].items()}
    return flat
