"""Datasets of a task's scaling laws: which cells enter which law."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.analysis.laws.law_types import LawDataset, Observation
from pipeline.analysis.laws.select_law import LawSelection, fit_laws

SIZES = ("parameters_non_embedding", "parameters")
FAMILY = "pretrained"  # laws compare models with the same kind of pre-training
TARGETS = ("loss", "error")


@dataclass(frozen=True)
class LawCell:
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
    recipe: str = ""


def fit_task_laws(task: str, cells: Sequence[LawCell], targets: Sequence[str] = TARGETS) -> list[LawSelection]:
    """Return the laws of a task's grid, by target, then by recipe."""
    alike = [cell for cell in cells if cell.family == FAMILY]
    recipes = list(dict.fromkeys(cell.recipe for cell in alike)) or [""]
    return [
        fit_laws(replace(question, recipe=recipe if len(recipes) > 1 else ""), points)
        for target in targets
        for recipe in recipes
        for question, points in _list_datasets(task, target, [cell for cell in alike if cell.recipe == recipe])
    ]


def _list_datasets(task: str, target: str, cells: Sequence[LawCell]) -> Iterator[tuple[LawDataset, list[Observation]]]:
    """Yield each question and its places: sizes at the most data, data at the largest model, compute, size and data."""
    largest = max((cell.sizes[SIZES[0]] or 0 for cell in cells), default=0)
    most = max((cell.examples or 0 for cell in cells), default=0)
    for size in SIZES:
        at_most = [cell for cell in cells if cell.examples == most]
        yield LawDataset(task, target, (size,), "most data"), _collect_observations(target, (size,), at_most)
    of_largest = [cell for cell in cells if cell.sizes[SIZES[0]] == largest]
    data, compute, joint = ("train_examples",), ("train_flops",), (SIZES[0], "train_examples")
    yield LawDataset(task, target, data, "largest model"), _collect_observations(target, data, of_largest)
    yield (
        LawDataset(task, target, compute, "front of compute"),
        select_front(_collect_observations(target, compute, cells)),
    )
    yield LawDataset(task, target, joint, "all sizes and data"), _collect_observations(target, joint, cells)


def select_front(points: Sequence[Observation]) -> list[Observation]:
    """Select the observations with the lowest value up to their compute, cheapest first.

    Kaplan et al. 2020 (section 6) and Hoffmann et al. 2022 (approach 1) fit compute on this front. Selection favours
    lucky observations, so the fitted law is slightly below a law of all models.
    """
    kept: list[Observation] = []
    for point in sorted(points, key=lambda point: (point.at[0], point.mean)):
        if not kept or point.mean < kept[-1].mean:
            kept.append(point)
    return kept


def _collect_observations(target: str, axes: tuple[str, ...], cells: Sequence[LawCell]) -> list[Observation]:
    """Collect the cells that have all axes and values, sorted by their coordinates."""
    found = []
    for cell in cells:
        known = {**cell.sizes, "train_examples": cell.examples, "train_flops": cell.flops}
        at = [known[axis] for axis in axes]
        values = cell.losses if target == "loss" else cell.errors
        if values and all(place is not None for place in at):
            found.append(Observation(cell.cell, tuple(float(place or 0) for place in at), values))
    return sorted(found, key=lambda point: point.at)
