"""False findings, coverage and power where the cells of a plan share random draws, and where each cell has its own.

``python benchmarks/shared_draws.py [plans] [tables]`` simulates the deviations of trials from the mean of their cell.
Shared draws: deviations of one seed and model correlate by 0.62 between two ratios and by 0.85 between two tasks, as
measured when the head was drawn from the seed alone. Own draws: all are independent, as now.

It prints in how many of ``plans`` (1000) the analysis of variance finds a factor without an effect, and how often it
finds one with an effect: at p < 0.05, and at the p below which 5% of the plans without an effect are, since a test that
finds too much has power for free. Then in how many of ``tables`` (200) the 95% intervals of a joint law contain the
truth. It takes less than two minutes on one thread.
"""

from __future__ import annotations

import argparse
import sys
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.analysis.laws import Law, Observation, law
from pipeline.analysis.statistics import variance
from pipeline.analysis.statistics.variance import TrialOutcome
from tests.analysis.laws import truth
from tests.analysis.laws.truth import Truth

SIZES, RATIOS, SEEDS = 4, (0.1, 0.3, 1.0), 3
DRAWS = {"shared": (0.62, 0.85), "own": (0.0, 0.0)}  # correlation between ratios, between tasks
FACTORS = ((1, "size"), (1, "data"), (2, "size"), (2, "data"), (2, "task"))  # with the number of tasks
EFFECT = 1.0  # from the lowest to the highest level of a factor, in standard deviations over seeds
LEVEL = 0.05
NOISE = 0.02  # standard deviation over seeds of a law's values, relative
LAWS = {"additive": truth.additive(SIZES, len(RATIOS)), "multiplicative": truth.multiplicative(SIZES, len(RATIOS))}


def main(plans: int, tables: int) -> None:
    """Print both tables."""
    print("| tasks | factor | draws | found without an effect | with an effect | with an effect, at a true 5% |")
    print("|---:|---|---|---:|---:|---:|")
    for (tasks, factor), draws in product(FACTORS, DRAWS):
        null, effect = (simulate_p(tasks, factor, size, DRAWS[draws], plans) for size in (0.0, EFFECT))
        shares = [np.mean(null < LEVEL), np.mean(effect < LEVEL), np.mean(effect < np.quantile(null, LEVEL))]
        print(f"| {tasks} | {factor} | {draws} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)
    print("\n| joint law | draws | parameters contained | law at 4x contained | median width of α |")
    print("|---|---|---|---:|---:|")
    for (name, known), draws in product(LAWS.items(), DRAWS):
        contained, beyond, widths = zip(*fit_tables(known, DRAWS[draws], tables), strict=True)
        names = [known.form.get_names()[place] for place in known.form.get_display_order()]
        shares = [f"{name} {share:.0%}" for name, share in zip(names, np.mean(contained, axis=0), strict=True)]
        print(
            f"| {name} | {draws} | {', '.join(shares)} | {np.mean(beyond):.0%} | {np.median(widths):.2f} |", flush=True
        )


def draw_deviations(tasks: int, correlations: tuple[float, float], random: np.random.Generator) -> np.ndarray:
    """Return deviations of unit variance (seeds, sizes, tasks, ratios); sizes are independent of each other."""
    between_ratios, between_tasks = (
        np.where(np.eye(count, dtype=bool), 1.0, correlation)
        for count, correlation in zip((len(RATIOS), tasks), correlations, strict=True)
    )
    root = np.linalg.cholesky(np.kron(between_tasks, between_ratios))
    independent = random.standard_normal((SEEDS, SIZES, len(root)))
    return (independent @ root.T).reshape(SEEDS, SIZES, tasks, len(RATIOS))


def simulate_p(tasks: int, factor: str, effect: float, correlations: tuple[float, float], plans: int) -> np.ndarray:
    """Return the p of a factor in the analysis of variance of each plan: (plans,)."""
    random = np.random.default_rng(0)
    shape = {"size": SIZES, "task": tasks, "data": len(RATIOS)}
    rise = np.linspace(0, effect, shape[factor]).reshape([-1 if name == factor else 1 for name in shape])
    found = np.empty(plans)
    for plan in range(plans):
        outcomes = [
            TrialOutcome(f"task {task}", f"size {size}", RATIOS[ratio], "accuracy", value)
            for (_, size, task, ratio), value in np.ndenumerate(draw_deviations(tasks, correlations, random) + rise)
        ]
        found[plan] = next(source.p for source in variance.compute_shares(outcomes).rows if source.name == factor)
    return found


def fit_tables(known: Truth, correlations: tuple[float, float], tables: int) -> list[tuple[list[bool], bool, float]]:
    """Return of each table which parameters and whether the law beyond it are contained, and the width of α."""
    random = np.random.default_rng(0)
    beyond = 4 * np.array(known.places).max(axis=0)
    found = []
    for _ in range(tables):
        fitted = fit_law(known, draw_deviations(1, correlations, random).reshape(SEEDS, -1))
        contained = [one.low <= true <= one.high for one, true in zip(fitted.parameters, known.parameters, strict=True)]
        low, high = fitted.predict_band([beyond])
        alpha = next(one for one in fitted.parameters if one.name == "α")
        found.append((contained, bool(low[0] <= known.value(beyond) <= high[0]), alpha.high - alpha.low))
    return found


def fit_law(known: Truth, deviations: np.ndarray) -> Law:
    """Return the law fitted to values that deviate by ``deviations`` (seeds, places) from the truth."""
    factors = np.exp(NOISE * deviations).T
    points = [
        Observation(str(at), at, tuple((known.value(at) * factor).tolist()))
        for at, factor in zip(known.places, factors, strict=True)
    ]
    return law.fit_law(known.form, points, known.letters)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plans", type=int, nargs="?", default=1000)
    parser.add_argument("tables", type=int, nargs="?", default=200)
    given = parser.parse_args()
    main(given.plans, given.tables)
