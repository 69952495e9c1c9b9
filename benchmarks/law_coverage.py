"""How often the laws' 95% intervals hold the truth, over tables whose law is known.

``python benchmarks/law_coverage.py [repetitions]`` prints a row for each law, design of places, noise and number of
seeds: in how many of so many tables (200) the intervals held each parameter, the law itself amid the places and at four
times the largest, and a new mean there; and how often each parameter was told as determined. It takes about 25 minutes
on one thread.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.analysis.laws import law
from tests.analysis.laws import truth
from tests.analysis.laws.truth import Truth

DESIGNS = {
    **{f"power, {count}": truth.power(count) for count in (3, 4, 5, 8)},
    **{f"power with floor, {count}": truth.floor(count) for count in (4, 5, 8)},
    **{f"additive, {a} x {b}": truth.additive(a, b) for a, b in ((4, 3), (5, 5))},
    **{f"multiplicative, {a} x {b}": truth.multiplicative(a, b) for a, b in ((4, 3), (5, 5))},
    **{f"Hoffmann, {a} x {b}": truth.published(truth.HOFFMANN, a, b) for a, b in ((10, 5), (16, 15))},
}
NOISES, SEEDS = (0.005, 0.02, 0.05), (1, 3, 5)
BEYOND = 4  # times the largest place


def main(repetitions: int) -> None:
    """Print the row of each setting as it is measured."""
    print("| law, places | noise | seeds | parameters held | amid | beyond | new mean | determined |")
    print("|---|---:|---:|---|---:|---:|---:|---|")
    for (name, known), noise, seeds in product(DESIGNS.items(), NOISES, SEEDS):
        cells = [
            ", ".join(f"{100 * share:.0f}" for share in shares) for shares in measure(known, noise, seeds, repetitions)
        ]
        print(f"| {name} | {100 * noise:g}% | {seeds} | {' | '.join(cells)} |", flush=True)


def measure(known: Truth, noise: float, seeds: int, repetitions: int) -> list[list[float]]:
    """Return shares of tables: parameters held, law held amid and beyond, new mean held, parameters determined."""
    random = np.random.default_rng(0)
    tried = [once(known, noise, seeds, random) for _ in range(repetitions)]
    return [np.mean([one[part] for one in tried], axis=0).tolist() for part in range(len(tried[0]))]


def once(known: Truth, noise: float, seeds: int, random: np.random.Generator) -> list[list[bool]]:
    """Return for one table what ``measure`` counts."""
    fitted = law.fit_law(known.form, known.table(noise, seeds, random), known.letters)
    places = np.array(known.places)
    amid, beyond = np.exp(np.log(places).mean(axis=0)), BEYOND * places.max(axis=0)
    bands = [
        [low <= known.value(at) <= high for low, high in zip(*fitted.predict_band([at]), strict=True)]
        for at in (amid, beyond)
    ]
    mean = np.mean(known.measure(beyond, noise, seeds, random))
    low, high = fitted.predict_mean_interval([beyond], [seeds])
    held = [one.low <= true <= one.high for one, true in zip(fitted.parameters, known.parameters, strict=True)]
    return [held, *bands, [low[0] <= mean <= high[0]], [one.determined for one in fitted.parameters]]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
