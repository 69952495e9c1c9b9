"""Load and save classifiers: missing modules are initialised from the seed, superfluous ones are left out.

Every architecture with a sequence classifier in transformers is supported. Weights in half precision are loaded as
fp32. Nothing is downloaded and no custom code is run. The config.json of a compressed model has a key ``structure``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import AutoModelForSequenceClassification
from transformers.models.auto.tokenization_auto import AutoTokenizer
from transformers.utils import logging

from pipeline.core.errors import UserError
from pipeline.models import checkpoint_checks, compressed_shape, compressed_storage, model_inputs, sparse_masks
from pipeline.models.model_files import CONFIG, TOKENIZER, TOKENIZER_CONFIG, WEIGHTS, load_json

RUN_AGAIN = "run finetune again with the arguments of this trial"
PRETRAIN_COMMAND = "python -m pipeline.stages.pretrain --multirun +sweep=once model="
STRUCTURE = "structure"  # key of config.json, only for compressed models
HEAD_SEED = 0x68656164  # seeds heads separately, so that they do not depend on other missing modules


@dataclass(frozen=True)
class LoadNotes:
    """Modules that loading initialised from the seed, and modules of the checkpoint that it left out."""

    initialised: tuple[str, ...]
    unused: tuple[str, ...]


class LoadedClassifier(NamedTuple):
    """A classifier in fp32 and evaluation mode, its tokenizer, and notes about loading."""

    model: Any
    tokenizer: Any
    notes: LoadNotes


def load_pretrained(
    directory: Path,
    labels: int | Sequence[str] = 2,
    seed: int = 0,
    regression: bool = False,
    attention: str | None = "eager",
    arriving_as: str | None = None,
) -> LoadedClassifier:
    """Load pre-trained weights as a classifier of ``labels`` classes, or with one output for a regression.

    The head, and a missing pooler, are initialised from ``seed``. ``labels`` is the number of classes or, for a model
    that will be saved, their names, which replace those of the checkpoint. ``attention`` is an implementation of
    transformers, such as ``eager``; None lets transformers choose. ``arriving_as`` is the name of a checkpoint that
    was just downloaded, for errors.

    Raises UserError if the checkpoint is not usable, weights of the encoder are missing or superfluous, or the model
    is not an encoder.
    """
    where, remedy = str(directory), f"run `{PRETRAIN_COMMAND}{directory.name}`"
    if arriving_as is not None:
        where, remedy = arriving_as, "fetch it again"
    with _disable_logging(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        loaded = _load_checkpoint(directory, attention, _create_label_settings(labels, regression), remedy, where)
        torch.manual_seed(HEAD_SEED ^ seed)
        heads = _init_heads(loaded.model)
    unused = set(loaded.notes.unused) | (heads - set(loaded.notes.initialised))
    return loaded._replace(notes=LoadNotes(_sort_names(heads | set(loaded.notes.initialised)), _sort_names(unused)))


def _create_label_settings(labels: int | Sequence[str], regression: bool) -> dict[str, Any]:
    """Return the settings of a new classifier's configuration for its outputs."""
    if regression:
        names = ["LABEL_0"]  # the name in transformers
    elif isinstance(labels, int):
        names = [f"LABEL_{number}" for number in range(labels)]
    else:
        names = list(labels)
    return {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: number for number, name in enumerate(names)},
        "problem_type": "regression" if regression else "single_label_classification",
    }


def load_finetuned(directory: Path, attention: str | None = None) -> LoadedClassifier:
    """Load a classifier that ``save_classifier`` wrote, compressed or not, with identical logits.

    ``attention`` is an implementation of transformers; None is the fastest that the model supports.
    Raises UserError if the checkpoint is not usable or incomplete.
    """
    with _disable_logging():
        loaded = _load_checkpoint(directory, attention, {}, RUN_AGAIN, str(directory))
    if lacking := ", ".join(loaded.notes.initialised):
        raise UserError(f"{directory}: not a fine-tuned classifier, for it lacks {lacking}; {RUN_AGAIN}")
    return loaded


def save_classifier(model: Any, tokenizer: Any, directory: Path) -> None:
    """Write a classifier for ``load_finetuned``: safetensors, configuration and tokenizer.

    An uncompressed model is written by transformers. For a compressed one, tied tensors are written once, sparse
    weights without zeros, and the structure into config.json.
    """
    structure = compressed_shape.get_structure(model)
    with _disable_logging():
        if structure == compressed_shape.UNCOMPRESSED and not sparse_masks.find_sparse_weights(model):
            model.save_pretrained(directory)
        else:
            _save_compressed(model, structure, directory)
    tokenizer.save_pretrained(directory)


def _save_compressed(model: Any, structure: compressed_shape.Structure, directory: Path) -> None:
    config = copy.deepcopy(model.config)
    config.architectures, config.dtype = [type(model).__name__], str(model.dtype).removeprefix("torch.")
    setattr(config, STRUCTURE, structure.to_config())
    config.save_pretrained(directory)
    save_file(compressed_storage.collect_tensors(model), directory / WEIGHTS, metadata={"format": "pt"})


def _load_checkpoint(
    directory: Path, attention: str | None, settings: Mapping[str, Any], remedy: str, where: str
) -> LoadedClassifier:
    """Load a checkpoint; ``where`` is its name in errors, ``remedy`` what to do if it is damaged."""
    config = _load_config(directory, settings, remedy, where)
    if hasattr(config, STRUCTURE):
        model, drawn, unused = _load_compressed(directory, config, attention, remedy, where)
    else:
        model, drawn, unused = _load_uncompressed(directory, config, attention)
    checkpoint_checks.check_complete(where, model.base_model_prefix, drawn, remedy)
    checkpoint_checks.check_nothing_dropped(directory, where, model, unused)
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    checkpoint_checks.check_tokenizer(where, tokenizer, config)
    model_inputs.set_tokenizer_inputs(tokenizer, config, type(model))
    return LoadedClassifier(model, tokenizer, LoadNotes(_list_modules(drawn), _list_modules(unused)))


def _load_uncompressed(directory: Path, config: Any, attention: str | None) -> tuple[Any, set[str], set[str]]:
    """Return a model saved by transformers, its initialised tensors, and the tensors left out."""
    model, info = AutoModelForSequenceClassification.from_pretrained(
        directory,
        config=config,
        dtype=torch.float32,
        attn_implementation=attention,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    other_shape = {name for name, *_ in info["mismatched_keys"]}
    return model, info["missing_keys"] | other_shape, info["unexpected_keys"] | other_shape


def _load_compressed(
    directory: Path, config: Any, attention: str | None, remedy: str, where: str
) -> tuple[Any, set[str], set[str]]:
    """Return a compressed model, its initialised tensors, and the tensors left out."""
    content = vars(config).pop(STRUCTURE)
    chosen = {} if attention is None else {"attn_implementation": attention}
    model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32, **chosen)
    try:
        shape = compressed_shape.parse_structure(content)
        compressed_shape.apply_structure(model, shape)
        match = compressed_storage.load_tensors(model, load_file(directory / WEIGHTS), shape.quantised)
    except (ValueError, SafetensorError, UserError) as error:
        raise UserError(f"{where}: {STRUCTURE} of config.json and {WEIGHTS}: {error}; {remedy}") from None
    if surplus := sorted(match.unexpected):
        raise UserError(
            f"{where}: {len(surplus)} tensors have no place in the {STRUCTURE} of config.json, the first is "
            f"{surplus[0]}; {remedy}"
        )
    return model.eval(), match.missing | match.other_shape, match.other_shape


def _init_heads(model: Any) -> set[str]:
    """Initialise every head, also one in the checkpoint, so that all sizes start alike; return their modules."""
    names = set()
    for name, head in model.named_children():
        if name != model.base_model_prefix:
            for parameter in head.parameters():
                parameter._is_hf_initialized = False  # otherwise transformers skips loaded parameters
            head.apply(model._init_weights)
            names |= {f"{name}.{parameter}" for parameter, _ in head.named_parameters()}
    return set(_list_modules(names))


def _load_config(directory: Path, settings: Mapping[str, Any], remedy: str, where: str) -> Any:
    """Return the configuration of a checkpoint after checking that it requires no custom code."""
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        if not (directory / name).exists():
            raise UserError(f"{where}: no {name}; {remedy}")
    content = load_json(directory / CONFIG, where)
    load_json(directory / TOKENIZER_CONFIG, where)
    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False, **settings)
        AutoModelForSequenceClassification._model_mapping[type(config)]
    except StrictDataclassError as error:
        raise UserError(f"{where}: {CONFIG}: {error.__cause__ or error}; correct it, or {remedy}") from None
    except (ValueError, KeyError):
        kind = content.get("model_type")
        raise UserError(
            f"{where}: model_type {kind!r} of config.json has no sequence classifier in transformers; "
            "name another checkpoint in conf/model, such as a bert, roberta or modernbert"
        ) from None
    checkpoint_checks.check_encoder(where, config)
    if config.model_type == "big_bird":  # a short batch would switch its sparse attention off permanently
        config.attention_type = "original_full"
    return config


def _list_modules(names: Iterable[str]) -> tuple[str, ...]:
    """Return the modules of tensors, two levels deep: ``bert.pooler`` for ``bert.pooler.dense.bias``."""
    return _sort_names({".".join(name.split(".")[:-1][:2]) for name in names})


def _sort_names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


@contextmanager
def _disable_logging() -> Iterator[None]:
    """Silence transformers: the notes contain its warnings, and progress bars would break the stage's output."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
