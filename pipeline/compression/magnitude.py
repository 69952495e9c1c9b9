"""Zeros in the weights of the encoder's layers: the smallest of them all, or the smallest of each few.

Zeros are baked in. They are stored without taking room and stay zero in training (``pipeline.models.sparse_masks``);
a dense
product of matrices takes no less time for them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pipeline.compression import method_checks
from pipeline.compression.calibration import Compressed, agreed
from pipeline.core.errors import UserError
from pipeline.models.bert_layers import linears


def magnitude(model: Any, share: float, scope: str) -> Compressed:
    """Set exactly the ``share`` of the weights to zero that are smallest in magnitude (Han et al. 2015).

    They are ranked over all matrices of the encoder's layers (scope ``global``) or in each (``layer``). Zeros that are
    there already count as part of the share. Raises UserError for arguments that cannot be.
    """
    agreed(model, method_checks.magnitude, share=share, scope=scope)
    weights = [linear.weight.detach() for linear in linears(model)]
    before = sum(map(_zeros, weights))
    for group in [weights] if scope == "global" else [[weight] for weight in weights]:
        _prune(group, round(share * sum(weight.numel() for weight in group)))
    where = "over all" if scope == "global" else "in each"
    return Compressed(model, f"the smallest {where} of {len(weights)} matrices: {_told(weights, before)}")


def _prune(weights: list[Tensor], count: int) -> None:
    """Set the ``count`` entries of ``weights`` to zero that are smallest; of equal ones the first."""
    if not count:
        return
    sizes = torch.cat([weight.abs().flatten().cpu() for weight in weights])  # a GPU chooses among equals as it likes
    threshold = sizes.kthvalue(count).values
    pruned = sizes < threshold
    equal = (sizes == threshold).nonzero()[:, 0]
    pruned[equal[: count - int(pruned.sum())]] = True
    for weight, zero in zip(weights, torch.split(pruned, [weight.numel() for weight in weights]), strict=True):
        weight.masked_fill_(zero.view(weight.shape).to(weight.device), 0.0)


def pattern(model: Any, keep: int, of: int) -> Compressed:
    """Keep the ``keep`` largest of every ``of`` weights that follow one another along the input (Mishra et al. 2021).

    Matrices whose inputs do not divide into such groups stay whole, and are told. Raises UserError for arguments that
    cannot be, or where no matrix divides.
    """
    agreed(model, method_checks.pattern, keep=keep, of=of)
    weights = [linear.weight.detach() for linear in linears(model)]
    chosen = [weight for weight in weights if weight.shape[1] % of == 0]
    if not chosen:
        raise UserError(
            f"of: got {of}, but no matrix of the layers has a number of inputs that divides into such groups"
        )
    before = sum(map(_zeros, weights))
    for weight in chosen:
        groups = weight.view(len(weight), -1, of)
        groups.scatter_(2, groups.abs().topk(of - keep, dim=2, largest=False).indices, 0.0)
    whole = len(weights) - len(chosen)
    left = f", {whole} left whole, whose inputs do not divide by {of}" if whole else ""
    return Compressed(model, f"{keep} of every {of} in {len(chosen)} matrices{left}: {_told(weights, before)}")


def _zeros(weight: Tensor) -> int:
    return weight.numel() - int(torch.count_nonzero(weight))


def _told(weights: list[Tensor], before: int) -> str:
    zeros, total = sum(map(_zeros, weights)), sum(weight.numel() for weight in weights)
    return f"{zeros:,} of {total:,} weights are zero ({zeros / total:.1%}), {before:,} were before"
