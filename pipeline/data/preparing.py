"""From the rows of a source to the three files that everything later reads.

``train.parquet`` stands in the order of ``pipeline.data.subsets``, ``selection.parquet`` is carved from train and is
what choices are made on, ``report.parquet`` is the split the task reports and is never chosen on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import paths
from pipeline.data import subsets, summary, validation
from pipeline.data.tasks import Task
from pipeline.data.validation import Finding
from pipeline.errors import UserError, near

SCHEMA = 1
SPLITS = ("train", "selection", "report")

ODD = {
    "incomplete": "a field is missing, left out",
    "empty_text": "an empty text, kept",
    "broken_encoding": "characters of a broken encoding, kept",
    "duplicate": "texts that stood further up, kept",
    "contradicting_duplicate": "texts that stood further up with another label, kept",
}


def prepare(task: Task, splits: Mapping[str, pa.Table], source: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Write a task's parquet files and ``summary.json`` into ``out`` and return the summary.

    The same rows give the same bytes. Raises UserError for what ``pipeline.data.validation`` refuses.
    """
    train, found = _checked(task, "train", splits)
    report, found_in_report = _checked(task, task.report, splits)
    tables = {**_carved(task, train), "report": report}
    digests = {name: _written(table, out / f"{name}.parquet") for name, table in tables.items()}
    said, scores = summary.majority(task, tables["train"], report)
    content = {
        "schema": SCHEMA,
        "task": task.name,
        **_asked(task),
        "source": dict(source),
        "splits": {name: {**summary.describe(task, table), "sha256": digests[name]} for name, table in tables.items()},
        "source_train": summary.describe(task, train),
        "findings": {name: _plain(each) for name, each in (("train", found), (task.report, found_in_report))},
        "leaks": {
            f"{one}-{other}": validation.leaks(tables[one], tables[other])._asdict()
            for one, other in combinations(SPLITS, 2)
        },
        "majority_class": said,
        "majority": scores,
    }
    paths.write_json(out / "summary.json", content)
    return content


def _asked(task: Task) -> dict[str, Any]:
    """Return what is asked of the rows later: what is trained on them is stale once it is another."""
    labels = None if task.labels is None else list(task.labels)
    return {"labels": labels, "metrics": list(task.metrics), "score": task.score, "max_length": task.max_length}


def _checked(task: Task, name: str, splits: Mapping[str, pa.Table]) -> tuple[pa.Table, dict[str, Finding]]:
    """Return a split that is there, holds rows and is sound, and what was found in it."""
    where = f"task {task.name}"
    if name not in splits:
        raise UserError(f"{where}: no split {name!r} in the source; {near(name, splits)}")
    table, findings = validation.check(task, name, splits[name])
    if not table.num_rows:
        raise UserError(f"{where}: {name}: no rows; every split that is used needs some")
    validation.varied(task, name, table)
    return table, findings


def _carved(task: Task, table: pa.Table) -> dict[str, pa.Table]:
    """Return train in subset order and the split that selects in the order of the source."""
    labels = table["label"].to_numpy()
    kept, chosen = subsets.carve(labels, task.regression, task.selection_fraction, task.selection_seed)
    if not kept or not chosen:
        raise UserError(
            f"task {task.name}: train: {len(labels)} rows, too few for selection.fraction {task.selection_fraction}; "
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


def remarks(task: Task, content: Mapping[str, Any]) -> list[str]:
    """Return what a reader of the summary should know, a line each: what was odd, and what was done about it."""
    lines = [
        f"{split}: {text}: {finding['rows']} rows, the first is row {finding['first']}"
        for split, findings in content["findings"].items()
        for finding, text in ((findings[name], text) for name, text in ODD.items())
        if finding["rows"]
    ]
    for pair, finding in content["leaks"].items():
        one, other = pair.split("-")
        if finding["rows"]:
            lines.append(f"{other}: also in {one}, kept: {finding['rows']} rows, the first is row {finding['first']}")
    whole = content["source_train"]
    counts = list(whole.get("classes", {"": whole["rows"]}).values())
    if counts != list(task.train_counts):
        stated = f"conf/task/{task.name}.yaml states {list(task.train_counts)}, by which the plan is checked"
        lines.append(f"train: {counts} rows by class, but {stated}")
    return lines


def result(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers of a summary that a cell carries: rows, words, oddities and the majority baseline."""
    flat: dict[str, Any] = {f"{name}_rows": split["rows"] for name, split in content["splits"].items()}
    flat["words_mean"] = content["splits"]["train"]["words"]["mean"]
    for name in ODD:
        flat[f"{name}_rows"] = sum(findings[name]["rows"] for findings in content["findings"].values())
    flat["leaked_rows"] = sum(finding["rows"] for finding in content["leaks"].values())
    flat |= {f"majority_{metric}": value for metric, value in content["majority"].items()}
    return flat
