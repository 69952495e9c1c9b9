"""compare: the evaluated and the benchmarked cells of the plan as laws, fronts, a recommendation and a report.

``python -m pipeline.stages.compare --multirun +sweep=once`` writes ``report/`` and ``metrics/compare/plan.json``;
without a sweep it is an exploration (such as ``size=parameters``) and writes below ``runs/exploration/compare/``.
``python -m pipeline.stages.compare show`` prints the tables of the plan again and writes nothing.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import masking, paths, plan, results, warm
from pipeline.errors import UserError, ending, near

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.scaling.comparison import Comparison
    from pipeline.scaling.costs import Cost
    from pipeline.scaling.recommending import Answer
    from pipeline.scaling.report import Material
    from pipeline.scaling.table import Row

SIZES = ("parameters", "parameters_non_embedding")
CELL = "plan"
ANSWER = "answer.txt"  # beside the report


def compare(cfg: DictConfig) -> None:
    """Write the report and the comparison's record, and log both.

    Raises UserError where the configuration names no size that a row has.
    """
    from pipeline import tracking
    from pipeline.scaling import comparison, files, recommending, report, studio

    if cfg.size not in SIZES:
        raise UserError(f"conf/compare.yaml: size: got {cfg.size!r}; {near(cfg.size, SIZES)}")
    trials, measured, exploration = results.trials(), results.benchmarks(), bool(cfg.exploration)
    folder = paths.cell("compare", CELL, exploration=True) / "report" if exploration else paths.REPORT
    with studio.opened() as drawing, paths.replacing(folder) as out:
        found = comparison.compare(trials)
        study = plan.load()
        rows = results.rows(task.scores for task in found.tasks)
        answers = [recommending.recommend(task, study.budget, study.margin) for task in found.tasks]
        numbers = files.write(trials, found, out)
        material = _material(rows, measured, found, answers, numbers)
        written = [path.relative_to(out) for path in report.write(material, out, cfg.size, cfg.dpi, drawing)]
        told = "\n\n".join("\n".join(answer.lines) for answer in answers)
        (out / ANSWER).write_text(told + "\n" if told else "", encoding="utf-8")
    made = [folder / path for path in [*written, *map(Path, numbers), Path(ANSWER)]]
    record = _record(rows, files.measures(found), made, exploration)
    path = paths.metrics("compare", CELL, exploration=exploration)
    paths.write_json(path, record)
    tracking.tell_cell(record, [path, *made])
    tracking.refresh_views()
    if "MAKELEVEL" not in os.environ:  # `make repro` shows it last, whether this ran or was up to date
        _print(rows, measured, folder)


def _material(
    rows: list[Row], measured: list[Cost], found: Comparison, answers: list[Answer], numbers: list[str]
) -> Material:
    from pipeline import tracking
    from pipeline.scaling import page, report, sheets

    steps = [(f"{answer.choice.task}: {step}", step) for answer in answers for step in answer.support]
    linked = [
        page.Link(text, address)
        for text, step in [("this comparison", f"compare/{CELL}"), *steps]
        if (address := tracking.address(*step.split("/")))
    ]
    return report.Material(
        rows,
        measured,
        findings=[finding for task in found.tasks for finding in task.findings],
        variance=found.variances,
        differences=[task.differences for task in found.tasks],
        fronts=[front for task in found.tasks for front in task.fronts],
        answers=[page.Answer(one.choice.task, one.sentences, sheets.details(one), one.warnings) for one in answers],
        parts=sheets.parts(found.tasks),
        links=linked,
        files=numbers,
    )


def show() -> None:
    """Print the plan's tables and its answer, the path of its report, and how to browse every run."""
    from pipeline.scaling import task_scores

    _print(results.rows(task_scores.estimate_trials(results.trials())), results.benchmarks(), paths.REPORT)


def _read_answer(rows: list[Row], folder: Path) -> str:
    """Return the answer in a report, or what to run if the report was made from other results."""
    from pipeline.scaling import table

    answer, numbers = folder / ANSWER, folder / "cells.csv"
    if not answer.exists() or not numbers.exists():
        return ""
    if numbers.read_text(encoding="utf-8") != table.as_csv(rows):
        return f"{answer.relative_to(paths.ROOT)}: made from other results than these; run `dvc repro -s compare`\n"
    return answer.read_text(encoding="utf-8")


def _print(rows: list[Row], measured: list[Cost], folder: Path) -> None:
    from pipeline.scaling import terminal

    page = folder / "index.html"
    terminal.show(rows, measured, _read_answer(rows, folder))
    if page.exists():
        print(f"report:       {page}")
    print("all runs:     make ui (or python -m pipeline.tracking ui)")
    print('other limits: make recommend BUDGET="latency_p50_ms=5" (or python -m pipeline.recommend ...)', flush=True)


def _record(rows: list[Row], measures: dict[str, Any], files: list[Path], exploration: bool) -> dict[str, Any]:
    """Return the comparison in the form of every cell's record; it has no trials of its own."""
    from pipeline import origins, records

    done = [row for row in rows if row.score is not None]
    counts = {
        "cells": len(rows),
        "cells_without_results": len(rows) - len(done),
        "cells_above_majority": sum(row.above_majority == "yes" for row in done),
        "cells_below_majority": sum(row.above_majority == "no" for row in done),
        "collapsed_trials": sum(row.collapsed or 0 for row in done),
    }
    numbers = [path.read_bytes() for path in files if path.suffix == ".csv"]
    digest = hashlib.sha256(b"".join(numbers)).hexdigest()
    record = {
        "schema": records.SCHEMA,
        "stage": "compare",
        "cell": CELL,
        "exploration": exploration,
        "trials": [],
        "summary": {name: records.compute_spread([float(count)]) for name, count in counts.items()} | measures,
        "inputs": {},
        "tags": {"git_commit": origins.commit(), "inputs_sha256": digest},
        "machine": {},
        "artifacts": [str(path.relative_to(paths.ROOT)) for path in files],
    }
    return records.sealed(record)


def main() -> None:
    """Compare as a Hydra app."""
    import hydra

    from pipeline import overrides, sweeper

    sweeper.compose_seeds_once()
    mistakes: list[UserError] = []

    def job(cfg: DictConfig) -> None:
        try:
            if sound(cfg):
                compare(cfg)
        except UserError as error:  # Hydra would print where it was raised
            mistakes.append(error)

    with overrides.taken("compare") as sound:
        hydra.main(version_base="1.3", config_path=str(paths.CONF), config_name="compare")(job)()
    for mistake in mistakes:
        raise mistake


def _command() -> None:
    masking.cover()
    with ending("compare: "):
        main()


if __name__ == "__main__":
    if sys.argv[1:] == ["show"]:
        with ending("compare: "):
            show()
    else:
        warm.call(_command)
