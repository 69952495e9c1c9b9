"""Cross-layer weight sharing in a trained encoder (ALBERT, Lan et al. 2020, section 3.1)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.compression.argument_checks import PARTS, EncoderShape, check_choice
from pipeline.compression.compressed_model import CompressedModel, count_parameters, validate_for_model
from pipeline.core.errors import UserError
from pipeline.core.validators import is_whole

if TYPE_CHECKING:
    from torch import nn

MODULES = {"attention": ("attention",), "feed_forward": ("intermediate", "output")}
MODULES["all"] = MODULES["attention"] + MODULES["feed_forward"]


def check(shape: EncoderShape | None, parts: object, groups: object, take: object) -> list[str]:
    """Return the mistakes in the arguments of ``apply``."""
    mistakes = [*check_choice("parts", parts, PARTS), *check_choice("take", take, ("first", "mean"))]
    if not is_whole(groups, 1):
        mistakes.append(f"groups: got {groups!r}; write a whole number from 1, below the number of layers")
    elif shape and groups >= shape.layers:
        mistakes.append(
            f"groups: got {groups} for {shape.layers} layers, so nothing is shared; use at most {shape.layers - 1}"
        )
    return mistakes


def apply(model: Any, parts: str, groups: int, take: str) -> CompressedModel:
    """Divide the layers into ``groups`` of neighbours, nearly equal in size; each group shares one set of weights.

    ``parts`` are shared: ``attention``, ``feed_forward`` or ``all``, layer norms included. ``take`` chooses the
    weights: those of the ``first`` layer of a group or their ``mean``. The weights are tied: stored, counted and
    trained once. Raises UserError for invalid arguments, and for a mean of layers of different shapes.
    """
    import numpy as np

    from pipeline.models.bert_layers import list_layers

    validate_for_model(model, check, parts=parts, groups=groups, take=take)
    encoder, before = list_layers(model), count_parameters(model)
    for part in MODULES[parts]:
        modules = [getattr(layer.module, part) for layer in encoder]  # before any is replaced: they may be shared now
        for numbers in np.array_split(np.arange(len(encoder)), groups):
            group = [modules[number] for number in numbers]
            shared = group[0] if take == "first" else _compute_mean(group, part)
            for number in numbers:
                setattr(encoder[number].module, part, shared)
    names = "attention and feed-forward" if parts == "all" else parts.replace("_", "-")
    return CompressedModel(
        model,
        f"{len(encoder)} layers use {groups} {'set' if groups == 1 else 'sets'} of weights for {names}, "
        f"the {take} of each group; {before:,} -> {count_parameters(model):,} parameters",
    )


def _compute_mean(modules: Sequence[nn.Module], part: str) -> nn.Module:
    """Return a module with the mean weights of ``modules``; a module may occur several times."""
    import torch

    from pipeline.models.low_rank_layers import LowRankLinear

    weights = [dict(module.named_parameters()) for module in modules]
    shapes = [{name: weight.shape for name, weight in own.items()} for own in weights]
    factors = any(isinstance(child, LowRankLinear) for module in modules for child in module.modules())
    if factors or any(shape != shapes[0] for shape in shapes):
        why = "two factors, of which the product has another mean" if factors else "different shapes"
        raise UserError(f"take: mean: {part} of these layers is of {why}; use take: first, or share before")
    mean = copy.deepcopy(modules[0])
    with torch.no_grad():
        for name, weight in mean.named_parameters():
            weight.copy_(torch.stack([own[name] for own in weights]).mean(0))
    return mean
