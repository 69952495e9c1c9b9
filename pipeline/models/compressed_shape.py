"""The structure of a compressed model: derived from the model when it is saved, applied when it is loaded.

It contains heads and width of each layer, modules that layers share, ranks of factors, and the kind of int8 weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from pipeline.models import layer_surgery, quantised_layers
from pipeline.models.bert_layers import EncoderLayer, get_output_linear, is_bert_like, list_layers
from pipeline.models.low_rank_layers import LowRankEmbedding, LowRankLinear

KINDS = (quantised_layers.DYNAMIC, quantised_layers.WEIGHT_ONLY)
SHARED = ("attention", "intermediate", "output")  # modules that layers can share; never a whole layer


@dataclass(frozen=True)
class Structure:
    """The differences between a model and the uncompressed model of its configuration.

    ``heads`` and ``width`` have a number for each layer, None if all equal the configuration. ``shared`` pairs a
    module with the earlier module whose weights it uses. ``ranks`` are those of low-rank modules by name.
    ``quantised`` is the kind of int8 weights, None for floating point.
    """

    heads: tuple[int, ...] | None = None
    width: tuple[int, ...] | None = None
    shared: tuple[tuple[str, str], ...] = ()
    ranks: Mapping[str, int] | None = None
    quantised: str | None = None

    def to_config(self) -> dict[str, Any]:
        """Return the value of the key ``structure`` in config.json."""
        return asdict(self)


UNCOMPRESSED = Structure()


def parse_structure(content: object) -> Structure:
    """Return the structure from its value in config.json. Raises ValueError if it is invalid."""
    if not isinstance(content, dict) or set(content) != set(UNCOMPRESSED.to_config()):
        raise ValueError(f"not an object of {', '.join(UNCOMPRESSED.to_config())}")
    heads, width, ranks = content["heads"], content["width"], content["ranks"]
    if not (
        all(value is None or isinstance(value, list) for value in (heads, width)) and isinstance(ranks, dict | None)
    ):
        raise ValueError("heads or width that are no list, or ranks that are no object")
    numbers = [*(heads or ()), *(width or ()), *(ranks or {}).values()]
    if not all(type(number) is int and number > 0 for number in numbers):
        raise ValueError("heads, width or ranks that are no whole numbers above 0")
    pairs = content["shared"]
    if not (isinstance(pairs, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in pairs)):
        raise ValueError("shared that is no list of pairs of names")
    if content["quantised"] not in (None, *KINDS):
        raise ValueError(f"quantised that is none of {', '.join(KINDS)}")
    return Structure(
        heads=None if heads is None else tuple(heads),
        width=None if width is None else tuple(width),
        shared=tuple((str(one), str(other)) for one, other in pairs),
        ranks=ranks,
        quantised=content["quantised"],
    )


def get_structure(model: Any) -> Structure:
    """Return the structure of a model; without BERT's module names it is uncompressed."""
    if not is_bert_like(model):
        return UNCOMPRESSED
    layers, config = list_layers(model), model.config
    heads = tuple(layer.module.attention.self.num_attention_heads for layer in layers)
    width = tuple(get_output_linear(layer.get_part("intermediate.dense")).out_features for layer in layers)
    ranks = {
        name: module.rank
        for name, module in model.named_modules()
        if isinstance(module, (LowRankLinear, LowRankEmbedding))
    }
    return Structure(
        heads=None if set(heads) == {config.num_attention_heads} else heads,
        width=None if set(width) == {config.intermediate_size} else width,
        shared=_find_shared(layers),
        ranks=ranks or None,
        quantised=quantised_layers.get_int8_kind(model),
    )


def _find_shared(layers: list[EncoderLayer]) -> tuple[tuple[str, str], ...]:
    first: dict[int, str] = {}
    pairs = []
    for layer in layers:
        for part in SHARED:
            name, key = f"{layer.name}.{part}", id(getattr(layer.module, part))
            if key in first:
                pairs.append((name, first[key]))
            first.setdefault(key, name)
    return tuple(pairs)


def apply_structure(model: Any, structure: Structure) -> None:
    """Change the modules of an uncompressed model to ``structure``; weights are loaded afterwards.

    Weights stay in floating point. Raises ValueError if the model cannot have this structure.
    """
    if not is_bert_like(model):
        if structure != UNCOMPRESSED:
            raise ValueError("the model's layers are not BERT's")
        return
    layers = list_layers(model)
    for layer, count in _pair_layers(layers, structure.heads, model.config.num_attention_heads, "heads"):
        layer_surgery.select_heads(layer.module.attention, range(count))
    for layer, count in _pair_layers(layers, structure.width, model.config.intermediate_size, "width"):
        layer_surgery.select_neurons(layer.module.intermediate, layer.module.output, range(count))
    for name, source in structure.shared:
        if type(_get_module(model, name)) is not type(_get_module(model, source)):
            raise ValueError(f"{name} and {source} are no modules of one kind")
        layer_surgery.replace_module(model, name, _get_module(model, source))
    for name, rank in (structure.ranks or {}).items():
        layer_surgery.replace_module(model, name, _create_factors(_get_module(model, name), rank))


def _pair_layers(
    layers: list[EncoderLayer], counts: tuple[int, ...] | None, maximum: int, name: str
) -> Iterator[tuple[EncoderLayer, int]]:
    if counts is None:
        return iter(())
    if len(counts) != len(layers) or max(counts) > maximum:
        raise ValueError(f"{name} are {list(counts)}, for {len(layers)} layers of at most {maximum}")
    return zip(layers, counts, strict=True)


def _get_module(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError:
        raise ValueError(f"no module {name}") from None


def _create_factors(module: nn.Module, rank: int) -> nn.Module:
    if isinstance(module, nn.Linear):
        return LowRankLinear(module.in_features, module.out_features, rank, module.bias is not None)
    if isinstance(module, nn.Embedding):
        return LowRankEmbedding(module.num_embeddings, module.embedding_dim, rank, module.padding_idx)
    raise ValueError(f"{type(module).__name__} cannot be factors")
