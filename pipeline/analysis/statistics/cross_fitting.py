"""Score of the recommended cell without the optimism of having been chosen by that score (cross-fitting).

The best of many cells is partly the luckiest one, so the score that it was chosen by is too high on average. Here the
choice is repeated on parts of the answers, and the chosen cell is scored on answers that had no part in the choice.
Luck has two sources, the report examples and the training seeds, so both are held out together. Held-out examples alone
leave most of the bias, since a lucky seed is lucky on every example (``benchmarks/selection_bias.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.analysis.statistics.bootstrap import CellPredictions
from pipeline.analysis.statistics.weighted_metrics import WEIGHTED_METRICS, Floats

Integers = npt.NDArray[np.int64]
Rule = Callable[[Floats], int]
"""Chooses a cell: mean scores (cells,) in the order of the answers, to the index of one of them."""

FOLDS = 5  # of examples
SEED_GROUPS = 3  # held out in turn; a third of ten seeds gives a steadier estimate than one seed at a time
REPETITIONS = 4  # other folds and groups each time: which examples share a fold should not matter
BOTH_SIDES = -1  # group of the only seed of a cell, which chooses and is scored
DIGITS = 12  # equal answers in another column of a matrix product may differ in the last digit


@dataclass(frozen=True)
class CrossFittedScore:
    """The recommended cell, its ``measured`` score, and its ``score`` corrected for having been chosen by it.

    Both are means over seeds in the metric's unit. ``choices`` are the shares of the repeated choices that each cell
    won, the largest first. ``seeds_held_out`` is False where every cell has one seed: then the luck of the seed is
    still in the score.
    """

    name: str
    measured: float
    score: float
    choices: Mapping[str, float]
    seeds_held_out: bool

    @property
    def optimism(self) -> float:
        """Return by how much the measured score flatters; with a least score it may be slightly below zero."""
        return self.measured - self.score

    def compute_interval(
        self, low: float, high: float, bounds: tuple[float, float] = (0.0, 1.0)
    ) -> tuple[float, float]:
        """Return the 95% interval of the cell's expected score, from the interval that ignores the choice.

        It is centred on the corrected score and widened by the optimism, which is itself an estimate. It always
        contains the measured score. ``bounds`` are the least and the greatest value of the metric.
        """
        below, above = (float(np.hypot(side, self.optimism)) for side in (self.measured - low, high - self.measured))
        return max(bounds[0], self.score - below), min(bounds[1], self.score + above)


def build_rule(costs: Sequence[tuple[float, ...]], least_score: float | None = None) -> Rule:
    """Build the rule of the recommendation: the highest score, or the cheapest cell that reaches ``least_score``.

    ``costs`` are those of each cell, the most important first, infinite where not measured. Equal scores go to the
    lower costs, equal costs to the higher score, and full ties to the cell listed first. Where no cell reaches
    ``least_score`` the highest score is chosen.
    """
    _, order = np.unique(np.array(costs, float), axis=0, return_inverse=True)
    cost_rank = order.reshape(-1)

    def choose(scores: Floats) -> int:
        if least_score is None or not (reached := scores >= least_score).any():
            return int(np.lexsort((cost_rank, -scores))[0])
        return int(np.lexsort((-scores, cost_rank, ~reached))[0])

    return choose


def cross_fit_score(answers: Sequence[CellPredictions], rule: Rule) -> CrossFittedScore:
    """Recommend one of the cells of a task by ``rule`` and estimate its expected score on new examples and new seeds.

    ``answers`` are those of the cells that fit the limits. Each repetition splits the examples into stratified folds
    and the seeds into groups. For each pair of a fold and a group, the rule chooses on the other folds and the other
    seeds; the chosen cell's answers of this group on this fold enter one pooled set of answers, so that metrics that
    are not means, such as F1, are computed on all examples. A cell with a single seed uses it on both sides.
    """
    trials = _stack_trials(answers)
    measured = _average_by_cell(trials, _compute_scores(trials.metric, trials.predictions, trials.labels))
    chosen = rule(measured)
    random = np.random.default_rng(0)
    pairs = [_hold_out(trials, rule, random) for _ in range(REPETITIONS)]
    score = np.mean([_compute_scores(trials.metric, pooled, trials.labels).mean() for pooled, _ in pairs])
    wins = np.bincount(np.concatenate([choices for _, choices in pairs]), minlength=len(answers))
    ranked = [cell for cell in np.argsort(-wins, kind="stable").tolist() if wins[cell]]
    return CrossFittedScore(
        answers[chosen].name,
        float(measured[chosen]),
        float(np.round(score, DIGITS)),
        {answers[cell].name: float(wins[cell] / wins.sum()) for cell in ranked},
        bool(trials.seeds.max() > 1),
    )


@dataclass(frozen=True)
class _TrialPredictions:
    """The answers of all trials of a task: predictions (trials, examples), the number of each trial's cell (trials,).

    ``seeds`` (cells,) is the number of trials of each cell.
    """

    predictions: np.ndarray
    labels: np.ndarray
    metric: str
    cells: Integers
    seeds: Integers


def _stack_trials(answers: Sequence[CellPredictions]) -> _TrialPredictions:
    seeds = np.array([len(cell.predictions) for cell in answers])
    predictions = np.concatenate([cell.predictions for cell in answers])
    return _TrialPredictions(
        predictions, answers[0].labels, answers[0].metric, np.repeat(np.arange(len(seeds)), seeds), seeds
    )


def _hold_out(trials: _TrialPredictions, rule: Rule, random: np.random.Generator) -> tuple[np.ndarray, Integers]:
    """Return the pooled answers (most seeds of a cell, examples) of the cells chosen without them, and the choices.

    A cell with fewer seeds than the largest number repeats those of the held-out group.
    """
    folds, groups = _assign_folds(trials.labels, random), _assign_groups(trials.seeds, random)
    slots = groups[trials.cells == trials.seeds.argmax()]
    pooled, choices = np.empty((len(slots), len(folds)), trials.predictions.dtype), []
    for fold in np.unique(folds):
        inside = folds == fold
        scores = _compute_scores(trials.metric, trials.predictions[:, ~inside], trials.labels[~inside])
        for group in np.unique(slots):
            cell = rule(_average_by_cell(trials, scores, (groups != group) | (groups == BOTH_SIDES)))
            held = np.flatnonzero((trials.cells == cell) & ((groups == group) | (groups == BOTH_SIDES)))
            rows = np.flatnonzero(slots == group)
            pooled[np.ix_(rows, inside)] = trials.predictions[np.ix_(np.resize(held, len(rows)), inside)]
            choices.append(cell)
    return pooled, np.array(choices)


def _assign_folds(labels: np.ndarray, random: np.random.Generator) -> Integers:
    """Return the fold of each example; folds have equal sizes and similar labels, be they classes or numbers."""
    order = np.lexsort((random.random(len(labels)), labels))
    folds = np.empty(len(labels), np.int64)
    folds[order] = np.arange(len(labels)) % FOLDS
    return folds


def _assign_groups(seeds: Integers, random: np.random.Generator) -> Integers:
    """Return the group of each trial; cells with equal numbers of seeds hold out the same ones together."""
    repeated = seeds[seeds > 1]
    count = min(SEED_GROUPS, int(repeated.min())) if len(repeated) else 1
    by_number = {number: random.permutation(np.arange(number) % count) for number in np.unique(repeated).tolist()}
    single = np.array([BOTH_SIDES])
    return np.concatenate([by_number.get(number, single) for number in seeds.tolist()])


def _average_by_cell(trials: _TrialPredictions, scores: Floats, used: npt.NDArray[np.bool_] | None = None) -> Floats:
    """Return the mean score (cells,) over the trials (trials,) in use, all by default."""
    used = np.ones(len(scores), bool) if used is None else used
    sums = np.bincount(trials.cells, scores * used, len(trials.seeds))
    return np.asarray(np.round(sums / np.bincount(trials.cells, used, len(trials.seeds)), DIGITS))


def _compute_scores(metric: str, predictions: np.ndarray, labels: np.ndarray) -> Floats:
    """Return the score (trials,) of each row of predictions (trials, examples)."""
    return np.asarray(WEIGHTED_METRICS[metric](predictions, labels)(np.ones((1, len(labels)), np.float32))[0])
