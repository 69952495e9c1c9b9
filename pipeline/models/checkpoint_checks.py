"""Checks of a checkpoint: encoder architecture, missing or unused weights, matching tokenizer."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from pipeline.core.errors import UserError
from pipeline.models.model_files import CONFIG, TOKENIZER_CONFIG, WEIGHTS


def check_encoder(where: str, config: Any) -> None:
    """Raise UserError for a causal model or a model with a decoder."""
    kind = config.model_type
    if getattr(config, "is_decoder", False) and kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        raise UserError(
            f"{where}: is_decoder of config.json: got true for a {kind}, whose classifier would read only from left to "
            "right; write is_decoder: false if the weights are those of an encoder, or name another checkpoint"
        )
    decoder = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and kind not in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if config.is_encoder_decoder or (decoder and kind != "xlnet"):
        raise UserError(
            f"{where}: model_type: got {kind!r} in config.json, which is a decoder; only encoders are supported: name "
            "another checkpoint in conf/model, such as a bert, roberta or modernbert"
        )


def check_complete(where: str, prefix: str, missing: Iterable[str], remedy: str) -> None:
    """Raise UserError if encoder weights are missing: training would start from random ones."""
    names = sorted(name for name in missing if name.startswith(f"{prefix}.") and ".pooler." not in name)
    if names:
        raise UserError(
            f"{where}: {len(names)} tensors of the encoder are missing or of another shape, the first is "
            f"{names[0]}; {remedy}, from a source of which config.json and model.safetensors belong together"
        )


def check_nothing_dropped(directory: Path, where: str, model: Any, unused: Iterable[str]) -> None:
    """Raise UserError if the file has encoder weights that the model does not use: its outputs would differ.

    Unused poolers and integer buffers are allowed.
    """
    prefix, parts = f"{model.base_model_prefix}.", set(model.base_model._modules)
    with safe_open(directory / WEIGHTS, "pt") as file:
        stored = set(file.keys())
        dropped = sorted(
            name
            for name in unused
            if (name.startswith(prefix) or name.partition(".")[0] in parts)
            and not name.removeprefix(prefix).startswith("pooler.")
            and (name not in stored or "F" in file.get_slice(name).get_dtype())
        )
    if dropped:
        raise UserError(
            f"{where}: {len(dropped)} tensors of the encoder in {WEIGHTS} have no place in the model of {CONFIG}, the "
            f"first is {dropped[0]}; correct {CONFIG}, such as its number of layers, or name a checkpoint in "
            "conf/model that transformers opens completely"
        )


def check_tokenizer(where: str, tokenizer: Any, config: Any) -> None:
    """Raise UserError if the vocabulary is too large for the model or the padding token is missing."""
    if len(tokenizer) > config.vocab_size:
        raise UserError(
            f"{where}: the tokenizer knows {len(tokenizer)} pieces, the model only {config.vocab_size}; "
            "take the tokenizer that the model was trained with"
        )
    if tokenizer.pad_token_id is None:
        raise UserError(
            f"{where}: the tokenizer has no padding token; name the one that the model was trained with as "
            f"pad_token in {TOKENIZER_CONFIG}"
        )
