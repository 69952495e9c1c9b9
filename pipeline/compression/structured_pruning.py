"""Structured pruning: heads, neurons of the feed-forward or whole layers are taken out: less to compute."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pipeline.compression import importance as measure
from pipeline.compression import method_checks
from pipeline.compression.calibration import Calibration, Compressed, agreed, parameters
from pipeline.core.errors import UserError
from pipeline.models import bert_layers, layer_surgery


def heads(model: Any, calibration: Calibration, remove: float, importance: str) -> Compressed:
    """Remove the share ``remove`` of the attention heads that matter least, ranked over all layers; each keeps one.

    ``importance`` is ``gradient`` (Michel et al. 2019, section 4.1, but not normalised within each layer, which did no
    better on the starter) or ``magnitude``, the L2 norm of a head's weights.
    Layers that share their attention lose the same heads; it counts once, with the sum of what its uses matter.
    Raises UserError for arguments that cannot be.
    """
    agreed(model, method_checks.heads, remove=remove, importance=importance)
    before = parameters(model)
    uses = [layer.module.attention for layer in bert_layers.layers(model)]
    attentions = list(dict.fromkeys(uses))
    if importance == "gradient":
        places = [(attention.output.dense, attention.self.num_attention_heads) for attention in attentions]
        scores = measure.of_inputs(model, calibration, places)
    else:
        scores = [_head_norms(attention) * uses.count(attention) for attention in attentions]
    total = sum(map(len, scores))
    count = round(remove * total)
    if not 1 <= count <= total - len(scores):
        raise UserError(
            f"remove: {remove} of the {total} heads that are left is {count}; from 1 to {total - len(scores)} can go, "
            "for each attention keeps one"
        )
    for attention, kept in zip(attentions, _kept_heads(scores, count), strict=True):
        layer_surgery.keep_heads(attention, kept)
    left = ", ".join(str(attention.self.num_attention_heads) for attention in uses)
    return _changed(model, f"{count} of {total} heads removed by {importance}, the layers have {left}", before)


def _kept_heads(scores: list[Tensor], count: int) -> list[list[int]]:
    """Return the heads of each attention that stay when the ``count`` least go, but for the last of an attention."""
    kept = [list(range(len(score))) for score in scores]
    for _, number, head in sorted(
        (float(s), n, head) for n, score in enumerate(scores) for head, s in enumerate(score)
    ):
        if count and len(kept[number]) > 1:
            kept[number].remove(head)
            count -= 1
    return kept


def _head_norms(attention: Any) -> Tensor:
    """Return the L2 norm of each head's rows of query, key and value and columns of the output, (heads,)."""
    inner, count = attention.self, attention.self.num_attention_heads
    reads = [measure.rows(part, count) for part in (inner.query, inner.key, inner.value)]
    return torch.stack([*reads, measure.columns(attention.output.dense, count)]).sum(0).sqrt()


def width(model: Any, calibration: Calibration, remove: float, importance: str) -> Compressed:
    """Remove the share ``remove`` of the neurons of each feed-forward, those that matter least in it.

    ``importance`` is ``gradient``, E|a * dL/da| of a neuron's activation (Molchanov et al. 2019), or ``magnitude``, the
    L2 norm of its weights. Layers that share their feed-forward lose the same neurons. Raises UserError for arguments
    that cannot be.
    """
    agreed(model, method_checks.width, remove=remove, importance=importance)
    before = parameters(model)
    pairs = list(dict.fromkeys((layer.module.intermediate, layer.module.output) for layer in bert_layers.layers(model)))
    widths = [bert_layers.reading(output.dense).in_features for _, output in pairs]
    for size in widths:
        if not 0 < round(remove * size) < size:
            raise UserError(f"remove: {remove} of the {size} neurons that are left is {round(remove * size)}")
    if importance == "gradient":
        places = [(output.dense, size) for (_, output), size in zip(pairs, widths, strict=True)]
        scores = measure.of_inputs(model, calibration, places)
    else:
        scores = [_neuron_norms(*pair, size) for pair, size in zip(pairs, widths, strict=True)]
    for (intermediate, output), score in zip(pairs, scores, strict=True):
        kept = score.argsort(stable=True)[round(remove * len(score)) :].sort().values.tolist()
        layer_surgery.keep_neurons(intermediate, output, kept)
    told = f"{sum(round(remove * size) for size in widths)} of {sum(widths)} neurons removed by {importance}"
    return _changed(model, told, before)


def _neuron_norms(intermediate: Any, output: Any, size: int) -> Tensor:
    """Return the L2 norm of each neuron's weights, in and out, (size,)."""
    return (measure.rows(intermediate.dense, size) + measure.columns(output.dense, size)).sqrt()


def layers(model: Any, calibration: Calibration, remove: int, importance: str) -> Compressed:
    """Remove the ``remove`` whole layers that matter least.

    ``importance`` is ``gradient``, E|<output - input, dL/d output>|, or ``magnitude``, the L2 norm of all its weights.
    Raises UserError for arguments that cannot be.
    """
    agreed(model, method_checks.layers, remove=remove, importance=importance)
    before = parameters(model)
    modules: list[nn.Module] = [layer.module for layer in bert_layers.layers(model)]
    if importance == "gradient":
        scores = torch.cat(measure.of_layers(model, calibration, modules))
    else:
        scores = torch.stack([nn.utils.get_total_norm(module.parameters()).detach() for module in modules])
    order = scores.argsort(stable=True).tolist()
    layer_surgery.keep_layers(model, sorted(order[remove:]))
    gone = ", ".join(str(number + 1) for number in sorted(order[:remove]))
    return _changed(model, f"of {len(modules)} layers {gone} removed by {importance}", before)


def _changed(model: nn.Module, told: str, before: int) -> Compressed:
    return Compressed(model, f"{told}; {before:,} -> {parameters(model):,} parameters")
