"""Coverage and error rates of gains over a paired cell and of ratios of costs at equal quality.

Part of ``benchmarks/interval_coverage.py``.
"""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import numpy.typing as npt

from benchmarks import previous_intervals as previous
from pipeline.analysis.recommendation import equal_quality
from pipeline.analysis.recommendation.equal_quality import NO_GAIN, EqualQualityCost
from pipeline.analysis.recommendation.pareto import CostSamples
from pipeline.analysis.statistics import paired_gains, posterior_draws, score_intervals
from pipeline.analysis.statistics.bootstrap import ScoreSamples
from pipeline.analysis.statistics.paired_gains import PairedScores
from pipeline.analysis.statistics.score_intervals import Posterior, ScoreStatistics
from tests.analysis import simulated_studies
from tests.analysis.simulated_studies import Scenario, Study

Floats = npt.NDArray[np.float64]

SEEDS = (2, 3, 5, 10)
PAIRS = ((0, 1), (6, 7), (12, 13))  # cells of one model, whose seeds are correlated
GAINS = (0.0, 0.03)  # in score units
PLAIN_COSTS = np.array([1.0, 2.1, 2.8, 6.2])  # of the four plain cells, as their parameters are
CLOCK = 0.05  # standard deviation of the logarithm of a measured cost over seeds
RESAMPLES = 1000
Z = 1.959964


def print_gains(repetitions: int) -> None:
    """Print coverage, width and false findings of a gain that is paired over seeds and examples."""
    print("\n| true gain | seeds | t over seeds: covered, width | now: covered, width | significant |")
    print("|---|---:|---:|---:|---:|")
    for gain in GAINS:
        for seeds in SEEDS:
            print(f"| {100 * gain:g} points | {seeds} | {measure_gains(gain, seeds, repetitions)} |", flush=True)


def measure_gains(gain: float, seeds: int, repetitions: int) -> str:
    """Return the columns of ``print_gains`` for one true gain and number of seeds."""
    random = np.random.default_rng([3, seeds])
    skills = np.linspace(0.6, 0.85, 15)
    for one, other in PAIRS:
        skills[other] = skills[one] + gain
    base = simulated_studies.find_scenario("fivefold")
    scenario = replace(base, skills=skills, seed_correlation=0.62)
    rows = [
        row
        for _ in range(repetitions)
        for row in compare_gains(
            scenario, simulated_studies.simulate_study(scenario, np.full(15, seeds), random), np.full(15, seeds)
        )
    ]
    student, ours, truth, oracle, p = (np.array(column) for column in zip(*rows, strict=True))
    columns = [
        f"{100 * ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean():.1f}%, "
        f"{np.median((ends[:, 1] - ends[:, 0]) / (2 * Z * oracle)):.2f}"
        for ends in (student, ours)
    ]
    significant = ((student[:, 0] > 0) | (student[:, 1] < 0)).mean()
    return f"{columns[0]} | {columns[1]} | {100 * significant:.1f}% → {100 * (p < 0.05).mean():.1f}%"


def compare_gains(
    scenario: Scenario, study: Study, seeds: npt.NDArray[np.int64]
) -> list[tuple[tuple[float, float], tuple[float | None, float | None], float, float, float | None]]:
    """Return of each pair both intervals, the true gain, the oracle's standard error and the current p value."""
    cells = estimate(scenario, study)
    differences = [study.by_seed[other] - study.by_seed[one] for one, other in PAIRS]
    pairs = []
    for (one, other), values in zip(PAIRS, differences, strict=True):
        pairs.append(
            PairedScores(
                values.tolist(),
                float(np.hypot(cells.scale[one], cells.scale[other])),
                float(study.covariance[one, one] + study.covariance[other, other] - 2 * study.covariance[one, other]),
                float(study.crossed[one] + study.crossed[other]),
                0.5 / scenario.examples,
            )
        )
    found = paired_gains.estimate_gains(pairs, cells)
    low, high = previous.compute_student_interval(tuple(differences))
    rows = []
    for index, ((one, other), pair, gain) in enumerate(zip(PAIRS, pairs, found, strict=True)):
        deviations = np.sqrt(study.seed_variance[[one, other]])
        correlated = 2 * scenario.seed_correlation * deviations.prod()
        oracle = np.sqrt(((deviations**2).sum() - correlated) / seeds[0] + pair.examples_variance)
        true = float(study.truth[other] - study.truth[one])
        rows.append(((low[index], high[index]), (gain.low, gain.high), true, float(oracle), gain.p))
    return rows


def estimate(scenario: Scenario, study: Study) -> Posterior:
    """Return the posterior of one study."""
    stacked = simulated_studies.stack_studies(scenario, [study])
    shared = ("data", "models", "bounds")
    columns = {field.name: getattr(stacked, field.name) for field in fields(ScoreStatistics)}
    scores = ScoreStatistics(**{name: column if name in shared else column[0] for name, column in columns.items()})
    posterior = score_intervals.estimate_scores(scores)
    assert posterior is not None
    return posterior


def print_ratios(repetitions: int) -> None:
    """Print how often a cost at equal quality is called cheaper or dearer, and how often its interval is right."""
    print("\n| true ratio | seeds | called cheaper or dearer | covered | width, as a factor |")
    print("|---|---:|---:|---:|---:|")
    for ratio in (1.0, 0.6):
        for seeds in SEEDS:
            print(f"| {ratio:g} | {seeds} | {measure_ratios(ratio, seeds, repetitions)} |", flush=True)


def measure_ratios(ratio: float, seeds: int, repetitions: int) -> str:
    """Return the columns of ``print_ratios``: four plain cells, and six whose cost is ``ratio`` times the plain one."""
    random = np.random.default_rng([4, seeds])
    scenario = replace(
        simulated_studies.find_scenario("fivefold"),
        skills=np.array([0.64, 0.75, 0.82, 0.87, 0.68, 0.72, 0.785, 0.845, 0.80, 0.66]),
        draw_spreads=lambda random: 0.11 * np.exp(0.4 * random.normal(size=10)),
        failure_rates=np.zeros(10),
        data=np.ones(10),
    )
    found: tuple[list[EqualQualityCost], list[EqualQualityCost]] = ([], [])
    for _ in range(repetitions):
        study = simulated_studies.simulate_study(scenario, np.full(10, seeds), random)
        plain = np.interp(study.truth[4:], study.truth[:4], np.log(PLAIN_COSTS))
        true = np.concatenate([PLAIN_COSTS, ratio * np.exp(plain)])
        costs = [cost * np.exp(CLOCK * random.normal(size=seeds)) for cost in true]
        before = previous.draw_scores(study.by_seed, study.covariance, study.crossed, random)
        found[0].extend(compare_costs(study, before, costs, previous.draw_means(costs, random)))
        now = posterior_draws.sample_expected_scores(estimate(scenario, study), study.covariance, RESAMPLES)
        measured = [values.tolist() for values in costs]
        found[1].extend(compare_costs(study, now, costs, posterior_draws.sample_costs(measured, RESAMPLES)))
    columns = zip(*[summarize_ratios(of_method, ratio) for of_method in found], strict=True)
    return " | ".join(" → ".join(pair) for pair in columns)


def compare_costs(
    study: Study, drawn: Floats, costs: list[Floats], drawn_costs: Floats
) -> tuple[EqualQualityCost, ...]:
    """Return the costs at equal quality from draws of the scores and of the costs."""
    names = tuple(str(cell) for cell in range(len(costs)))
    scores = np.array([values.mean() for values in study.by_seed])
    draws = ScoreSamples("t", "accuracy", 0, names, scores, study.by_seed, study.covariance, study.crossed, drawn)
    return equal_quality.compute_equal_quality(
        draws, CostSamples("cost", names, np.array([c.mean() for c in costs]), drawn_costs), names[:4]
    )


def summarize_ratios(found: list[EqualQualityCost], ratio: float) -> list[str]:
    """Return as text how often a verdict was given, how often the interval held the ratio, and its median width."""
    claimed = np.mean([one.verdict != NO_GAIN for one in found])
    held = np.mean([one.low <= ratio <= one.high for one in found])
    width = np.median([one.high / one.low if one.low else np.inf for one in found])
    return [f"{100 * claimed:.1f}%", f"{100 * held:.1f}%", f"{width:.2f}"]
