"""Fine-tuning without end, to benchmark training steps."""

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
from pipeline.training.fast_cpu import apply_fast_passes
from pipeline.training.recipe import Recipe
from pipeline.training.trainer import Trainer

BATCHES = 4
STEPS = 1_000_000  # more than any benchmark runs


@contextmanager
def start_benchmark_loop(
    model: Any, train: Examples, rows: int, precision: str, group: ProcessGroup
) -> Iterator[Trainer]:
    """Yield a trainer like that of ``finetune_classifier`` which repeats the same ``BATCHES`` batches without end.

    The batches have rows of similar length and cover the lengths of the examples. Since they repeat, timings differ
    only by the machine, and larger batches have no more padding than smaller ones.
    """
    recipe = Recipe(
        learning_rate=1e-5, batch_size=rows, epochs=None, steps=STEPS, warmup=0.0, weight_decay=0.01, clip=1.0,
        evaluations=1,
    )  # fmt: skip
    torch.manual_seed(0)
    with used_embeddings.select_used_embeddings(model.train(), [train], 1.0) as (used,), apply_fast_passes(model):
        trainer = Trainer(model, used, recipe, 0, precision=precision, group=group)
        trainer.batches = cycle(_select_batches(used, rows))
        yield trainer


def _select_batches(examples: Examples, rows: int) -> list[np.ndarray]:
    everything = list(batches.by_length(examples.lengths, rows))
    full = [batch for batch in everything if len(batch) == rows] or everything
    places = (np.arange(BATCHES) + 0.5) * len(full) / BATCHES
    return [full[place] for place in places.astype(int)]
