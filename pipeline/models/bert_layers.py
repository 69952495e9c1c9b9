"""The parts of a BERT-shaped encoder, by name, and the Linear behind each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from pipeline.core.errors import UserError
from pipeline.models.low_rank_layers import LowRankLinear

PARTS = {  # of a layer, as names below it
    "attention": ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
    "feed_forward": ("intermediate.dense", "output.dense"),
}
PARTS["all"] = PARTS["attention"] + PARTS["feed_forward"]


@dataclass(frozen=True)
class EncoderLayer:
    """One layer of the encoder: its name in the model and its module."""

    name: str
    module: Any

    def get_part(self, name: str) -> nn.Module:
        """Return a part by its name below the layer, such as ``attention.self.query``."""
        return self.module.get_submodule(name)  # type: ignore[no-any-return]


def list_layers(model: Any) -> list[EncoderLayer]:
    """Return the layers of the encoder, from the first to the last.

    Raises UserError for a model whose layers are not BERT's: every way to take it apart is told in BERT's names.
    """
    if not is_bert_like(model):
        raise UserError(
            f"model_type {model.config.model_type!r} has no layers like BERT's; this works for bert, roberta, electra "
            "and models with the same parts"
        )
    prefix = f"{model.base_model_prefix}.encoder.layer"
    return [EncoderLayer(f"{prefix}.{number}", layer) for number, layer in enumerate(model.base_model.encoder.layer)]


def is_bert_like(model: Any) -> bool:
    """Say whether the encoder's layers have BERT's parts under BERT's names."""
    found = getattr(getattr(model.base_model, "encoder", None), "layer", None)
    return found is not None and all(_has_part(layer, part) for layer in found for part in PARTS["all"])


def _has_part(layer: nn.Module, part: str) -> bool:
    try:
        layer.get_submodule(part)
    except AttributeError:
        return False
    return True


def list_linears(model: Any) -> list[nn.Linear]:
    """Return the Linears of the encoder's layers, both of two factors, each that layers share once.

    Raises UserError for a model whose layers are not BERT's.
    """
    parts = (layer.get_part(name) for layer in list_layers(model) for name in PARTS["all"])
    found = (module for part in parts for module in part.modules() if isinstance(module, nn.Linear))
    return list(dict.fromkeys(found))


def get_input_linear(module: nn.Module) -> nn.Linear:
    """Return the Linear that reads the input: the module itself, or the first of two factors."""
    linear = module[0] if isinstance(module, LowRankLinear) else module
    assert isinstance(linear, nn.Linear)
    return linear


def get_output_linear(module: nn.Module) -> nn.Linear:
    """Return the Linear that makes the output: the module itself, or the second of two factors."""
    linear = module[1] if isinstance(module, LowRankLinear) else module
    assert isinstance(linear, nn.Linear)
    return linear
