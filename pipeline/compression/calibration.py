"""Training examples on which a method measures the model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.data import batches
from pipeline.data.batches import Batch, Examples

ROWS = 16  # of a batch


@dataclass(frozen=True)
class Calibration:
    """``count`` of the training examples, spread evenly and the same at every call."""

    examples: Examples
    count: int = 256

    def batches(self, device: torch.device) -> Iterator[Batch]:
        """Yield the examples on ``device``, in batches of similar length."""
        count = min(self.count, len(self.examples))
        chosen = np.linspace(0, len(self.examples) - 1, count).round().astype(int)
        for rows in batches.by_length(self.examples.lengths[chosen], ROWS):
            yield batches.collate(self.examples, chosen[rows]).to(device)
