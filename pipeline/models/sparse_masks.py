"""Sparse weights: which Linears have them, and how their zeros stay zero while the model is trained further."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

MIN_SPARSITY = (
    0.001  # share of exact zeros from which they are no accident; of trained weights hardly one is exactly zero
)


def find_sparse_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the weights of Linears of which at least 0.1% are exactly zero, by name, each once; int8 ones never."""
    linears = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear))
    weights = {
        f"{name}.weight": linear.weight for name, linear in linears if type(linear.weight) is nn.Parameter
    }  # a quantised weight is a parameter of another class
    return {name: weight for name, weight in weights.items() if _compute_sparsity(weight) >= MIN_SPARSITY}


def _compute_sparsity(weight: Tensor) -> float:
    return 1 - int(torch.count_nonzero(weight)) / weight.numel()


@contextmanager
def freeze_zeros(model: nn.Module) -> Iterator[None]:
    """Keep the zeros of sparse weights at zero while the block trains ``model`` on the device where it is now.

    Their gradient is zero, so AdamW, made inside the block, has neither a moment nor a decay that would move them.
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
