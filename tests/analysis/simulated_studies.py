"""Studies whose expected scores are known: answers of cells x seeds on examples that all cells share.

A training has a skill, the probability that it answers an example correctly, which varies between seeds on the logit
scale. Some examples are hard for all trainings, some for all seeds of a cell (a Gaussian copula). A failed training
answers one class only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.special import expit, logit, ndtr, ndtri

from pipeline.analysis.statistics.score_intervals import ScoreStatistics

Floats = npt.NDArray[np.float64]

SHARED, OWN = 0.4, 0.35  # correlation of the latent answers: of all trainings, and of the seeds of one cell besides
GAMMA_SHAPE = 1.8  # skewness -1.5, as measured for starter-4x128 with 90 pairs
QUANTILES = (np.arange(801) + 0.5) / 801
RATIOS = np.tile([0.1, 0.3, 1.0], 5)


@dataclass(frozen=True)
class Scenario:
    """Cells of one task: skills of healthy trainings, spread over seeds on the logit scale, rate of failed trainings.

    ``draw_spreads`` returns the spreads (cells,) of one study. ``seed_correlation`` is that of the deviations of one
    seed between the cells of one model, three cells each.
    """

    name: str
    skills: Floats
    draw_spreads: Callable[[np.random.Generator], Floats]
    failure_rates: Floats
    examples: int = 1500
    baseline: float = 0.5
    skewed: bool = False
    seed_correlation: float = 0.0
    data: Floats = field(default_factory=RATIOS.copy)


@dataclass(frozen=True)
class Study:
    """What a study measures, and the truth of each cell.

    ``truth`` (cells,) is the expected score over seeds and examples, ``split_truth`` that over seeds on the examples of
    this study, ``seed_variance`` the variance of the skill of a training.
    """

    by_seed: tuple[Floats, ...]
    failed: tuple[npt.NDArray[np.bool_], ...]
    covariance: Floats
    crossed: Floats
    truth: Floats
    split_truth: Floats
    seed_variance: Floats


def simulate_study(scenario: Scenario, seeds: npt.NDArray[np.int64], random: np.random.Generator) -> Study:
    """Return a study with ``seeds`` (cells,) trainings of each cell."""
    cells, most, examples = len(seeds), int(seeds.max()), scenario.examples
    spreads = scenario.draw_spreads(random)
    deviations = _draw_deviations(scenario, (cells, most), random)
    skills = expit(logit(scenario.skills)[:, None] + spreads[:, None] * deviations)
    failed = random.random((cells, most)) < scenario.failure_rates[:, None]
    easy = np.sqrt(SHARED) * random.standard_normal(examples, np.float32)
    easy = easy + np.sqrt(OWN) * random.standard_normal((cells, examples), np.float32)
    noise = np.sqrt(1 - SHARED - OWN) * random.standard_normal((cells, most, examples), np.float32)
    right = noise + easy[:, None] > -ndtri(skills)[..., None]
    majority = random.random(examples) < scenario.baseline
    right = np.where(failed[..., None], majority, right)
    used = np.arange(most) < seeds[:, None]
    by_example = (right * used[..., None]).sum(1) / seeds[:, None]
    scores = right.mean(-1)
    covariance = np.cov(by_example, ddof=0) / examples
    truth, variance = compute_truth(scenario, spreads)
    rate = scenario.failure_rates
    split_truth = (1 - rate) * _compute_split_skill(scenario, spreads, easy) + rate * majority.mean()
    return Study(
        tuple(row[: seeds[cell]] for cell, row in enumerate(scores)),
        tuple(row[: seeds[cell]] for cell, row in enumerate(failed)),
        np.atleast_2d(covariance),
        _compute_crossed(right, scores, by_example, used, seeds),
        truth,
        split_truth,
        variance,
    )


def compute_truth(scenario: Scenario, spreads: Floats) -> tuple[Floats, Floats]:
    """Return the expected score of each cell and the variance of a training's skill."""
    skills = _compute_quantile_skills(scenario, spreads, QUANTILES)
    rate, mean = scenario.failure_rates, skills.mean(1)
    variance = (1 - rate) * skills.var(1) + rate * (1 - rate) * (mean - scenario.baseline) ** 2
    return (1 - rate) * mean + rate * scenario.baseline, variance


def stack_studies(scenario: Scenario, studies: list[Study]) -> ScoreStatistics:
    """Return the statistics of studies as arrays (studies, cells)."""
    rows = []
    for study in studies:
        healthy = [
            values if lost.all() else values[~lost] for values, lost in zip(study.by_seed, study.failed, strict=True)
        ]
        rows.append(
            [
                [values.mean() for values in study.by_seed],
                [values.mean() for values in healthy],
                [values.var(ddof=1) if len(values) > 1 else 0.0 for values in healthy],
                [len(values) for values in study.by_seed],
                [lost.sum() for lost in study.failed],
                np.full(len(healthy), scenario.examples),
                np.diag(study.covariance),
                study.crossed,
                np.full(len(healthy), scenario.baseline),
            ]
        )
    cells = np.arange(len(scenario.skills))
    return ScoreStatistics(*np.array(rows, float).swapaxes(0, 1), scenario.data, cells // 3)


def make_scenarios() -> list[Scenario]:
    """Return scenarios of 15 cells (five models, three shares of the data), and of one small plan."""
    middle = np.linspace(0.55, 0.9, 15)
    none = np.zeros(15)
    alike = Scenario("middle, cells spread alike", middle, _spread_constant(0.15), none)
    skills = np.array([.585, .617, .643, .59, .65, .748, .71, .77, .822, .74, .81, .871, .505, .505, .51])  # fmt: skip
    spreads = np.array([.17, .12, .05, .15, .15, .18, .35, .18, .075, .36, .28, .08, .05, .03, .05])  # fmt: skip
    shipped = Scenario("as measured on starter-swap", skills, lambda random: spreads, none, skewed=True)
    few = np.array([0, 1, 3, 4])
    return [
        alike,
        Scenario("middle, spread varies fivefold", middle, _spread_varied(0.12, 0.4), none),
        Scenario("middle, spread varies tenfold", middle, _spread_varied(0.12, 0.6), none),
        replace(alike, name="middle, 408 examples", examples=408),
        Scenario("near chance", np.linspace(0.5, 0.53, 15), _spread_varied(0.05, 0.3), none),
        Scenario("near 1", np.linspace(0.95, 0.995, 15), _spread_varied(0.3, 0.4), none),
        replace(alike, name="15% of heads fail", failure_rates=none + 0.15),
        replace(alike, name="0 to 40% of heads fail, by model", failure_rates=np.repeat([0, 0, 0.05, 0.2, 0.4], 3)),
        Scenario("skewed, a long left tail", middle, _spread_varied(0.2, 0.3), none, skewed=True),
        shipped,
        replace(shipped, name="as measured, seeds shared (0.62)", skewed=False, seed_correlation=0.62),
        Scenario("four cells", middle[few * 3], _spread_varied(0.12, 0.4, 4), none[few], data=RATIOS[few]),
    ]


def _compute_quantile_skills(scenario: Scenario, spreads: Floats, quantiles: Floats) -> Floats:
    deviations = _standardize(stats.gamma.isf(quantiles, GAMMA_SHAPE)) if scenario.skewed else ndtri(quantiles)
    return np.asarray(expit(logit(scenario.skills)[:, None] + spreads[:, None] * deviations))


def _compute_split_skill(scenario: Scenario, spreads: Floats, easy: Floats) -> Floats:
    """Return the expected score of healthy trainings on examples of known ease (cells, examples)."""
    thresholds = ndtri(_compute_quantile_skills(scenario, spreads, QUANTILES[10::20]))
    grid = np.linspace(-4.5, 4.5, 61)
    correct = ndtr((thresholds[:, None] + grid[:, None]) / np.sqrt(1 - SHARED - OWN)).mean(-1)
    return np.array([np.interp(row, grid, curve).mean() for row, curve in zip(easy, correct, strict=True)])


def find_scenario(name: str) -> Scenario:
    """Return the scenario whose name contains ``name``."""
    return next(scenario for scenario in make_scenarios() if name in scenario.name)


def _spread_constant(value: float) -> Callable[[np.random.Generator], Floats]:
    return lambda random: np.full(15, value)


def _spread_varied(middle: float, deviation: float, cells: int = 15) -> Callable[[np.random.Generator], Floats]:
    return lambda random: middle * np.exp(deviation * random.normal(size=cells))


def _draw_deviations(scenario: Scenario, shape: tuple[int, int], random: np.random.Generator) -> Floats:
    if scenario.skewed:
        return _standardize(random.gamma(GAMMA_SHAPE, size=shape))
    common = np.repeat(random.normal(size=(-(-shape[0] // 3), shape[1])), 3, axis=0)[: shape[0]]
    share = scenario.seed_correlation
    return np.asarray(np.sqrt(share) * common + np.sqrt(1 - share) * random.normal(size=shape))


def _standardize(gamma: Floats) -> Floats:
    """Return deviations with mean 0, variance 1 and a long left tail."""
    return np.asarray((GAMMA_SHAPE - gamma) / GAMMA_SHAPE**0.5)


def _compute_crossed(
    right: np.ndarray, scores: Floats, by_example: Floats, used: np.ndarray, seeds: np.ndarray
) -> Floats:
    """Return the part of the variance of each mean score that comes from seeds answering single examples differently.

    The interaction of the two-way analysis of variance of the answers (cells, seeds, examples), 0 for one seed.
    """
    mean = (scores * used).sum(1) / seeds
    total = (scores * (1 - scores) * used).sum(1)  # of the squares about each seed's mean, per example
    between = seeds * ((by_example - mean[:, None]) ** 2).mean(1)
    return np.asarray(np.maximum(0, total - between) / np.maximum(seeds - 1, 1) / right.shape[-1] / seeds)
