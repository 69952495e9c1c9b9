"""N:M sparsity: of every M neighbouring weights the N largest stay (Mishra et al. 2021)."""

from __future__ import annotations

from typing import Any

from pipeline.compression.argument_checks import EncoderShape
from pipeline.compression.compressed_model import CompressedModel, validate_for_model
from pipeline.compression.magnitude import count_zeros, describe_zeros
from pipeline.core.errors import UserError
from pipeline.core.validators import is_whole

KEEPS_SHAPE = True


def check(shape: EncoderShape | None, keep: object, of: object) -> list[str]:
    """Return the mistakes in the arguments of ``apply``."""
    if not is_whole(of, 2):
        return [f"of: got {of!r}; write a whole number from 2, the weights of a group"]
    if not is_whole(keep, 1, of - 1):
        return [f"keep: got {keep!r}; write a whole number from 1 to {of - 1}, the weights kept in each group of {of}"]
    if shape and shape.hidden % of:
        return [f"of: got {of}, but rows of {shape.hidden} weights do not divide into such groups"]
    return []


def apply(model: Any, keep: int, of: int) -> CompressedModel:
    """Keep the ``keep`` largest of every ``of`` weights that are neighbours along the input.

    A matrix stays unchanged, and is reported, if its number of inputs is not a multiple of ``of``. Raises UserError
    for invalid arguments, or where this is true of all matrices.
    """
    from pipeline.models.bert_layers import list_linears

    validate_for_model(model, check, keep=keep, of=of)
    weights = [linear.weight.detach() for linear in list_linears(model)]
    divisible = [weight for weight in weights if weight.shape[1] % of == 0]
    if not divisible:
        raise UserError(
            f"of: got {of}, but no matrix of the layers has a number of inputs that divides into such groups"
        )
    zeros = count_zeros(weights)
    for weight in divisible:
        groups = weight.view(len(weight), -1, of)
        groups.scatter_(2, groups.abs().topk(of - keep, dim=2, largest=False).indices, 0.0)
    whole = len(weights) - len(divisible)
    rest = f", {whole} left whole, whose inputs do not divide by {of}" if whole else ""
    zeros_text = describe_zeros(weights, zeros)
    return CompressedModel(model, f"{keep} of every {of} in {len(divisible)} matrices{rest}: {zeros_text}")
