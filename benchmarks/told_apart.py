"""How often cells that are truly equal are told apart, and how many of those that differ are.

``python benchmarks/told_apart.py [plans]`` prints a row for each number of cells, seeds and examples and each way in
which the scores spread over seeds: in how many of so many plans (1000) some pair of equal cells was told apart (the
family-wise error, to be 5% at most); in how many the corrected intervals held every true difference of a ladder of
cells; the share of that ladder's pairs more than 3 points apart that were told apart; and how often the interval of a
single pair held its difference. It takes about six minutes on one thread.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.scaling import plans

SIZES = ((9, 3, 408), (26, 3, 408), (26, 3, 1500), (9, 5, 1500), (26, 5, 1500))  # cells, seeds, examples
LADDER = 0.3  # from the worst to the best cell
APART = 0.03


def main(repetitions: int) -> None:
    """Print the row of each setting as it is measured."""
    print("| cells | seeds | examples | spread over seeds | equal, told apart | all held | power | one held |")
    print("|---:|---:|---:|---|---:|---:|---:|---:|")
    for (cells, seeds, examples), name in product(SIZES, plans.SPREADS):
        random = np.random.default_rng(0)
        spread = plans.SPREADS[name](cells)
        equal = [plans.compared(np.zeros(cells), spread, seeds, examples, random) for _ in range(repetitions)]
        wrong = np.mean([bool(plans.apart(found).any()) for found in equal])
        ladder = random.permutation(np.linspace(0, LADDER, cells))
        true = ladder[np.triu_indices(cells, 1)[0]] - ladder[np.triu_indices(cells, 1)[1]]
        tried = [plans.compared(ladder, spread, seeds, examples, random) for _ in range(max(1, repetitions // 4))]
        held = np.mean([bool(plans.held(found, true, corrected=True).all()) for found in tried])
        one = np.mean([plans.held(found, true, corrected=False).mean() for found in tried])
        power = np.mean([plans.apart(found)[np.abs(true) > APART].mean() for found in tried])
        shares = " | ".join(f"{100 * share:.1f}%" for share in (wrong, held, power, one))
        print(f"| {cells} | {seeds} | {examples} | {name} | {shares} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
