"""From the trials of a task to the intervals of its cells and the gains of its students."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.analysis.results.trial_table import TrialResult
from pipeline.analysis.statistics import bootstrap, paired_gains, posterior_draws, score_intervals
from pipeline.analysis.statistics.bootstrap import CellPredictions, ScoreSamples
from pipeline.analysis.statistics.paired_gains import PairedGain
from pipeline.analysis.statistics.score_intervals import CellScores, Posterior

DIGITS = 9  # of an end: the last digits of a sum depend on the machine

Intervals = dict[str, dict[str, float]]  # by cell: low and high, of a student gain_low and gain_high as well


@dataclass(frozen=True)
class CellTraits:
    """What a cell's spread and failures depend on: its model, its share of the training data, and its failed seeds."""

    model: str
    data: float
    failed: Sequence[bool]


@dataclass(frozen=True)
class TaskScores:
    """The scores of a task's cells with the ``answers`` behind them, and the gains of its students by cell.

    ``posterior`` is None where no cell repeats a seed: then nothing has an interval, and no difference is significant.
    """

    samples: ScoreSamples
    posterior: Posterior | None
    gains: dict[str, PairedGain]
    predictions: tuple[CellPredictions, ...]


def estimate_by_task(trials: Iterable[TrialResult]) -> list[TaskScores]:
    """Estimate the scores of every task among trials, in the order of the trials."""
    tasks: dict[str, dict[str, list[TrialResult]]] = {}
    for trial in trials:
        tasks.setdefault(trial.point.task, {}).setdefault(trial.point.cell, []).append(trial)
    return [estimate_task_scores([sorted(cell, key=lambda trial: trial.seed) for cell in task.values()]) for task in
            tasks.values()]  # fmt: skip


def estimate_task_scores(cells: Sequence[Sequence[TrialResult]]) -> TaskScores:
    """Estimate the scores of one task's cells, each given by its trials in the order of their seeds."""
    answers = tuple(_collect_predictions(trials) for trials in cells)
    sampled = bootstrap.sample_scores(answers)
    traits = {
        trials[0].point.cell: CellTraits(
            trials[0].point.model, trials[0].point.ratio, [bool(trial.numbers.get("collapsed")) for trial in trials]
        )
        for trials in cells
    }
    posterior = estimate_posterior(sampled, traits, cells[0][0].numbers.get("majority_score") or 0.0)
    gains = _estimate_gains(cells, posterior)
    return TaskScores(sampled if posterior is None else add_intervals(sampled, posterior), posterior, gains, answers)


def estimate_posterior(samples: ScoreSamples, traits: Mapping[str, CellTraits], baseline: float) -> Posterior | None:
    """Estimate the expected scores of a task's cells, in the order of ``samples.names``.

    ``baseline`` is the score of the best constant prediction. Returns None where no cell repeats a seed.
    """
    bounds = score_intervals.get_bounds(samples.metric)
    cells = [
        CellScores(
            samples.by_seed[index].tolist(),
            traits[name].failed,
            samples.examples,
            float(samples.covariance[index, index]),
            float(samples.crossed_variances[index]),
            baseline,
            traits[name].data,
            traits[name].model,
            bounds,
        )
        for index, name in enumerate(samples.names)
    ]
    return score_intervals.estimate_scores(score_intervals.stack_cells(cells))


def add_intervals(samples: ScoreSamples, posterior: Posterior, resamples: int = bootstrap.RESAMPLES) -> ScoreSamples:
    """Return the same scores with their intervals, and with samples whose quantiles are these intervals."""
    sampled = posterior_draws.sample_expected_scores(posterior, samples.covariance, resamples)
    ends = np.round(score_intervals.compute_intervals(posterior), DIGITS)
    return replace(samples, expected_scores=sampled, intervals=ends)


def collect_intervals(tasks: Iterable[TaskScores]) -> Intervals:
    """Return the intervals of every cell and every gain that has one."""
    intervals_by_cell: Intervals = {}
    for task in tasks:
        for name in task.samples.names:
            ends = dict(zip(("low", "high"), task.samples.get_interval(name), strict=True))
            if gain := task.gains.get(name):
                ends |= {"gain_low": gain.low, "gain_high": gain.high}
            intervals_by_cell[name] = {key: round(end, DIGITS) for key, end in ends.items() if end is not None}
    return intervals_by_cell


def _collect_predictions(trials: Sequence[TrialResult]) -> CellPredictions:
    first = trials[0]
    answers = np.stack([trial.predictions for trial in trials])
    return CellPredictions(first.point.cell, first.point.task, answers, first.references, first.numbers["score_name"])


def _estimate_gains(cells: Sequence[Sequence[TrialResult]], posterior: Posterior | None) -> dict[str, PairedGain]:
    """Return the gain of each student over the same student without its teacher."""
    pairs = {}
    for index, trials in enumerate(cells):
        alone = [trial.alone for trial in trials if trial.alone is not None]
        if len(alone) == len(trials):
            taught = _collect_predictions(trials)
            # the two trainings of a pair spread alike
            scale = 2**0.5 * float(posterior.scale[index]) if posterior else 0.0
            pair = paired_gains.compute_paired_scores(taught, replace(taught, predictions=np.stack(alone)), scale,
                                             trials[0].point.ratio)  # fmt: skip
            pairs[taught.name] = pair
    return dict(zip(pairs, paired_gains.estimate_gains([*pairs.values()], posterior), strict=True)) if pairs else {}
