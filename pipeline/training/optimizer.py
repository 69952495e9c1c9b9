"""AdamW with bias correction, and the rate's rise and fall."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class AdamW(torch.optim.AdamW):
    """AdamW that clips the gradients in the same pass.

    torch's own step goes over the weights in Python several times and clipping over the gradients once more: a tenth of
    a step for two layers of 96.
    """

    @torch.no_grad()
    def clipped_step(self, clip: float) -> None:
        """Move the weights by their gradients, scaled down to a norm of ``clip`` where theirs is larger; drop them."""
        weights = [weight for group in self.param_groups for weight in group["params"] if weight.grad is not None]
        if weights[0].device.type != "cpu" or any(weight not in self.state for weight in weights):
            nn.utils.clip_grad_norm_(weights, clip)
            self.step()
        else:
            excess = (nn.utils.get_total_norm([weight.grad for weight in weights]) + 1e-6) / clip
            for group in self.param_groups:
                self._move(group, excess if excess > 1 else None)
        self.zero_grad()

    def _move(self, group: dict[str, Any], excess: Tensor | None) -> None:
        """Move the weights of a group by their gradients, divided by ``excess``."""
        weights = [weight for weight in group["params"] if weight.grad is not None]
        states = [self.state[weight] for weight in weights]
        counts = [state["step"] for state in states]
        torch._foreach_add_(counts, 1)
        torch._fused_adamw_(
            weights, [weight.grad for weight in weights], [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states], [], counts, lr=group["lr"], beta1=group["betas"][0],
            beta2=group["betas"][1], weight_decay=group["weight_decay"], eps=group["eps"], amsgrad=False,
            maximize=False, grad_scale=excess,
        )  # fmt: skip


def adamw(model: nn.Module, learning_rate: float, weight_decay: float) -> AdamW:
    """Return AdamW (Loshchilov and Hutter 2019) over a model's weights; biases and layer norms do not decay.

    Bias correction is part of it; what leaving it out does to BERT is told by Mosbach et al. 2021.
    """
    kept = [weight for weight in model.parameters() if weight.requires_grad and weight.ndim < 2]
    decayed = [weight for weight in model.parameters() if weight.requires_grad and weight.ndim >= 2]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}]
    return AdamW(groups, lr=learning_rate, betas=(0.9, 0.999), eps=1e-8, fused=True)


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
