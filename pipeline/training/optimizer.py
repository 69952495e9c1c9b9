"""AdamW with bias correction, and the rate's rise and fall."""

from __future__ import annotations

import math

import torch
from torch import nn


def adamw(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """Return AdamW (Loshchilov and Hutter 2019) over a model's weights; biases and layer norms do not decay.

    Bias correction is part of it; what leaving it out does to BERT is told by Mosbach et al. 2021.
    """
    kept = [weight for weight in model.parameters() if weight.requires_grad and weight.ndim < 2]
    decayed = [weight for weight in model.parameters() if weight.requires_grad and weight.ndim >= 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True)


def linear(update: int, updates: int, warmup: float) -> float:
    """Return the share of the learning rate at the ``update``-th of ``updates`` updates, counted from 0.

    It rises in equal steps over the first ``warmup`` share of the updates, then falls to zero after the last one:
    transformers' linear schedule, but for the first update, which there is spent at a rate of zero.
    """
    rising = round(warmup * updates)
    if update < rising:
        return (update + 1) / (rising + 1)
    return (updates - update) / (updates - rising)


def decayed(learning_rate: float, weight_decay: float, updates: int, warmup: float) -> float:
    """Return what a whole run's weight decay leaves of a weight that never has a gradient: prod(1 - rate * decay)."""
    rates = (learning_rate * linear(update, updates, warmup) for update in range(updates))
    return math.prod(1 - rate * weight_decay for rate in rates)
