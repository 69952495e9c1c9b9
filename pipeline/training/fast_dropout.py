"""Dropout with 16 random bits per element, so that one 64-bit number serves four elements."""

from __future__ import annotations

import torch
from torch import Tensor, nn

BITS = 15  # of the 16 are compared, so that the difference to the threshold fits into 16 bits


def apply_dropout(states: Tensor, rate: float) -> Tensor:
    """Set a share ``rate`` of ``states`` to zero and scale the others to keep the mean.

    The rate is rounded to 1/32768. A GPU uses ``torch.nn.functional.dropout``, which draws a number per element.
    """
    if states.device.type != "cpu":
        return nn.functional.dropout(states, rate)
    mask = draw_mask(states, rate)
    return states if mask is None else states * mask


def draw_mask(states: Tensor, rate: float) -> Tensor | None:
    """Return a dropout mask on the CPU with the values 0 and 1 / (1 - rate); None for a rate of 0.

    Comparison and scaling are bit operations: a negative difference, shifted right by 15, has all bits set.
    """
    if not rate:
        return None
    threshold = round((1 - rate) * 2**BITS)
    numbers = torch.empty(-(-states.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    each = numbers.view(torch.int16)[: states.numel()].view(states.shape)
    below = each.bitwise_right_shift_(1).sub_(threshold - 2 ** (BITS - 1)).bitwise_right_shift_(15)
    if states.dtype != torch.bfloat16:
        return below.to(states.dtype).mul_(-(2**BITS) / threshold)
    scale = torch.tensor(2**BITS / threshold, dtype=torch.bfloat16).view(torch.int16)
    return below.bitwise_and_(scale).view(torch.bfloat16)


class FastDropout(nn.Dropout):
    """Dropout by ``apply_dropout``."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply dropout in training mode."""
        return apply_dropout(input, self.p) if self.training else input
