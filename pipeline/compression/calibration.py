"""What methods have in common: what they may ask of the task, what they refuse, and what they return."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from pipeline.compression.method_checks import Shape
from pipeline.core.errors import UserError
from pipeline.data import batches
from pipeline.data.batches import Batch, Examples
from pipeline.models import quantised_layers

ROWS = 16  # of a batch


class Compressed(NamedTuple):
    """A model after a method, and in words what the method changed."""

    model: nn.Module
    changed: str


@dataclass(frozen=True)
class Calibration:
    """Some of the training examples of the task, the same at every call; ``count`` of them, spread evenly."""

    examples: Examples
    count: int = 256

    def batches(self, device: torch.device) -> Iterator[Batch]:
        """Yield the examples in batches of like length, on ``device``."""
        count = min(self.count, len(self.examples))
        chosen = np.linspace(0, len(self.examples) - 1, count).round().astype(int)
        for rows in batches.by_length(self.examples.lengths[chosen], ROWS):
            yield batches.collate(self.examples, chosen[rows]).to(device)


def agreed(model: Any, check: Callable[..., list[str]], **arguments: Any) -> None:
    """Ask the ``check`` of a method about its arguments and the model's shape.

    Raises UserError with every mistake, a line each, or where the model's weights are int8.
    """
    refuse_int8(model)
    if mistakes := check(Shape.of(model.config.to_dict()), **arguments):
        raise UserError("\n".join(mistakes))


def refuse_int8(model: nn.Module) -> None:
    """Raise UserError where the model's weights are int8: a method cannot change them."""
    if quantised_layers.kind(model) is not None:
        raise UserError("the model's weights are int8 already; put int8 last in the chain, behind this method")


def parameters(model: nn.Module) -> int:
    """Return how many parameters a model has, those that layers share once."""
    return sum(parameter.numel() for parameter in model.parameters())
