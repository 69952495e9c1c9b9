"""Remove heads, feed-forward neurons or layers of a BERT-like model in place, and replace modules.

Remaining weights do not change. Modules stay the same objects, so that tied layers stay tied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from pipeline.models.bert_layers import get_input_linear, get_output_linear


def select_heads(attention: Any, heads: Sequence[int]) -> None:
    """Keep only these heads of an attention: rows of query, key and value, columns of the output."""
    size = attention.self.attention_head_size
    features = [head * size + place for head in heads for place in range(size)]
    for part in (attention.self.query, attention.self.key, attention.self.value):
        _select_rows(get_output_linear(part), features)
    _select_columns(get_input_linear(attention.output.dense), features)
    attention.self.num_attention_heads = len(heads)
    attention.self.all_head_size = len(features)


def select_neurons(intermediate: Any, output: Any, neurons: Sequence[int]) -> None:
    """Keep only these neurons between a layer's ``intermediate`` and ``output``."""
    _select_rows(get_output_linear(intermediate.dense), neurons)
    _select_columns(get_input_linear(output.dense), neurons)


def select_layers(model: Any, layers: Sequence[int]) -> None:
    """Keep only these layers of a model's encoder, in the given order."""
    encoder = model.base_model.encoder
    encoder.layer = nn.ModuleList([encoder.layer[number] for number in layers])
    model.config.num_hidden_layers = len(layers)


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Replace the module called ``name``, in all layers that share its parent."""
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


def _select_rows(linear: nn.Linear, indices: Sequence[int]) -> None:
    linear.weight = _create_parameter(linear.weight, linear.weight.detach()[list(indices)])
    if linear.bias is not None:
        linear.bias = _create_parameter(linear.bias, linear.bias.detach()[list(indices)])
    linear.out_features = len(indices)


def _select_columns(linear: nn.Linear, indices: Sequence[int]) -> None:
    linear.weight = _create_parameter(linear.weight, linear.weight.detach()[:, list(indices)])
    linear.in_features = len(indices)


def _create_parameter(parameter: Tensor, values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.contiguous(), requires_grad=parameter.requires_grad)
