"""What a method may ask of the task: batches of training examples, for gradients and activations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from pipeline.data import batches
from pipeline.data.batches import Batch, Examples

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
