"""Initial weights of a student: pre-trained, random, or some layers of its teacher."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.core.errors import UserError
from pipeline.models import bert_layers, layer_surgery, load_model, quantised_layers
from pipeline.models.load_model import LoadedClassifier, LoadNotes


def create_student(
    how: str | int, student: Path, teacher: Path, labels: int | Sequence[str], seed: int, regression: bool
) -> LoadedClassifier:
    """Return a student in evaluation mode, with its tokenizer.

    ``pretrained`` loads the folder ``student`` as for fine-tuning; ``scratch`` uses its architecture with random
    weights from ``seed``. A number k takes every k-th layer of the fine-tuned ``teacher`` (k, 2k, ... counted from 1)
    with its embeddings, pooler, head and tokenizer, as DistilBERT does (Sanh et al. 2019), and ignores ``student``.
    ``labels`` is the number of classes or their names (``load_model.load_pretrained``).
    Raises UserError if the checkpoint is not usable, the teacher's weights are int8, or no layer would remain.
    """
    if isinstance(how, int):
        return load_every_layer(how, teacher)
    loaded = load_model.load_pretrained(student, labels, seed, regression)
    return _init_encoder(loaded, seed) if how == "scratch" else loaded


def load_every_layer(step: int, teacher: Path) -> LoadedClassifier:
    """Load every ``step``-th layer of a fine-tuned classifier, counted from 1."""
    loaded = load_model.load_finetuned(teacher, "eager")
    if quantised_layers.get_int8_kind(loaded.model):
        raise UserError(f"{teacher}: its weights are int8 and cannot be trained; name the teacher before that step")
    layers = len(bert_layers.list_layers(loaded.model))
    if step > layers:
        raise UserError(f"{teacher}: start: every: got {step} for {layers} layers; use at most {layers}")
    layer_surgery.select_layers(loaded.model, range(step - 1, layers, step))
    return loaded


def _init_encoder(loaded: LoadedClassifier, seed: int) -> LoadedClassifier:
    """Initialise the encoder; the head is the same as with pre-trained weights."""
    model = loaded.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = type(model)(model.config)
    model.base_model.load_state_dict(fresh.base_model.state_dict())
    drawn = {name.partition(".")[0] for name, _ in model.named_parameters()}
    return loaded._replace(notes=LoadNotes(tuple(sorted(drawn)), ()))
