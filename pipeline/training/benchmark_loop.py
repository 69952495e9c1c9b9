"""Fine-tuning that goes on for ever: to measure what a step takes, not to learn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import numpy as np
import torch

from pipeline.data import batches
from pipeline.data.batches import Examples
from pipeline.system.distributed import ProcessGroup
from pipeline.training import used_embeddings
from pipeline.training.fast_cpu import quick
from pipeline.training.recipe import Recipe
from pipeline.training.trainer import Run

BATCHES = 4
STEPS = 1_000_000  # more than any clock lets a run make


@contextmanager
def endless(model: Any, train: Examples, rows: int, precision: str, group: ProcessGroup) -> Iterator[Run]:
    """Yield a fine-tuning of the model, as ``finetuning`` does it, that goes on for ever with ``BATCHES`` batches.

    They are of like length and spread over the lengths of the examples; each time they come anew they are the same, so
    that what they take differs by the machine alone, and larger batches are padded no more than smaller ones.
    """
    recipe = Recipe(
        learning_rate=1e-5, batch_size=rows, epochs=None, steps=STEPS, warmup=0.0, weight_decay=0.01, clip=1.0,
        evaluations=1,
    )  # fmt: skip
    torch.manual_seed(0)
    with used_embeddings.narrowed(model.train(), [train], 1.0) as (seen,), quick(model):
        run = Run(model, seen, recipe, 0, precision=precision, group=group)
        run.batches = cycle(_spread(seen, rows))
        yield run


def _spread(examples: Examples, rows: int) -> list[np.ndarray]:
    found = list(batches.by_length(examples.lengths, rows))
    whole = [batch for batch in found if len(batch) == rows] or found
    places = (np.arange(BATCHES) + 0.5) * len(whole) / BATCHES
    return [whole[place] for place in places.astype(int)]
