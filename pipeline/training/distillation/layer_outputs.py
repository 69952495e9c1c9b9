"""Record the outputs of an encoder's layers in one forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from pipeline.models import bert_layers


@dataclass
class LayerOutputs:
    """Outputs of the layers of an encoder, each (rows, length, width).

    ``states[0]`` is the input of the first layer and ``states[i]`` the output of layer i. ``query[i - 1]``,
    ``key[i - 1]`` and ``value[i - 1]`` belong to layer i.
    """

    states: list[Tensor] = field(default_factory=list)
    query: list[Tensor] = field(default_factory=list)
    key: list[Tensor] = field(default_factory=list)
    value: list[Tensor] = field(default_factory=list)


@contextmanager
def record_layers(model: nn.Module) -> Iterator[LayerOutputs]:
    """Yield the outputs of the layers of ``model`` in one forward pass inside the block.

    Works with every attention implementation. Raises UserError for a model whose layers are not BERT's.
    """
    outputs = LayerOutputs()

    def add_states(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs.states.extend([output] if outputs.states else [inputs[0], output])

    layers = bert_layers.list_layers(model)
    with ExitStack() as undo:
        for layer in layers:
            undo.callback(layer.module.register_forward_hook(add_states).remove)
        for name in ("query", "key", "value"):
            tensors: list[Tensor] = getattr(outputs, name)
            # A module that layers share gets one hook, which is called at each use.
            for module in dict.fromkeys(layer.get_part(f"attention.self.{name}") for layer in layers):
                hook = module.register_forward_hook(
                    lambda _module, _inputs, output, tensors=tensors: tensors.append(output)
                )
                undo.callback(hook.remove)
        yield outputs


def count_heads(model: Any) -> tuple[int, ...]:
    """Return the number of attention heads of each layer."""
    return tuple(layer.module.attention.self.num_attention_heads for layer in bert_layers.list_layers(model))
