"""Fine-tuning that goes on for ever: to measure what a step takes, not to learn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from pipeline.data.batches import Examples
from pipeline.distributed import Group
from pipeline.training import vocabulary
from pipeline.training.finetuning import Run
from pipeline.training.quick import quick
from pipeline.training.recipe import Recipe

STEPS = 1_000_000  # more than any clock lets a run make


@contextmanager
def endless(model: Any, train: Examples, rows: int, precision: str, group: Group) -> Iterator[Run]:
    """Yield a fine-tuning of the model, as ``finetuning`` does it, that goes on for ever."""
    recipe = Recipe(
        learning_rate=1e-5, batch_size=rows, epochs=None, steps=STEPS, warmup=0.0, weight_decay=0.01, clip=1.0,
        evaluations=1,
    )  # fmt: skip
    torch.manual_seed(0)
    with vocabulary.narrowed(model.train(), [train], 1.0) as (seen,), quick(model):
        yield Run(model, seen, recipe, 0, precision=precision, group=group)
