"""What a comparison finds in rows that were made up: answers drawn at random around each row's score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipeline.analysis import laws
from pipeline.analysis.recommendation import pareto
from pipeline.analysis.report.build_report import ReportContent
from pipeline.analysis.report.html import AnswerSection, Link
from pipeline.analysis.report.tables.table import Column, Table
from pipeline.analysis.results.cell_table import CellRow
from pipeline.analysis.results.costs import CellCost
from pipeline.analysis.statistics import pair_errors, pairwise_tests, task_scores, variance
from pipeline.analysis.statistics.bootstrap import CellPredictions, ScoreSamples, sample_scores
from pipeline.analysis.statistics.pairwise_tests import PairwiseTests

SEEDS, EXAMPLES = 3, 120
COSTS = ("parameters", "train_flops")


def made_cheaper(rows: Sequence[CellRow]) -> list[CellRow]:
    """Return the rows with a student and a compression of the first cell, half its size and a little worse."""
    first = rows[0]
    cheaper = [
        replace(
            first, cell=cell, section=section, source=first.producer, method=method, score=first.score - 0.02,
            parameters=first.parameters // 2,
        )
        for cell, section, method in (("taught", "distill", "logits"), ("narrow", "compress", "width"))
    ]  # fmt: skip
    return [*rows, *cheaper]


def material(rows: Sequence[CellRow], measured: Sequence[CellCost] = ()) -> ReportContent:
    """Return everything that a report can show of the rows."""
    known = [row for row in rows if row.score is not None]
    tasks = list(dict.fromkeys(row.task for row in known))
    by_task = {task: [row for row in known if row.task == task] for task in tasks}
    drawn = {task: _estimate(of_task) for task, of_task in by_task.items()}
    limits = Table(
        "The limits",
        [Column("limit", "limit"), Column("at_most", "at most")],
        [{"limit": "latency p50", "at_most": "2.0 ms"}],
    )
    return ReportContent(
        rows,
        measured,
        [found for task, of_task in by_task.items() for found in laws.fit_task_laws(task, [*map(_cell, of_task)])],
        variance.compute_analyses([outcome for row in known if _whole(row) for outcome in _outcomes(row)]),
        [compared for _, compared in drawn.values()],
        [front for task, (draws, _) in drawn.items() for front in pareto.compute_fronts(draws, _prices(by_task[task]))],
        [AnswerSection(task, ("First.", "Second.", "Third."), (limits,)) for task in tasks],
        links=[Link("the comparison", "http://127.0.0.1:5000/#/runs/1")],
        files=["results.csv"],
    )


def _estimate(rows: Sequence[CellRow]) -> tuple[ScoreSamples, PairwiseTests]:
    drawn = sample_scores([_answers(row) for row in rows], 200)
    facts = {row.cell: task_scores.CellTraits(row.model, row.ratio, [False] * SEEDS) for row in rows}
    posterior = task_scores.estimate_posterior(drawn, facts, 0.0)
    assert posterior is not None
    errors = pair_errors.compute_pair_errors(posterior, drawn.covariance)
    return task_scores.add_intervals(drawn, posterior, 200), pairwise_tests.compute_pairwise_tests(drawn, errors)


def _answers(row: CellRow) -> CellPredictions:
    random = np.random.default_rng(len(row.cell))
    labels = np.arange(EXAMPLES) % 2
    wrong = random.random((SEEDS, EXAMPLES)) > row.score
    return CellPredictions(row.cell, row.task, np.where(wrong, 1 - labels, labels), labels, row.score_name)


def _cell(row: CellRow) -> laws.LawCell:
    sizes = {name: getattr(row, name) for name in ("parameters", "parameters_non_embedding")}
    errors = tuple((1 - row.score) * (1 + 0.02 * seed) for seed in range(-1, 2))
    losses = tuple(1.5 * error for error in errors)
    family = "variant" if row.section else row.family
    return laws.LawCell(row.cell, family, sizes, row.train_examples, row.train_flops, losses, errors)


def _whole(row: CellRow) -> bool:
    """Say whether a row lies in the part of the grid that has no holes."""
    return row.family == "pretrained" and not row.section


def _outcomes(row: CellRow) -> list[variance.TrialOutcome]:
    random = np.random.default_rng(len(row.cell))
    scores = row.score + 0.01 * random.standard_normal(SEEDS)
    return [variance.TrialOutcome(row.task, row.model, row.ratio, "accuracy", float(score)) for score in scores]


def _prices(rows: Sequence[CellRow]) -> list[pareto.CostSamples]:
    return [
        pareto.build_cost_samples(key, {row.cell: [getattr(row, key)] * SEEDS for row in rows}, 200) for key in COSTS
    ]
