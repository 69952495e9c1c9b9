"""Which places of a task's grid answer which question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pipeline.analysis.laws.law_types import Measured, Question
from pipeline.analysis.laws.select_law import Finding, study

SIZES = ("parameters_non_embedding", "parameters")
FAMILY = "pretrained"  # a law is one of models made alike; those trained anew or not at all are others
TARGETS = ("loss", "error")


@dataclass(frozen=True)
class Cell:
    """A cell of the grid: ``sizes`` by name, rows that it learnt from, FLOPs of its training, a value a seed.

    ``errors`` are 1 - score. A number that is not known is None, a list of values empty.
    """

    cell: str
    family: str
    sizes: Mapping[str, float | None]
    examples: float | None
    flops: float | None
    losses: tuple[float, ...]
    errors: tuple[float, ...]


def of_task(task: str, cells: Sequence[Cell], targets: Sequence[str] = TARGETS) -> list[Finding]:
    """Return what the cells of a task's grid say to each question, of one target after the other."""
    alike = [cell for cell in cells if cell.family == FAMILY]
    return [study(question, points) for target in targets for question, points in _asked(task, target, alike)]


def _asked(task: str, target: str, cells: Sequence[Cell]) -> Iterator[tuple[Question, list[Measured]]]:
    """Yield each question and its places: sizes at the most data, data at the largest model, compute, size and data."""
    largest = max((cell.sizes[SIZES[0]] or 0 for cell in cells), default=0)
    most = max((cell.examples or 0 for cell in cells), default=0)
    for size in SIZES:
        at_most = [cell for cell in cells if cell.examples == most]
        yield Question(task, target, (size,), "most data"), _measured(target, (size,), at_most)
    of_largest = [cell for cell in cells if cell.sizes[SIZES[0]] == largest]
    data, compute, joint = ("train_examples",), ("train_flops",), (SIZES[0], "train_examples")
    yield Question(task, target, data, "largest model"), _measured(target, data, of_largest)
    yield Question(task, target, compute, "front of compute"), front(_measured(target, compute, cells))
    yield Question(task, target, joint, "all sizes and data"), _measured(target, joint, cells)


def front(points: Sequence[Measured]) -> list[Measured]:
    """Return the places that no cheaper one beats, the cheapest first: the least value at each compute.

    So Kaplan et al. 2020 (section 6) and Hoffmann et al. 2022 (approach 1) fit compute. It picks lucky places, since a
    low mean stands on it for being low: its law lies a little below that of all models.
    """
    kept: list[Measured] = []
    for point in sorted(points, key=lambda point: (point.at[0], point.mean)):
        if not kept or point.mean < kept[-1].mean:
            kept.append(point)
    return kept


def _measured(target: str, axes: tuple[str, ...], cells: Sequence[Cell]) -> list[Measured]:
    """Return the cells that have all of the axes and values, in rising order of place."""
    found = []
    for cell in cells:
        known = {**cell.sizes, "train_examples": cell.examples, "train_flops": cell.flops}
        at = [known[axis] for axis in axes]
        values = cell.losses if target == "loss" else cell.errors
        if values and all(place is not None for place in at):
            found.append(Measured(cell.cell, tuple(float(place or 0) for place in at), values))
    return sorted(found, key=lambda point: point.at)
