"""Comparison of all trials of a plan: laws, pairwise tests, fronts and cost at equal quality."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.analysis import laws
from pipeline.analysis.laws import LawSelection
from pipeline.analysis.recommendation import equal_quality, latency_pool, pareto
from pipeline.analysis.recommendation.equal_quality import EqualQualityCost
from pipeline.analysis.recommendation.pareto import ParetoFront
from pipeline.analysis.report import formatting
from pipeline.analysis.results.cell_table import LATENCY, CellCoordinates
from pipeline.analysis.results.trial_table import TrialResult
from pipeline.analysis.statistics import pair_errors, pairwise_tests, task_scores, variance  # fmt: skip
from pipeline.analysis.statistics.bootstrap import ScoreSamples
from pipeline.analysis.statistics.pairwise_tests import PairwiseTests
from pipeline.analysis.statistics.task_scores import TaskScores
from pipeline.analysis.statistics.variance import TrialOutcome, VarianceAnalysis
from pipeline.core import records

PAID_BY_ALL = ("train_seconds", "train_flops")  # costs that a cell has from all that it is made of

Costs = dict[str, tuple[float, ...]]  # by name, a number a seed


@dataclass(frozen=True)
class CellResult:
    """A cell with results: trials in seed order, and its costs with one number per seed.

    Training costs include all ancestors; unmeasured costs are missing. Latency is pooled over cells with the same
    computation (``latency_pool``).
    """

    point: CellCoordinates
    trials: tuple[TrialResult, ...]
    costs: Costs

    @property
    def is_uncompressed(self) -> bool:
        """Return whether it is a pre-trained cell of the main grid: no variant, student or compression."""
        return not self.point.section and self.trials[0].numbers["family"] == laws.FAMILY

    @property
    def machine(self) -> str:
        """Return the machine that measured its times."""
        return self.trials[0].machine

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return the warnings about the data of all trials, each once."""
        return records.collect_warnings(trial.numbers for trial in self.trials)

    def get_cost(self, name: str) -> float | None:
        """Return the mean over seeds of a cost, None where it was not measured."""
        values = self.costs.get(name)
        return sum(values) / len(values) if values else None

    def get_mean(self, name: str) -> float | None:
        """Return the mean over seeds of a number of its record, None where a seed has none."""
        values = self.get_values(name)
        return float(np.mean(values)) if values else None

    def get_values(self, name: str) -> tuple[float, ...]:
        """Return a number of its record for each seed, nothing where a seed has none."""
        found = [trial.numbers.get(name) for trial in self.trials]
        return tuple(float(value) for value in found if value is not None) if None not in found else ()


@dataclass(frozen=True)
class TaskComparison:
    """Comparison of one task's cells; ``results`` are in the order of the plan."""

    task: str
    results: tuple[CellResult, ...]
    scores: TaskScores
    pairwise_tests: PairwiseTests
    law_selections: tuple[LawSelection, ...]
    fronts: tuple[ParetoFront, ...]
    equal_quality_costs: tuple[EqualQualityCost, ...]

    @property
    def samples(self) -> ScoreSamples:
        """Return the scores of the cells with their samples."""
        return self.scores.samples

    def get_result(self, cell: str) -> CellResult:
        """Return a cell's result."""
        return next(result for result in self.results if result.point.cell == cell)


@dataclass(frozen=True)
class Comparison:
    """Comparison of all cells of a plan: each task, and the sources of variance in the grid."""

    tasks: tuple[TaskComparison, ...]
    variances: tuple[VarianceAnalysis, ...]


def compare_trials(trials: Sequence[TrialResult], targets: Sequence[str] = laws.TARGETS) -> Comparison:
    """Compare the trials of a plan, with laws of the targets (``loss``, ``error``)."""
    found = collect_results(trials)
    tasks = dict.fromkeys(result.point.task for result in found)
    return Comparison(
        tuple(compare_task(task, [result for result in found if result.point.task == task], targets) for task in tasks),
        variance.compute_analyses(_collect_outcomes(found)) if any(result.is_uncompressed for result in found) else (),
    )


def collect_results(trials: Iterable[TrialResult]) -> list[CellResult]:
    """Group trials by cell in the order of the cells, with their costs."""
    by_cell: dict[CellCoordinates, list[TrialResult]] = defaultdict(list)
    for trial in trials:
        by_cell[trial.point].append(trial)
    ordered = {point: tuple(sorted(group, key=lambda trial: trial.seed)) for point, group in by_cell.items()}
    spent = {name: _compute_spent(ordered, name) for name in PAID_BY_ALL}
    costs = _pool_latency(ordered, [_collect_costs(group, spent) for group in ordered.values()])
    return [CellResult(point, group, of_cell) for (point, group), of_cell in zip(ordered.items(), costs, strict=True)]


def compare_task(task: str, found: Sequence[CellResult], targets: Sequence[str]) -> TaskComparison:
    """Compare the cells of one task."""
    scores = task_scores.estimate_task_scores([result.trials for result in found])
    drawn, posterior = scores.samples, scores.posterior
    errors = None if posterior is None else pair_errors.compute_pair_errors(posterior, drawn.covariance)
    prices = [
        pareto.build_cost_samples(
            key, {result.point.cell: result.costs[key] for result in found if key in result.costs}
        )
        for key in pareto.COSTS
    ]
    most = max(result.point.ratio for result in found)
    plain = [result.point.cell for result in found if result.is_uncompressed and result.point.ratio == most]
    return TaskComparison(
        task,
        tuple(found),
        scores,
        pairwise_tests.compute_pairwise_tests(drawn, errors),
        tuple(
            laws.fit_task_laws(task, [_build_law_cell(result) for result in found if not result.point.section], targets)
        ),
        pareto.compute_fronts(drawn, prices),
        tuple(one for paid in prices if paid.names for one in equal_quality.compute_equal_quality(drawn, paid, plain)),
    )


def format_label(point: CellCoordinates) -> str:
    """Format a cell's display name: model and share of the data, or cell name and method."""
    share = "" if point.ratio == 1 else f" on {100 * point.ratio:g}% of the data"
    what = {"variants": point.recipe, "distill": point.method, "compress": point.method}.get(point.section)
    return f"{point.cell} ({what}, {point.model}{share})" if point.section else f"{point.line}{share}"


def _compute_spent(
    ordered: dict[CellCoordinates, tuple[TrialResult, ...]], name: str
) -> dict[tuple[str, int], float | None]:
    """Return the training cost of each trial (producer, seed) including all ancestors."""
    found: dict[tuple[str, int], float | None] = {}
    sources = {point.producer: point.source for point in ordered}
    for seed in sorted({trial.seed for group in ordered.values() for trial in group}):
        own = {
            point.producer: _get_own_cost(trial, name)
            for point, group in ordered.items()
            for trial in group
            if trial.seed == seed
        }
        found |= {(made, seed): value for made, value in pareto.compute_total_costs(own, sources).items()}
    return found


def _get_own_cost(trial: TrialResult, name: str) -> float | None:
    """Return the cost of a trial alone: 0 if it did not train, None if unknown."""
    trained = trial.point.section != "compress" or "train_seconds" in trial.numbers
    return trial.numbers.get(name) if trained else 0.0


def _collect_costs(group: tuple[TrialResult, ...], spent: dict[str, dict[tuple[str, int], float | None]]) -> Costs:
    found: Costs = {}
    for key in dict.fromkeys((*pareto.COSTS, "inference_memory_mib", "train_examples")):
        known = [
            spent[key][trial.point.producer, trial.seed] if key in spent else trial.numbers.get(key) for trial in group
        ]
        values = tuple(float(value) for value in known if value is not None and value > 0)
        if len(values) == len(group):  # what costs nothing is no part of a ratio
            found[key] = values
    return found


def _pool_latency(ordered: dict[CellCoordinates, tuple[TrialResult, ...]], costs: Sequence[Costs]) -> list[Costs]:
    """Return the costs with the latency of each cell pooled over the cells that compute the same."""
    keys = [latency_pool.compute_key(point, group[0].numbers, group[0].machine) for point, group in ordered.items()]
    pooled = latency_pool.pool(keys, [of_cell.get(LATENCY, ()) for of_cell in costs])
    return [{**of_cell, LATENCY: values} if values else of_cell for of_cell, values in zip(costs, pooled, strict=True)]


def _build_law_cell(result: CellResult) -> laws.LawCell:
    errors = tuple(1 - score for score in result.get_values("score"))
    return laws.LawCell(
        result.point.cell,
        result.trials[0].numbers["family"],
        {size: result.get_mean(size) for size in laws.SIZES},
        result.get_mean("train_examples"),
        result.get_mean("train_flops"),
        result.get_values("loss"),
        errors,
        result.point.recipe,
    )


def _collect_outcomes(found: Sequence[CellResult]) -> list[TrialOutcome]:
    """Return the scores of the main grid for the analysis of variance."""
    return [
        TrialOutcome(
            result.point.task,
            result.point.model,
            result.point.ratio,
            trial.numbers["score_name"],
            score,
            result.point.recipe,
        )
        for result in found
        if result.is_uncompressed
        for trial, score in zip(result.trials, result.get_values("score"), strict=True)
    ]


def format_metric(found: TaskComparison) -> str:
    """Return the name of a task's score with its unit."""
    return formatting.format_metric(found.samples.metric)
