"""Magnitude pruning: the smallest weights of the encoder's layers become zero (Han et al. 2015).

The zeros are stored without taking space and stay zero in training (``pipeline.models.sparse_masks``). A dense matrix
product takes as long as before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.compression.argument_checks import EncoderShape, check_choice, check_share
from pipeline.compression.compressed_model import CompressedModel, validate_for_model

if TYPE_CHECKING:
    from torch import Tensor

KEEPS_SHAPE = True


def check(shape: EncoderShape | None, share: object, scope: object) -> list[str]:
    """Return the mistakes in the arguments of ``apply``."""
    return [*check_share("share", share, "of the weights"), *check_choice("scope", scope, ("global", "layer"))]


def apply(model: Any, share: float, scope: str) -> CompressedModel:
    """Set exactly the ``share`` of the weights with the smallest magnitude to zero.

    They are ranked over all matrices of the encoder's layers (scope ``global``) or within each matrix (``layer``).
    Existing zeros count as part of the share. Raises UserError for invalid arguments.
    """
    from pipeline.models.bert_layers import list_linears

    validate_for_model(model, check, share=share, scope=scope)
    weights = [linear.weight.detach() for linear in list_linears(model)]
    zeros = count_zeros(weights)
    for group in [weights] if scope == "global" else [[weight] for weight in weights]:
        _set_smallest_to_zero(group, round(share * sum(weight.numel() for weight in group)))
    where = "over all" if scope == "global" else "in each"
    return CompressedModel(model, f"the smallest {where} of {len(weights)} matrices: {describe_zeros(weights, zeros)}")


def _set_smallest_to_zero(weights: list[Tensor], count: int) -> None:
    """Set the ``count`` smallest entries of ``weights`` to zero; of equal ones the first."""
    import torch

    if not count:
        return
    sizes = torch.cat([weight.abs().flatten().cpu() for weight in weights])  # a GPU's choice among equals is random
    threshold = sizes.kthvalue(count).values
    pruned = sizes < threshold
    equal = (sizes == threshold).nonzero()[:, 0]
    pruned[equal[: count - int(pruned.sum())]] = True
    for weight, zero in zip(weights, torch.split(pruned, [weight.numel() for weight in weights]), strict=True):
        weight.masked_fill_(zero.view(weight.shape).to(weight.device), 0.0)


def count_zeros(weights: list[Tensor]) -> int:
    """Return how many entries of ``weights`` are exactly zero."""
    return sum(weight.numel() - int(weight.count_nonzero()) for weight in weights)


def describe_zeros(weights: list[Tensor], before: int) -> str:
    """Return the number of zeros as text, with the number ``before`` the method."""
    zeros, total = count_zeros(weights), sum(weight.numel() for weight in weights)
    return f"{zeros:,} of {total:,} weights are zero ({zeros / total:.1%}), {before:,} were before"
