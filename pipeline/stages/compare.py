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

from pipeline import plan
from pipeline.analysis.results import load_results
from pipeline.core import paths, redaction
from pipeline.core.errors import UserError, suggest
from pipeline.core.exits import exit_on_user_error
from pipeline.system import preload

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.analysis.comparison import Comparison
    from pipeline.analysis.recommendation.recommendation import Recommendation
    from pipeline.analysis.report.build_report import ReportContent
    from pipeline.analysis.results.cell_table import CellRow
    from pipeline.analysis.results.costs import CellCost

SIZES = ("parameters", "parameters_non_embedding")
CELL = "plan"
ANSWER = "answer.txt"  # in the report's folder


def compare(cfg: DictConfig) -> None:
    """Write the report and the comparison's record, and log both.

    Raises UserError where the configuration names no size that a row has.
    """
    from pipeline.analysis import comparison
    from pipeline.analysis.recommendation import recommendation
    from pipeline.analysis.report import build_report, render_pool
    from pipeline.analysis.results import export_tables
    from pipeline.tracking import get_tracker

    if cfg.size not in SIZES:
        raise UserError(f"conf/compare.yaml: size: got {cfg.size!r}; {suggest(cfg.size, SIZES)}")
    trials, measured, exploration = load_results.load_trials(), load_results.load_costs(), bool(cfg.exploration)
    folder = paths.get_cell_dir("compare", CELL, exploration=True) / "report" if exploration else paths.REPORT
    with render_pool.open_render_pool() as drawing, paths.replace_dir(folder) as out:
        found = comparison.compare_trials(trials)
        study = plan.load()
        rows = load_results.load_rows(task.scores for task in found.tasks)
        answers = [recommendation.recommend_cell(task, study.budget, study.margin) for task in found.tasks]
        numbers = export_tables.write_tables(trials, found, out)
        material = _material(rows, measured, found, answers, numbers)
        written = [
            path.relative_to(out) for path in build_report.write_report(material, out, cfg.size, cfg.dpi, drawing)
        ]
        text = "\n\n".join("\n".join(answer.lines) for answer in answers)
        (out / ANSWER).write_text(text + "\n" if text else "", encoding="utf-8")
    made = [folder / path for path in [*written, *map(Path, numbers), Path(ANSWER)]]
    record = _record(rows, export_tables.collect_metrics(found), made, exploration)
    path = paths.get_metrics_path("compare", CELL, exploration=exploration)
    paths.write_json(path, record)
    get_tracker().log_cell(record, [path, *made])
    get_tracker().update_views()
    if "LAB_RUN" not in os.environ:  # `lab run` prints them at its end, whether this ran or was up to date
        _print(rows, measured, folder)


def _material(
    rows: list[CellRow], measured: list[CellCost], found: Comparison, answers: list[Recommendation], numbers: list[str]
) -> ReportContent:
    from pipeline.analysis.report import build_report, html
    from pipeline.analysis.report.tables import comparison_tables
    from pipeline.tracking import get_tracker

    steps = [(f"{answer.choice.task}: {step}", step) for answer in answers for step in answer.support]
    linked = [
        html.Link(text, address)
        for text, step in [("this comparison", f"compare/{CELL}"), *steps]
        if (address := get_tracker().get_address(*step.split("/")))
    ]
    return build_report.ReportContent(
        rows,
        measured,
        findings=[finding for task in found.tasks for finding in task.law_selections],
        variance=found.variances,
        differences=[task.pairwise_tests for task in found.tasks],
        fronts=[front for task in found.tasks for front in task.fronts],
        answers=[
            html.AnswerSection(
                one.choice.task, one.sentences, comparison_tables.create_answer_tables(one), one.warnings
            )
            for one in answers
        ],
        sections=comparison_tables.create_sections(found.tasks),
        links=linked,
        files=numbers,
    )


def show() -> None:
    """Print the plan's tables and its answer, the path of its report, and how to browse every run."""
    from pipeline.analysis.statistics import task_scores

    _print(
        load_results.load_rows(task_scores.estimate_by_task(load_results.load_trials())),
        load_results.load_costs(),
        paths.REPORT,
    )


def _read_answer(rows: list[CellRow], folder: Path) -> str:
    """Return the answer in a report, or what to run if the report was made from other results."""
    from pipeline.analysis.report.tables import csv_files

    answer, numbers = folder / ANSWER, folder / "cells.csv"
    if not answer.exists() or not numbers.exists():
        return ""
    if numbers.read_text(encoding="utf-8") != csv_files.render_cells(rows):
        return f"{answer.relative_to(paths.ROOT)}: made from other results than these; run `dvc repro -s compare`\n"
    return answer.read_text(encoding="utf-8")


def _print(rows: list[CellRow], measured: list[CellCost], folder: Path) -> None:
    from pipeline.analysis.report import terminal

    page = folder / "index.html"
    terminal.print_results(rows, measured, _read_answer(rows, folder))
    if page.exists():
        print(f"report:       {page}")
    print("all runs:     lab ui")
    print("other limits: lab recommend latency_p50_ms=5", flush=True)


def _record(rows: list[CellRow], measures: dict[str, Any], files: list[Path], exploration: bool) -> dict[str, Any]:
    """Return the comparison in the form of every cell's record; it has no trials."""
    from pipeline.core import records
    from pipeline.execution import provenance

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
        "tags": {"git_commit": provenance.get_commit(), "inputs_sha256": digest},
        "machine": {},
        "artifacts": [str(path.relative_to(paths.ROOT)) for path in files],
    }
    return records.sign(record)


def main() -> None:
    """Compare as a Hydra app."""
    import hydra

    from pipeline.execution import overrides

    mistakes: list[UserError] = []

    def job(cfg: DictConfig) -> None:
        try:
            overrides.check_config("compare", cfg)
            compare(cfg)
        except UserError as error:  # Hydra would print where it was raised
            mistakes.append(error)

    with overrides.check_command("compare"):
        hydra.main(version_base="1.3", config_path=str(paths.CONF), config_name="compare")(job)()
    for mistake in mistakes:
        raise mistake


def _command() -> None:
    redaction.redact_streams()
    with exit_on_user_error("compare: "):
        main()


if __name__ == "__main__":
    if sys.argv[1:] == ["show"]:
        with exit_on_user_error("compare: "):
            show()
    else:
        preload.run_in_server()
        _command()
