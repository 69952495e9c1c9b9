"""Sparse weights: find Linears that have them, and keep their zeros during training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

MIN_SPARSITY = 0.001  # minimum share of exact zeros; trained dense weights have almost none


def find_sparse_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the distinct floating-point weights of Linears with at least 0.1% exact zeros, by name."""
    linears = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear))
    weights = {
        f"{name}.weight": linear.weight for name, linear in linears if type(linear.weight) is nn.Parameter
    }  # a quantised weight is a parameter of another class
    return {name: weight for name, weight in weights.items() if _compute_sparsity(weight) >= MIN_SPARSITY}


def _compute_sparsity(weight: Tensor) -> float:
    return 1 - int(torch.count_nonzero(weight)) / weight.numel()


@contextmanager
def freeze_zeros(model: nn.Module) -> Iterator[None]:
    """Keep the zeros of sparse weights at zero while the block trains ``model`` on its current device.

    Their gradient is zero, so neither moments nor weight decay of an AdamW created in the block move them.
    """
    hooks = [
        weight.register_hook(partial(torch.mul, weight.detach() != 0))  # type: ignore[no-untyped-call]
        for weight in find_sparse_weights(model).values()
        if weight.requires_grad
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
