"""Fine-tuning a classifier from pre-trained weights: a plain loop, its clock and its learning curves.

A plain loop rather than transformers' Trainer, which needs 1.24 times the processor's time over the trials of the
shipped plan, its 0.27 s of setting up included (docs/performance.md). For large models it would not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from pipeline.core.errors import UserError
from pipeline.data.batches import Examples
from pipeline.models.flops import model_flops
from pipeline.models.sparse_masks import freeze_zeros
from pipeline.system import hardware
from pipeline.training import optimizer, used_embeddings
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.fast_cpu import quick
from pipeline.training.learning_curves import Judge, Point, compute_baseline, convergence
from pipeline.training.objective import Loss
from pipeline.training.recipe import Recipe
from pipeline.training.trainer import Run

Record = Callable[[int, dict[str, float]], None]


def finetune(
    model: nn.Module,
    train: Examples,
    selection: Examples,
    recipe: Recipe,
    judge: Judge,
    score: str,
    seed: int,
    record: Record = lambda step, values: None,
    advanced: Callable[[int], None] = lambda steps: None,
    loss: Loss | None = None,
    checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:
    """Fine-tune ``model`` in place and return what the run was, cost and came to.

    ``judge`` gives the metrics of logits (examples, outputs) and labels (examples,), ``score`` names the one whose
    convergence is told; ``record`` gets the points of the curves, ``advanced`` the steps made; ``loss`` is another
    than that of the labels. Weights that are sparse keep their zeros. The order of the batches and dropout come from
    ``seed``. Several processes (``distributed``) each take their rows of every batch, add up their gradients and
    return the same. Where ``checkpoint`` holds the state of the same run, it goes on from there, as if it had never
    been interrupted. Raises UserError when the loss is no longer a number, or grows out of all proportion.
    """
    loss = loss or Loss()
    hardware.make_deterministic(seed)
    hardware.reset_peak_memory()
    model.to(hardware.get_device()).train()
    loss.to(hardware.get_device()).train()
    updates = recipe.updates(len(train))
    flops = _flops(model)
    left = optimizer.decayed(recipe.learning_rate, recipe.weight_decay, updates, recipe.warmup)
    with (
        used_embeddings.narrowed(model, [train, selection], left) as (seen, judged),
        freeze_zeros(model),
        quick(model, loss.whole),
    ):
        run = Run(model, seen, recipe, seed, loss, checkpoint=checkpoint)
        for step, values in run.told:
            record(step, values)
        if run.done:
            advanced(run.done)
        for until in recipe.points(len(train))[len(run.told) :]:
            values = {"loss": run.advance(until, advanced), **run.select(judged, judge, score)}
            record(until, run.tell(until, values))
            spent = flops(np.concatenate(run.lengths)) if flops else None
            run.curve.append(Point(values["selection_score"], until, int(run.rows.sum()), run.train_seconds, spent))
        run.end()
    return {
        "train_examples": len(train),
        "selection_examples": len(selection),
        **run.cost(),
        **{name: value for name, value in run.told[-1][1].items() if name != "learning_rate"},
        **({} if (spent := run.curve[-1].flops) is None else {"train_flops": spent}),
        **convergence(run.curve, recipe.fractions, compute_baseline(judge, selection.labels, score)),
    }


def _flops(model: nn.Module) -> Callable[[np.ndarray], float] | None:
    """Return how many FLOPs forward and backward take for examples of given lengths; None where nobody knows.

    Those of the model as it is defined, for real tokens alone: neither padding nor what is left out here changes them.
    """
    try:
        forward, backward = model_flops.compute_training_flops(model)
    except UserError:
        return None
    return lambda lengths: float(forward(lengths).sum() + backward(lengths).sum())
