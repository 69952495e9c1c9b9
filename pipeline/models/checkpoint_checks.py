"""What makes a checkpoint unusable: a decoder, weights that are missing or left over, a tokenizer that does not fit."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from safetensors import safe_open
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, MODEL_FOR_MASKED_LM_MAPPING_NAMES

from pipeline.core.errors import UserError
from pipeline.models.model_files import CONFIG, TOKENIZER_CONFIG, WEIGHTS


def check_encoder(where: str, config: Any) -> None:
    """Raise UserError for a model that reads a text from left to right, or that has a decoder."""
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
    """Raise UserError when weights of the encoder itself are missing: it would train, but from noise."""
    lost = sorted(name for name in missing if name.startswith(f"{prefix}.") and ".pooler." not in name)
    if lost:
        raise UserError(
            f"{where}: {len(lost)} tensors of the encoder are missing or of another shape, the first is "
            f"{lost[0]}; {remedy}, from a source of which config.json and model.safetensors belong together"
        )


def check_nothing_dropped(directory: Path, where: str, model: Any, unused: Iterable[str]) -> None:
    """Raise UserError when the file holds weights of the encoder that the model lacks: it would compute other states.

    A pooler that the classifier does not read may be left out, and so may buffers of integers.
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
    """Raise UserError for a tokenizer that does not fit the model."""
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
