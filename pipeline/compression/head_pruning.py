"""Head pruning: the least important attention heads are removed (Michel et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.compression.argument_checks import IMPORTANCES, EncoderShape, check_choice, check_share
from pipeline.compression.compressed_model import CompressedModel, count_parameters, validate_for_model
from pipeline.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.compression.calibration import Calibration


def check(shape: EncoderShape | None, remove: object, importance: object) -> list[str]:
    """Return the mistakes in the arguments of ``apply``."""
    mistakes = [*check_share("remove", remove, "of the heads"), *check_choice("importance", importance, IMPORTANCES)]
    if not mistakes and shape and isinstance(remove, float):
        total = shape.layers * shape.heads
        if round(remove * total) > total - shape.layers:
            limit = (total - shape.layers) / total
            mistakes.append(
                f"remove: {remove} of {total} heads leaves a layer without any; use at most {limit:.4g}, "
                "or remove whole layers"
            )
        elif round(remove * total) < 1:
            mistakes.append(f"remove: {remove} of {total} heads is none; use at least {1 / total:.4g}")
    return mistakes


def apply(model: Any, calibration: Calibration, remove: float, importance: str) -> CompressedModel:
    """Remove the share ``remove`` of the heads, the least important over all layers; each layer keeps one.

    ``importance`` is ``gradient`` (Michel et al. 2019, section 4.1, without their normalisation within a layer, which
    was no better on the starter) or ``magnitude``, the L2 norm of a head's weights. Layers that share their attention
    lose the same heads. Such an attention counts once, with the sum of the importances of its uses. Raises UserError
    for invalid arguments.
    """
    from pipeline.compression.importance import compute_input_importance
    from pipeline.models import bert_layers, layer_surgery

    validate_for_model(model, check, remove=remove, importance=importance)
    before = count_parameters(model)
    uses = [layer.module.attention for layer in bert_layers.list_layers(model)]
    attentions = list(dict.fromkeys(uses))
    if importance == "gradient":
        inputs = [(attention.output.dense, attention.self.num_attention_heads) for attention in attentions]
        scores = compute_input_importance(model, calibration, inputs)
    else:
        scores = [_compute_norms(attention) * uses.count(attention) for attention in attentions]
    total = sum(map(len, scores))
    count = round(remove * total)
    if not 1 <= count <= total - len(scores):
        raise UserError(
            f"remove: {remove} of the {total} heads that are left is {count}; from 1 to {total - len(scores)} can go, "
            "for each attention keeps one"
        )
    for attention, heads in zip(attentions, _select_heads(scores, count), strict=True):
        layer_surgery.select_heads(attention, heads)
    left = ", ".join(str(attention.self.num_attention_heads) for attention in uses)
    return CompressedModel(
        model,
        f"{count} of {total} heads removed by {importance}, the layers have {left}; "
        f"{before:,} -> {count_parameters(model):,} parameters",
    )


def _select_heads(scores: list[Tensor], count: int) -> list[list[int]]:
    """Return the heads that each attention keeps when the ``count`` least important are removed, at least one."""
    heads = [list(range(len(score))) for score in scores]
    ascending = sorted((float(s), number, head) for number, score in enumerate(scores) for head, s in enumerate(score))
    for _, number, head in ascending:
        if count and len(heads[number]) > 1:
            heads[number].remove(head)
            count -= 1
    return heads


def _compute_norms(attention: Any) -> Tensor:
    """Return the L2 norm of each head's rows of query, key and value and columns of the output, (heads,)."""
    import torch

    from pipeline.compression.importance import sum_column_squares, sum_row_squares

    inner, count = attention.self, attention.self.num_attention_heads
    rows = [sum_row_squares(part, count) for part in (inner.query, inner.key, inner.value)]
    return torch.stack([*rows, sum_column_squares(attention.output.dense, count)]).sum(0).sqrt()
