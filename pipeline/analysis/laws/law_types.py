"""Input types of the laws: observations and the description of a dataset."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Observation:
    """One cell: its coordinates in natural units and the loss or error of each seed."""

    cell: str
    at: tuple[float, ...]
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Return the mean over seeds."""
        return float(np.mean(self.values))


@dataclass(frozen=True)
class LawDataset:
    """A task's loss or error against one axis or two, and what is held fixed.

    ``recipe`` is that of the cells, empty where the grid has one alone.
    """

    task: str
    target: str
    axes: tuple[str, ...]
    condition: str
    recipe: str = ""

    @property
    def where(self) -> str:
        """Return the condition, with the recipe where the grid has several."""
        return f"{self.condition}, {self.recipe}" if self.recipe else self.condition
