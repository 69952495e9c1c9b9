"""The layers and Linears of an encoder with BERT's module names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from pipeline.core.errors import UserError
from pipeline.models.low_rank_layers import LowRankLinear

PARTS = {  # names of submodules of a layer
    "attention": ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
    "feed_forward": ("intermediate.dense", "output.dense"),
}
PARTS["all"] = PARTS["attention"] + PARTS["feed_forward"]


@dataclass(frozen=True)
class EncoderLayer:
    """A layer of the encoder: its name in the model and its module."""

    name: str
    module: Any

    def get_part(self, name: str) -> nn.Module:
        """Return a submodule of the layer, such as ``attention.self.query``."""
        return self.module.get_submodule(name)  # type: ignore[no-any-return]


def list_layers(model: Any) -> list[EncoderLayer]:
    """Return the layers of the encoder in order.

    Raises UserError for a model without BERT's module names, which every compression of layers needs.
    """
    if not is_bert_like(model):
        raise UserError(
            f"model_type {model.config.model_type!r} has no layers like BERT's; this works for bert, roberta, electra "
            "and models with the same parts"
        )
    prefix = f"{model.base_model_prefix}.encoder.layer"
    return [EncoderLayer(f"{prefix}.{number}", layer) for number, layer in enumerate(model.base_model.encoder.layer)]


def is_bert_like(model: Any) -> bool:
    """Return whether the encoder's layers have BERT's module names."""
    modules = getattr(getattr(model.base_model, "encoder", None), "layer", None)
    return modules is not None and all(_has_part(layer, part) for layer in modules for part in PARTS["all"])


def _has_part(layer: nn.Module, part: str) -> bool:
    try:
        layer.get_submodule(part)
    except AttributeError:
        return False
    return True


def list_linears(model: Any) -> list[nn.Linear]:
    """Return the distinct Linears of the encoder's layers, including both factors of low-rank ones.

    Raises UserError for a model without BERT's module names.
    """
    parts = (layer.get_part(name) for layer in list_layers(model) for name in PARTS["all"])
    return list(dict.fromkeys(module for part in parts for module in part.modules() if isinstance(module, nn.Linear)))


def get_input_linear(module: nn.Module) -> nn.Linear:
    """Return the Linear that reads the input: the module itself or its first factor."""
    linear = module[0] if isinstance(module, LowRankLinear) else module
    assert isinstance(linear, nn.Linear)
    return linear


def get_output_linear(module: nn.Module) -> nn.Linear:
    """Return the Linear that computes the output: the module itself or its second factor."""
    linear = module[1] if isinstance(module, LowRankLinear) else module
    assert isinstance(linear, nn.Linear)
    return linear
