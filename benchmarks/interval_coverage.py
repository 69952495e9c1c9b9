"""How often 95% intervals contain the truth, how wide they are, and how often a finding is false or missed.

``python benchmarks/interval_coverage.py [studies]`` simulates plans like the shipped one (``tests/scaling/
simulated_studies.py``) with 100 studies per row by default and prints Markdown tables: coverage and width of the
previous and of the current intervals, and error rates and power of the statements that rest on them. Width is relative
to an oracle that knows every variance. It takes two to three minutes on one idle core.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import gain_and_ratio_coverage
from benchmarks import previous_intervals as previous
from pipeline.analysis.statistics import pair_errors, score_intervals
from pipeline.analysis.statistics.score_intervals import Posterior, ScoreStatistics
from tests.analysis import simulated_studies
from tests.analysis.simulated_studies import Scenario, Study

Floats = npt.NDArray[np.float64]
Ends = tuple[Floats, Floats]

SEEDS = (2, 3, 5, 10)
Z = 1.959964
LEVEL = 0.05
POINTS = 0.03  # a difference that is worth finding


def main(repetitions: int) -> None:
    """Print each table as it is measured."""
    print_coverage(repetitions)
    print_false_findings(repetitions)
    print_power(repetitions)
    gain_and_ratio_coverage.print_gains(repetitions)
    gain_and_ratio_coverage.print_ratios(repetitions)


def print_coverage(repetitions: int) -> None:
    """Print coverage and width per scenario and number of seeds."""
    print("| scenario | seeds | t over seeds | percentiles | now | now, these examples |")
    print("|---|---:|---:|---:|---:|---:|")
    for scenario in simulated_studies.make_scenarios():
        for seeds in SEEDS:
            counts = np.full(len(scenario.skills), seeds)
            print(f"| {scenario.name} | {seeds} | {' | '.join(measure_coverage(scenario, counts, repetitions))} |")
    scenario = simulated_studies.find_scenario("spread alike")
    for counts, name in ((np.resize([1, 3, 3], 15), "1 or 3"), (np.resize([1, 1, 2], 15), "1 or 2")):
        print(f"| {scenario.name} | {name} | {' | '.join(measure_coverage(scenario, counts, repetitions))} |")


def measure_coverage(scenario: Scenario, seeds: npt.NDArray[np.int64], repetitions: int) -> list[str]:
    """Return coverage and median relative width of each method, as text."""
    studies = simulate_studies(scenario, seeds, repetitions)
    truth, split_truth, seed_variance = (
        np.stack([getattr(study, name) for study in studies]) for name in ("truth", "split_truth", "seed_variance")
    )
    scores = simulated_studies.stack_studies(scenario, studies)
    oracle = np.sqrt(seed_variance / seeds + scores.examples_variance.mean(0))
    split_oracle = np.sqrt(seed_variance / seeds + scores.crossed_variance.mean(0))
    student = stack_ends(previous.compute_student_interval(study.by_seed) for study in studies)
    percentiles = stack_ends(
        previous.compute_percentile_interval(
            previous.draw_scores(study.by_seed, study.covariance, study.crossed, random)
        )
        for study, random in zip(studies, make_generators(), strict=False)
    )
    ours = compute_ends(scores)
    on_split = compute_ends(replace(scores, examples_variance=scores.crossed_variance))
    return [
        format_coverage(ends, *target)
        for ends, target in (
            (student, (split_truth, split_oracle)),
            (percentiles, (truth, oracle)),
            (ours, (truth, oracle)),
            (on_split, (split_truth, split_oracle)),
        )
    ]


def simulate_studies(scenario: Scenario, seeds: npt.NDArray[np.int64], repetitions: int) -> list[Study]:
    """Return studies of a scenario, the same ones in each call."""
    random = np.random.default_rng([1, int(seeds.sum())])
    return [simulated_studies.simulate_study(scenario, seeds, random) for _ in range(repetitions)]


def make_generators() -> Iterator[np.random.Generator]:
    """Yield generators without end."""
    seed = 0
    while True:
        yield np.random.default_rng([2, seed])
        seed += 1


def stack_ends(ends: Iterator[Ends]) -> Ends:
    """Return the ends of several studies as two arrays (studies, cells)."""
    low, high = zip(*ends, strict=True)
    return np.stack(low), np.stack(high)


def compute_ends(scores: ScoreStatistics) -> Ends:
    """Return the ends (studies, cells) of the current intervals."""
    return score_intervals.compute_intervals(estimate(scores))


def estimate(scores: ScoreStatistics) -> Posterior:
    """Return the posterior of studies that repeat seeds."""
    posterior = score_intervals.estimate_scores(scores)
    assert posterior is not None
    return posterior


def format_coverage(ends: Ends, truth: Floats, oracle: Floats) -> str:
    """Return coverage in percent and the median width relative to the oracle's."""
    low, high = ends
    known = ~np.isnan(low)
    covered = ((low <= truth) & (truth <= high))[known].mean()
    width = np.median(((high - low) / (2 * Z * oracle))[known])
    return f"{100 * covered:.1f}%, {width:.2f}"


def print_false_findings(repetitions: int) -> None:
    """Print how often equal cells differ significantly, and how often a cell at the baseline is above it."""
    print("\n| equal cells | seeds | some pair differs | single pair, p < 5% | above the baseline |")
    print("|---|---:|---:|---:|---:|")
    for scenario in make_equal_scenarios():
        for seeds in SEEDS:
            counts = np.full(15, seeds)
            studies = simulate_studies(scenario, counts, repetitions)
            scores = simulated_studies.stack_studies(scenario, studies)
            at_baseline = replace(scenario, skills=np.full(15, 0.5))
            lucky = simulate_studies(at_baseline, counts, repetitions)
            cells = [compute_p_values(studies, scores, method) for method in (compute_previous_errors, compute_errors)]
            family = [np.mean([adjust_holm(p).min() <= LEVEL for p in of_method]) for of_method in cells]
            single = [np.mean(np.concatenate(of_method) <= LEVEL) for of_method in cells]
            above = compute_share_above(at_baseline, lucky, scenario.baseline)
            columns = [format_shares(pair) for pair in (family, single, above)]
            print(f"| {scenario.name} | {seeds} | {' | '.join(columns)} |", flush=True)


def make_equal_scenarios() -> list[Scenario]:
    """Return scenarios in which all cells truly score the same."""
    names = ("spread alike", "fivefold", "15% of heads")
    skills = np.full(15, 0.7)
    return [replace(simulated_studies.find_scenario(name), skills=skills) for name in names]


def print_power(repetitions: int) -> None:
    """Print how often pairs that differ, and cells above the baseline, are found."""
    print("\n| scenario | seeds | pairs 3 points apart or more found | cells 2 to 5 points above the baseline found |")
    print("|---|---:|---:|---:|")
    for scenario in map(simulated_studies.find_scenario, ("spread alike", "fivefold", "as measured on")):
        for seeds in SEEDS:
            counts = np.full(15, seeds)
            studies = simulate_studies(scenario, counts, repetitions)
            scores = simulated_studies.stack_studies(scenario, studies)
            one, other = np.triu_indices(15, 1)
            apart = [np.abs(study.truth[one] - study.truth[other]) >= POINTS for study in studies]
            found = []
            for method in (compute_previous_errors, compute_errors):
                p_values = compute_p_values(studies, scores, method)
                found.append(
                    np.mean([(adjust_holm(p) <= LEVEL)[far].mean() for p, far in zip(p_values, apart, strict=True)])
                )
            near = replace(scenario, skills=np.linspace(0.52, 0.55, 15))
            above = compute_share_above(near, simulate_studies(near, counts, repetitions), scenario.baseline)
            print(f"| {scenario.name} | {seeds} | {format_shares(found)} | {format_shares(above)} |", flush=True)


def compute_share_above(scenario: Scenario, studies: list[Study], baseline: float) -> list[float]:
    """Return the share of cells called above the baseline: by the previous verdict, and by the current interval."""
    lows = []
    for study, random in zip(studies, make_generators(), strict=False):
        student = previous.compute_student_interval(study.by_seed)[0]
        draws = previous.draw_scores(study.by_seed, study.covariance, study.crossed, random)
        lows.append(np.minimum(student, previous.compute_percentile_interval(draws)[0]))
    ours = compute_ends(simulated_studies.stack_studies(scenario, studies))[0]
    return [float((np.stack(lows) > baseline).mean()), float((ours > baseline).mean())]


def compute_previous_errors(studies: list[Study], scores: ScoreStatistics) -> Ends:
    """Return standard errors and degrees of freedom (studies, pairs) of the previous tests."""
    groups = np.arange(scores.mean.shape[1]) % 3
    return stack_ends(
        previous.compute_pair_errors(study.by_seed, study.covariance, study.crossed, groups) for study in studies
    )


def compute_errors(studies: list[Study], scores: ScoreStatistics) -> Ends:
    """Return standard errors and degrees of freedom (studies, pairs) of the current tests."""
    return pair_errors.compute_pair_errors(estimate(scores), np.stack([study.covariance for study in studies]))


def compute_p_values(
    studies: list[Study], scores: ScoreStatistics, method: Callable[[list[Study], ScoreStatistics], Ends]
) -> Floats:
    """Return the p value of each pair (studies, pairs)."""
    error, degrees = method(studies, scores)
    one, other = np.triu_indices(scores.mean.shape[1], 1)
    difference = scores.mean[:, one] - scores.mean[:, other]
    return np.asarray(2 * stats.t.sf(np.abs(difference) / error, degrees))


def adjust_holm(p: Floats) -> Floats:
    """Return p values corrected for their number."""
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def format_shares(shares: Sequence[float | np.floating]) -> str:
    """Return shares before and now, in percent."""
    return " → ".join(f"{100 * share:.1f}%" for share in shares)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
