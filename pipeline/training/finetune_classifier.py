"""Fine-tune a classifier from pre-trained weights, with learning curves and costs.

The training loop is ours. transformers' Trainer takes 1.24 times the CPU time over the trials of the shipped plan,
including 0.27 s of setup (docs/performance.md). For large models the difference would not matter.
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
from pipeline.training.fast_cpu import apply_fast_passes
from pipeline.training.learning_curves import ComputeMetrics, CurvePoint, compute_baseline, compute_convergence
from pipeline.training.recipe import Recipe
from pipeline.training.task_loss import TaskLoss
from pipeline.training.trainer import Trainer

LogMetrics = Callable[[int, dict[str, float]], None]


def finetune_classifier(
    model: nn.Module,
    train: Examples,
    selection: Examples,
    recipe: Recipe,
    compute_metrics: ComputeMetrics,
    score_name: str,
    seed: int,
    log_metrics: LogMetrics = lambda step, values: None,
    on_step: Callable[[int], None] = lambda steps: None,
    loss: TaskLoss | None = None,
    checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:
    """Fine-tune ``model`` in place and return size, cost, scores and convergence of the trainer.

    ``compute_metrics`` takes logits (examples, outputs) and labels (examples,). ``score_name`` is the metric whose
    convergence is reported. ``log_metrics`` receives each point of the curves, ``on_step`` the number of new steps.
    ``loss`` replaces the loss of the labels. ``seed`` determines the order of the batches and dropout. Sparse weights
    keep their zeros. Several processes (``system.distributed``) divide the rows of every batch and return the same
    result. If ``checkpoint`` has the state of this run, training resumes there and ends with the same weights.
    Raises UserError when the loss is NaN, infinite or far above the first one.
    """
    loss = loss or TaskLoss()
    hardware.make_deterministic(seed)
    hardware.reset_peak_memory()
    model.to(hardware.get_device()).train()
    loss.to(hardware.get_device()).train()
    updates = recipe.count_steps(len(train))
    flops = _create_flops_counter(model)
    decay = optimizer.compute_total_decay(recipe.learning_rate, recipe.weight_decay, updates, recipe.warmup)
    with (
        used_embeddings.select_used_embeddings(model, [train, selection], decay) as (used_train, used_selection),
        freeze_zeros(model),
        apply_fast_passes(model, loss.needs_all_tokens),
    ):
        trainer = Trainer(model, used_train, recipe, seed, loss, checkpoint=checkpoint)
        for step, values in trainer.history:
            log_metrics(step, values)
        if trainer.step:
            on_step(trainer.step)
        for step in recipe.get_evaluation_steps(len(train))[len(trainer.history) :]:
            values = {
                "loss": trainer.train(step, on_step),
                **trainer.evaluate(used_selection, compute_metrics, score_name),
            }
            log_metrics(step, trainer.log_point(step, values))
            train_flops = flops(np.concatenate(trainer.lengths)) if flops else None
            trainer.curve.append(
                CurvePoint(values["selection_score"], step, int(trainer.rows.sum()), trainer.train_seconds, train_flops)
            )
        trainer.save_final_state()
    return {
        "train_examples": len(train),
        "selection_examples": len(selection),
        **trainer.compute_cost(),
        **{name: value for name, value in trainer.history[-1][1].items() if name != "learning_rate"},
        **({} if (train_flops := trainer.curve[-1].flops) is None else {"train_flops": train_flops}),
        **compute_convergence(
            trainer.curve, recipe.fractions, compute_baseline(compute_metrics, selection.labels, score_name)
        ),
    }


def _create_flops_counter(model: nn.Module) -> Callable[[np.ndarray], float] | None:
    """Return a function of lengths that counts forward and backward FLOPs; None for an unknown model family.

    The count is that of the model's definition on real tokens: neither padding nor the fast passes change it.
    """
    try:
        forward, backward = model_flops.compute_training_flops(model)
    except UserError:
        return None
    return lambda lengths: float(forward(lengths).sum() + backward(lengths).sum())
