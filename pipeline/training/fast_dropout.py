"""Dropout that draws 16 random bits for an element: one number serves four."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BITS = 15  # of an element's 16 decide, so that their difference from a bound fits into 16


def drop(states: Tensor, rate: float) -> Tensor:
    """Return ``states`` with a share ``rate`` of them at zero and the others scaled up to keep the mean.

    The rate is one of 32,768 steps; ``torch.nn.functional.dropout`` draws a number for each element, and is left to
    do so on a GPU.
    """
    if states.device.type != "cpu":
        return nn.functional.dropout(states, rate)
    kept = mask(states, rate)
    return states if kept is None else states * kept


def mask(states: Tensor, rate: float) -> Tensor | None:
    """Return what drops elements of ``states`` by a product, on the CPU: 0 or 1 / (1 - rate); None where none drops.

    Compares, converts and scales by bits: below the bound a difference is all ones, which leaves the scale's.
    """
    if not rate:
        return None
    kept = round((1 - rate) * 2**BITS)
    drawn = torch.empty(-(-states.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    each = drawn.view(torch.int16)[: states.numel()].view(states.shape)
    below = each.bitwise_right_shift_(1).sub_(kept - 2 ** (BITS - 1)).bitwise_right_shift_(15)
    if states.dtype != torch.bfloat16:
        return below.to(states.dtype).mul_(-(2**BITS) / kept)
    scale = torch.tensor(2**BITS / kept, dtype=torch.bfloat16).view(torch.int16)
    return below.bitwise_and_(scale).view(torch.bfloat16)


class Dropout(nn.Dropout):
    """Dropout by ``drop``."""

    def forward(self, input: Tensor) -> Tensor:
        """Return ``input``, with elements dropped while training."""
        return drop(input, self.p) if self.training else input
