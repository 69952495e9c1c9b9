"""Cross-layer sharing: layers of a trained encoder use one set of weights (ALBERT, Lan et al. 2020, section 3.1)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline.compression import method_checks
from pipeline.compression.calibration import Compressed, agreed, parameters
from pipeline.core.errors import UserError
from pipeline.models.bert_layers import layers
from pipeline.models.low_rank_layers import Factorised

MODULES = {"attention": ("attention",), "feed_forward": ("intermediate", "output")}
MODULES["all"] = MODULES["attention"] + MODULES["feed_forward"]


def share(model: Any, parts: str, groups: int, take: str) -> Compressed:
    """Cut the layers into ``groups`` of neighbours, nearly equal in size, of which each uses one set of weights.

    ``parts`` is what they share: ``attention``, ``feed_forward`` or ``all``, layer norms included. ``take`` says which
    weights: those of the ``first`` layer of a group or their ``mean``. They are tied: stored, counted and trained once.
    Raises UserError for arguments that cannot be, and for a mean of layers that are not of one shape.
    """
    agreed(model, method_checks.share, parts=parts, groups=groups, take=take)
    found, before = layers(model), parameters(model)
    for part in MODULES[parts]:
        modules = [getattr(layer.module, part) for layer in found]  # before any is replaced: they may be shared now
        for numbers in np.array_split(np.arange(len(found)), groups):
            group = [modules[number] for number in numbers]
            shared = group[0] if take == "first" else _mean(group, part)
            for number in numbers:
                setattr(found[number].module, part, shared)
    what = "attention and feed-forward" if parts == "all" else parts.replace("_", "-")
    return Compressed(
        model,
        f"{len(found)} layers use {groups} {'set' if groups == 1 else 'sets'} of weights for {what}, "
        f"the {take} of each group; {before:,} -> {parameters(model):,} parameters",
    )


def _mean(modules: Sequence[nn.Module], part: str) -> nn.Module:
    """Return a module whose weights are the mean of those of ``modules``, of which one may occur several times."""
    weights = [dict(module.named_parameters()) for module in modules]
    shapes = [{name: weight.shape for name, weight in own.items()} for own in weights]
    factors = any(isinstance(child, Factorised) for module in modules for child in module.modules())
    if factors or any(shape != shapes[0] for shape in shapes):
        why = "two factors, of which the product has another mean" if factors else "different shapes"
        raise UserError(f"take: mean: {part} of these layers is of {why}; use take: first, or share before")
    mean = copy.deepcopy(modules[0])
    with torch.no_grad():
        for name, weight in mean.named_parameters():
            weight.copy_(torch.stack([own[name] for own in weights]).mean(0))
    return mean
