"""Cutting a BERT-shaped model in place: heads, neurons of the feed-forward, whole layers; and changing a module.

What is kept is kept bit for bit. Modules stay the same objects, so that layers which share one stay tied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from pipeline.models.bert_layers import get_input_linear, get_output_linear


def select_heads(attention: Any, kept: Sequence[int]) -> None:
    """Keep the heads ``kept`` of a layer's ``attention``: rows of query, key and value, columns of the output."""
    size = attention.self.attention_head_size
    features = [head * size + place for head in kept for place in range(size)]
    for part in (attention.self.query, attention.self.key, attention.self.value):
        _select_rows(get_output_linear(part), features)
    _select_columns(get_input_linear(attention.output.dense), features)
    attention.self.num_attention_heads = len(kept)
    attention.self.all_head_size = len(features)


def select_neurons(intermediate: Any, output: Any, kept: Sequence[int]) -> None:
    """Keep the neurons ``kept`` between a layer's ``intermediate`` and ``output``."""
    _select_rows(get_output_linear(intermediate.dense), kept)
    _select_columns(get_input_linear(output.dense), kept)


def select_layers(model: Any, kept: Sequence[int]) -> None:
    """Keep the layers ``kept`` of a model's encoder, in their order."""
    encoder = model.base_model.encoder
    encoder.layer = nn.ModuleList([encoder.layer[number] for number in kept])
    model.config.num_hidden_layers = len(kept)


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` where ``name`` is; layers that share the part around it all get it."""
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


def _select_rows(linear: nn.Linear, kept: Sequence[int]) -> None:
    linear.weight = _create_parameter(linear.weight, linear.weight.detach()[list(kept)])
    if linear.bias is not None:
        linear.bias = _create_parameter(linear.bias, linear.bias.detach()[list(kept)])
    linear.out_features = len(kept)


def _select_columns(linear: nn.Linear, kept: Sequence[int]) -> None:
    linear.weight = _create_parameter(linear.weight, linear.weight.detach()[:, list(kept)])
    linear.in_features = len(kept)


def _create_parameter(parameter: Tensor, values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.contiguous(), requires_grad=parameter.requires_grad)
