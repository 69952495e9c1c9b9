"""Inputs of a classifier besides token ids: segments of a pair, and the padding side."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from pipeline.models.model_files import CONFIG

RELATIVE_SEGMENTS = ("xlnet", "funnel")  # compare segments instead of embedding them: no type_vocab_size
LEFT_PADDED = ("xlnet",)  # classify from the last position, which has to be a token


def takes_segments(config: Any, model_class: Any) -> bool:
    """Return whether a model distinguishes the two texts of a pair by `token_type_ids`."""
    distinguishes = config.model_type in RELATIVE_SEGMENTS or (getattr(config, "type_vocab_size", None) or 0) > 1
    return distinguishes and is_parameter("token_type_ids", model_class)


def is_parameter(name: str, model_class: Any) -> bool:
    """Return whether the `forward` of a model takes an argument of that name."""
    return name in inspect.signature(model_class.forward).parameters


def set_tokenizer_inputs(tokenizer: Any, config: Any, model_class: Any) -> None:
    """Make a tokenizer return exactly the inputs of the model, also after saving and loading.

    The class of a tokenizer alone decides wrongly: some give a BERT no segments, some give a DistilBERT segments that
    its `forward` does not take.
    """
    names = ["input_ids", *(["token_type_ids"] if takes_segments(config, model_class) else []), "attention_mask"]
    side = "left" if config.model_type in LEFT_PADDED else "right"
    if set(names) != set(tokenizer.model_input_names):
        tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = names
    if tokenizer.padding_side != side:
        tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = side


def set_tokenizer_inputs_from(folder: Path, tokenizer: Any) -> None:
    """Do the same for the model whose configuration is in a folder, if one is there."""
    from transformers.models.auto.configuration_auto import AutoConfig
    from transformers.models.auto.modeling_auto import AutoModelForSequenceClassification

    if (folder / CONFIG).exists():
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        set_tokenizer_inputs(tokenizer, config, AutoModelForSequenceClassification._model_mapping[type(config)])
