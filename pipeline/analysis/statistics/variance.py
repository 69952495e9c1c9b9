"""Analysis of variance: shares of model size, data, task and seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from pipeline.analysis.statistics.weighted_metrics import Floats

FACTORS = ("size", "data", "task", "recipe")
SEED = "seed"


@dataclass(frozen=True)
class TrialOutcome:
    """Coordinates of a trial in the grid and its score in ``metric``, or its loss."""

    task: str
    size: str
    data: float
    metric: str
    value: float
    recipe: str = ""


@dataclass(frozen=True)
class VarianceSource:
    """What a factor, several together ("size x data") or the seed explain.

    ``share`` is eta squared, of the sum of squares about the mean. ``unbiased`` is omega squared, which takes off what
    noise alone would seem to explain; it may be below zero. ``F`` and ``p`` are None for the seed.
    """

    name: str
    degrees: int
    sum_squares: float
    share: float
    unbiased: float
    F: float | None
    p: float | None


@dataclass(frozen=True)
class VarianceAnalysis:
    """Analysis of ``trials`` values of ``metric`` over ``tasks``; ``refusal`` is the reason without rows.

    ``noise`` is the standard deviation over seeds, pooled over the cells; ``noisiest_cell`` is the cell (task, size,
    data) with the largest one, and its value.
    """

    tasks: tuple[str, ...]
    metric: str
    trials: int
    rows: tuple[VarianceSource, ...] = ()
    noise: float | None = None
    noisiest_cell: tuple[tuple[str, str, float], float] | None = None
    refusal: str | None = None


def compute_analyses(outcomes: Sequence[TrialOutcome]) -> tuple[VarianceAnalysis, ...]:
    """Analyse each metric over all its tasks, if it has several, then each task."""
    tasks = list(dict.fromkeys(outcome.task for outcome in outcomes))
    metrics = list(dict.fromkeys(outcome.metric for outcome in outcomes))
    of_metrics = [[outcome for outcome in outcomes if outcome.metric == metric] for metric in metrics]
    several = [found for found in of_metrics if len({outcome.task for outcome in found}) > 1]
    return tuple(map(compute_shares, [*several, *([o for o in outcomes if o.task == task] for task in tasks)]))


def compute_shares(outcomes: Sequence[TrialOutcome]) -> VarianceAnalysis:
    """Return what each factor explains of the variance of single trials (full factorial, fixed effects).

    The sums of squares are of type II: what a term adds to all terms that do not contain it. In a grid without holes
    and with as many seeds in each cell they are the classical ones, and the shares sum to one. A factor with one level
    is left out. The noise is the spread of the seeds within the cells (Fisher 1925; omega squared: Hays 1963).

    The shares are of this plan: another range of sizes or ratios gives others. The difference between tasks is partly
    their baselines: the majority class may score 0.5 in one and 0.8 in another. All values are to be of one
    metric. Refused with one sentence: no factor that varies, no cell with two seeds, no spread at all.
    """
    tasks = tuple(dict.fromkeys(outcome.task for outcome in outcomes))
    trials, metric = len(outcomes), outcomes[0].metric
    cells = _group_by_cell(outcomes)
    varying = [name for name in FACTORS if len({getattr(outcome, name) for outcome in outcomes}) > 1]
    if refused := _find_refusal(outcomes, cells, varying):
        return VarianceAnalysis(tasks, metric, trials, refusal=refused)
    spread = {cell: float(np.std(values, ddof=1)) for cell, values in cells.items() if len(values) > 1}
    loudest = max(spread.items(), key=lambda item: item[1])
    rows = _compute_rows(outcomes, varying)
    noise = (rows[-1].sum_squares / rows[-1].degrees) ** 0.5
    return VarianceAnalysis(tasks, metric, trials, rows, noise, loudest)


def _group_by_cell(outcomes: Sequence[TrialOutcome]) -> dict[tuple[str, str, float], list[float]]:
    cells: dict[tuple[str, str, float], list[float]] = {}
    several = len({outcome.recipe for outcome in outcomes}) > 1
    for outcome in outcomes:
        size = f"{outcome.size}, {outcome.recipe}" if several else outcome.size
        cells.setdefault((outcome.task, size, outcome.data), []).append(outcome.value)
    return cells


def _find_refusal(
    outcomes: Sequence[TrialOutcome], cells: dict[tuple[str, str, float], list[float]], varying: list[str]
) -> str:
    if not varying:
        return "There is one cell alone, so there is nothing to compare."
    if Counter(map(len, cells.values())).keys() == {1}:
        return "Every cell has one seed, so effects cannot be separated from noise; add seeds to the plan."
    if len({outcome.value for outcome in outcomes}) == 1:
        return "All values are the same, so there is no variance to share out."
    return ""


def _compute_rows(outcomes: Sequence[TrialOutcome], varying: list[str]) -> tuple[VarianceSource, ...]:
    values = np.array([outcome.value for outcome in outcomes], float)
    values -= values.mean()
    terms = [frozenset(term) for count in range(1, len(varying) + 1) for term in combinations(varying, count)]
    columns = {term: _encode_term(outcomes, term) for term in terms}

    def left(chosen: Sequence[frozenset[str]]) -> tuple[float, int]:
        return _compute_residual(values, [columns[term] for term in chosen])

    (whole, free), total = left(terms), float(values @ values)
    noise = whole / free
    rows = []
    for term in terms:
        others = [other for other in terms if not term <= other]
        (without, free_without), (explained, free_with) = left(others), left([*others, term])
        degrees, squares = free_without - free_with, max(0.0, without - explained)
        if degrees:  # a grid may have too many holes for an interaction
            ratio = squares / degrees / noise if noise else np.inf
            unbiased = (squares - degrees * noise) / (total + noise)
            p = float(stats.f.sf(ratio, degrees, free))
            name = " x ".join(factor for factor in FACTORS if factor in term)
            rows.append(VarianceSource(name, degrees, squares, squares / total, unbiased, float(ratio), p))
    seed = VarianceSource(SEED, free, whole, whole / total, len(values) * noise / (total + noise), None, None)
    return (*rows, seed)


def _encode_term(outcomes: Sequence[TrialOutcome], term: frozenset[str]) -> Floats:
    """Return one indicator per observed combination of a term's levels: (trials, combinations)."""
    places = [tuple(getattr(outcome, factor) for factor in sorted(term)) for outcome in outcomes]
    levels = sorted(set(places))
    return np.array([[float(place == level) for level in levels] for place in places])


def _compute_residual(values: Floats, columns: Sequence[Floats]) -> tuple[float, int]:
    """Return the sum of squares that terms leave of centred values, and its degrees of freedom.

    The indicators of a term hold those of all within it; least squares counts what is new, so that holes cost degrees
    and nothing else.
    """
    design = np.hstack([np.ones((len(values), 1)), *columns])
    found, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    rest = values - design @ found
    return float(rest @ rest), len(values) - int(rank)
