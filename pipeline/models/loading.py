"""From a checkpoint's folder to a classifier: what it lacks is drawn from the seed, what it has too much is left out.

Any architecture of transformers that has a sequence classifier will do. Weights stored in half precision are read
into fp32. Nothing is fetched and no code of the checkpoint's own is run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import AutoModelForSequenceClassification
from transformers.models.auto.tokenization_auto import AutoTokenizer
from transformers.utils import logging

from pipeline.errors import UserError
from pipeline.models.files import CONFIG, TOKENIZER, TOKENIZER_CONFIG, WEIGHTS, plain

AGAIN = "run finetune again with the arguments of this trial"
MAKER = "python -m pipeline.stages.pretrain --multirun +sweep=once model="
HEAD = 0x68656164  # turns a seed into that of a stream for heads alone, whatever else the checkpoint lacked


@dataclass(frozen=True)
class Notes:
    """What loading did beyond copying: modules drawn from the seed, and modules of the checkpoint left out."""

    initialised: tuple[str, ...]
    unused: tuple[str, ...]


class Loaded(NamedTuple):
    """A classifier in fp32 and in evaluation mode, its tokenizer, and the notes."""

    model: Any
    tokenizer: Any
    notes: Notes


def classifier(
    directory: Path, labels: int = 2, seed: int = 0, regression: bool = False, attention: str | None = "eager"
) -> Loaded:
    """Open pre-trained weights as a classifier of ``labels`` classes, or with one output for a regression.

    The classification head, and a pooler that the checkpoint lacks, are drawn from ``seed`` alone.
    ``attention`` is one of transformers' implementations, such as ``eager``; None leaves the choice to transformers.

    Raises UserError when the folder holds no usable checkpoint or a part of the encoder is missing in it.
    """
    problem = "regression" if regression else "single_label_classification"
    settings = {"num_labels": 1 if regression else labels, "problem_type": problem}
    with _quiet(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        loaded = _open(directory, attention, settings, f"run `{MAKER}{directory.name}`")
        torch.manual_seed(HEAD ^ seed)
        heads = _redrawn(loaded.model)
    unused = set(loaded.notes.unused) | (heads - set(loaded.notes.initialised))
    return loaded._replace(notes=Notes(_sorted(heads | set(loaded.notes.initialised)), _sorted(unused)))


def saved(directory: Path, attention: str | None = None) -> Loaded:
    """Open a classifier that was fine-tuned and saved with ``save_pretrained``: the same logits as before.

    ``attention`` is one of transformers' implementations; None is the fastest that the model knows.
    Raises UserError when the folder holds no usable checkpoint or lacks a part of the model.
    """
    with _quiet():
        loaded = _open(directory, attention, {}, AGAIN)
    if lacking := ", ".join(loaded.notes.initialised):
        raise UserError(f"{directory}: not a fine-tuned classifier, for it lacks {lacking}; {AGAIN}")
    return loaded


def save(model: Any, tokenizer: Any, directory: Path) -> None:
    """Write a classifier so that ``saved`` opens it: safetensors, configuration and tokenizer."""
    with _quiet():
        model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def _open(directory: Path, attention: str | None, settings: Mapping[str, Any], remedy: str) -> Loaded:
    """Open a checkpoint; ``remedy`` is what to do where it is not whole."""
    config = _config(directory, settings, remedy)
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
    drawn, unused = info["missing_keys"] | other_shape, info["unexpected_keys"] | other_shape
    _whole(directory, model.base_model_prefix, drawn, remedy)
    tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    if len(tokenizer) > config.vocab_size:
        raise UserError(
            f"{directory}: the tokenizer knows {len(tokenizer)} pieces, the model only {config.vocab_size}; "
            "take the tokenizer that the model was trained with"
        )
    return Loaded(model, tokenizer, Notes(_modules(drawn), _modules(unused)))


def _redrawn(model: Any) -> set[str]:
    """Draw every head anew, also one that the checkpoint brings: all sizes start alike. Return the heads' modules."""
    names = set()
    for name, head in model.named_children():
        if name != model.base_model_prefix:
            for parameter in head.parameters():
                parameter._is_hf_initialized = False  # the mark by which transformers spares what was loaded
            head.apply(model._init_weights)
            names |= {f"{name}.{parameter}" for parameter, _ in head.named_parameters()}
    return set(_modules(names))


def _config(directory: Path, settings: Mapping[str, Any], remedy: str) -> Any:
    """Return the configuration of a checkpoint, once it is clear that opening it runs no code but transformers'."""
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        if not (directory / name).exists():
            raise UserError(f"{directory}: no {name}; {remedy}")
    content = plain(directory / CONFIG, str(directory))
    plain(directory / TOKENIZER_CONFIG, str(directory))
    try:
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False, **settings)
        AutoModelForSequenceClassification._model_mapping[type(config)]
    except (ValueError, KeyError):
        kind = content.get("model_type")
        raise UserError(
            f"{directory}: model_type {kind!r} of config.json has no sequence classifier in transformers; "
            "name another checkpoint in conf/model, such as a bert, roberta or modernbert"
        ) from None
    return config


def _whole(directory: Path, prefix: str, missing: Iterable[str], remedy: str) -> None:
    """Raise UserError when weights of the encoder itself are missing: it would train, but from noise."""
    lost = sorted(name for name in missing if name.startswith(f"{prefix}.") and ".pooler." not in name)
    if lost:
        raise UserError(
            f"{directory}: {len(lost)} tensors of the encoder are missing or of another shape, the first is "
            f"{lost[0]}; {remedy}, from a source of which config.json and model.safetensors belong together"
        )


def _modules(names: Iterable[str]) -> tuple[str, ...]:
    """Return the modules that tensors belong to, two levels deep: ``bert.pooler.dense.bias`` is of ``bert.pooler``."""
    return _sorted({".".join(name.split(".")[:-1][:2]) for name in names})


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing what the notes say, and its progress bars out of the stage's lines."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
