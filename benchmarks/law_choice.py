"""Held-out errors against errors on new measurements: of a law chosen by that error, and nested.

``python benchmarks/law_choice.py [tables]`` makes tables (200) whose law is known, chooses a law by its held-out error
and measures the held-out place again. It prints four means: the held-out error that chose the law, the error of the
same prediction on the new measurement, and both for the law that was chosen without the held-out place. It takes less
than a minute on one thread.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.analysis.laws import LawDataset, fit_laws
from tests.analysis.laws import truth
from tests.analysis.laws.truth import Truth

QUESTION = LawDataset("task", "loss", ("parameters",), "most data")
DESIGNS = {"power, 5": truth.power(5), "power with floor, 4": truth.floor(4), "power with floor, 5": truth.floor(5)}
SEEDS, NOISE = 3, 0.05  # standard deviation over seeds, relative


def main(tables: int) -> None:
    """Print a row for each design."""
    print("| law, places | chosen by it | on new measurements | nested | on new measurements |")
    print("|---|---:|---:|---:|---:|")
    for name, known in DESIGNS.items():
        random = np.random.default_rng(0)
        means = np.mean([measure_errors(known, random) for _ in range(tables)], axis=0)
        print(f"| {name} | {' | '.join(f'{mean:.1%}' for mean in means)} |", flush=True)


def measure_errors(known: Truth, random: np.random.Generator) -> tuple[float, ...]:
    """Return the four errors of one table."""
    found = fit_laws(QUESTION, known.table(NOISE, SEEDS, random))
    (held,) = found.holdouts
    again = np.mean(known.measure(held.at[0], NOISE, SEEDS, random))
    names = [found.law.form if found.law else "", held.chosen_form or ""]
    return tuple(
        error for name in names for error in (held.errors[name], abs(held.predictions[name].values[0] / again - 1))
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
