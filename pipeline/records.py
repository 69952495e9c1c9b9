"""How a cell's numbers are kept: the version of their layout, and mean and interval of each over the trials.

Every stage's cells depend on this file (dvc.yaml), since it makes the numbers in all of their records.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

SCHEMA = 1  # of a record, metrics/<stage>/<cell>.json
BY_EXAMPLE = ("predictions", "references")  # texts of a trial that grow with the examples: for the files alone


def summary(trials: list[dict[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Return mean and 95% interval of every number that all trials have; truth values count as 0 and 1."""
    names = [name for name in trials[0] if name != "seed"]
    columns = {name: [trial.get(name) for trial in trials] for name in names}
    return {name: interval(_floats(values)) for name, values in columns.items() if len(_floats(values)) == len(trials)}


def _floats(values: Iterable[object]) -> list[float]:
    return [float(value) for value in values if isinstance(value, (int, float))]


def interval(values: list[float]) -> dict[str, float | None]:
    """Return mean, standard deviation and Student's t 95% interval of the mean; no interval for a single value."""
    from scipy.special import stdtrit

    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return {"mean": mean, "std": None, "ci95_low": None, "ci95_high": None}
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = float(stdtrit(count - 1, 0.975)) * deviation / math.sqrt(count)
    return {"mean": mean, "std": deviation, "ci95_low": mean - half, "ci95_high": mean + half}
