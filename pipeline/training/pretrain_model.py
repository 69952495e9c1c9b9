"""Pre-train a tokenizer and a small BERT from scratch with L = L_MLM + L_NSP."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from tokenizers import BertWordPieceTokenizer
from torch import Tensor
from transformers.models.bert.modeling_bert import BertForPreTraining
from transformers.models.bert.tokenization_bert import BertTokenizer

from pipeline.core import instantiate, paths
from pipeline.core.errors import UserError
from pipeline.data import pretraining_corpus as corpora
from pipeline.data.pretraining_corpus import EncodedTopics, Topics
from pipeline.models import load_model, pretraining_model
from pipeline.system import hardware
from pipeline.training import checkpoints
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.pretraining_batches import SPECIAL, PretrainingBatch, PretrainingBatches, PretrainingSettings
from pipeline.training.task_loss import MAX_LOSS_RATIO

MEASURES = ("mlm_loss", "nsp_loss", "mlm_accuracy", "nsp_accuracy")
LOG_STEPS = 100  # steps between two points of the curves
MAX_WARMUP_STEPS = 200  # 10% of the steps of a short run


class TrainingLog(Protocol):
    """The interface of a trial's log (``pipeline.execution.trial.TrialLog``)."""

    def log_metrics(self, step: int, values: dict[str, float]) -> None:
        """Log a point of the curves."""

    def open_progress(self, total: int, unit: str = "step") -> Any:
        """Return a progress bar: a context manager with ``update``."""

    def open_checkpoint(self, name: str = "training") -> Checkpoint:
        """Return the checkpoint of the run."""


def train_from_scratch(
    out: Path,
    log: TrainingLog,
    *,
    layers: int,
    hidden: int,
    heads: int,
    vocabulary: int,
    corpus: Mapping[str, Any],
    steps: int,
    batch: int,
    learning_rate: float,
    near: tuple[float, float],
    masking: float,
    short: int,
    short_share: float,
    longest: int,
    seed: int,
) -> dict[str, Any]:
    """Train a tokenizer and a BERT on a corpus and write both to ``out``, with ``pretraining.json``.

    ``corpus`` has the arguments of ``pipeline.data.pretraining_corpus.read``. ``longest`` is the maximum number of
    tokens of a pair. Weights are stored as fp16. Returns the source, losses in nats, accuracies and seconds. The files
    in ``out`` contain no times, so they are equal for equal weights from the same machine.

    Raises UserError when the corpus cannot be read, sizes are invalid, or a loss is NaN or infinite.
    """
    counts = {"layers": layers, "hidden": hidden, "heads": heads, "vocabulary": vocabulary, "batch": batch}
    _check_whole(counts | {"short": short, "longest": longest}, 1)
    _check_whole({"steps": steps, "seed": seed}, 0)
    if hidden % heads:
        raise UserError(f"source.heads: got {heads}, which does not divide hidden {hidden}; choose a divisor of it")
    started = time.perf_counter()
    hardware.make_deterministic(seed)
    settings = PretrainingSettings(steps, batch, learning_rate, near, masking, short, short_share, longest)
    topics = corpora.read(**instantiate.validate_arguments(corpora.read, corpus, "source.corpus"))
    pieces = train_tokenizer(topics, vocabulary)
    model = pretraining_model.create_model(layers, hidden, heads, pieces.get_vocab_size(), longest, seed)
    measures = train_model(
        model, encode_topics(topics, pieces), settings, seed, log, checkpoint := log.open_checkpoint()
    )
    result = {
        "kind": "scratch",
        "id": f"{corpora.name(**corpus)}, {steps} steps of {batch} pairs, seed {seed}",
        "revision": None,
        "corpus_sha256": hashlib.sha256(json.dumps(topics).encode()).hexdigest(),
        "steps": steps,
        **measures,
    }
    save_model(model, pieces, out)
    sizes = {"layers": layers, "hidden": hidden, "heads": heads, "vocabulary": vocabulary, "corpus": dict(corpus)}
    arguments = {**sizes, **settings._asdict(), "seed": seed}
    paths.write_json(
        out / "pretraining.json", {**result, "settings": arguments, "machine": hardware.describe_machine()}
    )
    return result | {"pretrain_seconds": checkpoint.earlier_seconds + time.perf_counter() - started}


def _check_whole(values: Mapping[str, Any], minimum: int) -> None:
    """Raise UserError for values that are not whole numbers from ``minimum``."""
    for key, value in values.items():
        if not isinstance(value, int) or value < minimum:
            raise UserError(f"source.{key}: got {value!r}; give a whole number from {minimum}")


def train_tokenizer(topics: Topics, vocabulary: int) -> BertWordPieceTokenizer:
    """Return a lower-case WordPiece tokenizer of at most ``vocabulary`` pieces, trained on the documents.

    The trainer numbers letters in hash order, which differs between runs and decides between equally frequent merges.
    Listing all letters first gives the same pieces every time.
    """
    sentences = [sentence for topic in topics for document in topic for sentence in document]
    trained = BertWordPieceTokenizer(lowercase=True)
    letters = sorted({letter for sentence in sentences for letter in trained.normalize(sentence) if letter != " "})
    initial = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    trained.train_from_iterator(
        sentences, vocab_size=vocabulary, min_frequency=2, special_tokens=initial, show_progress=False
    )
    return BertWordPieceTokenizer(vocab=trained.get_vocab(), lowercase=True)


def encode_topics(topics: Topics, pieces: BertWordPieceTokenizer) -> EncodedTopics:
    """Return the topics with every sentence as token ids, without special tokens."""
    sentences = [sentence for topic in topics for document in topic for sentence in document]
    ids = iter(pieces.encode_batch(sentences, add_special_tokens=False))
    return [[[next(ids).ids for _ in document] for document in topic] for topic in topics]


def train_model(
    model: BertForPreTraining,
    topics: EncodedTopics,
    settings: PretrainingSettings,
    seed: int,
    log: TrainingLog,
    checkpoint: Checkpoint,
) -> dict[str, float]:
    """Train the model with AdamW, warm-up and linear decay, and gradients clipped to norm 1.

    Logs the means of both losses (nats) and accuracies every ``LOG_STEPS`` steps and returns the last ones. Trains on
    the GPU if there is one and returns the model to the CPU. Losses are read only every ``LOG_STEPS`` steps: a GPU
    would have to wait for each read. Raises UserError when a loss is NaN or infinite.
    """
    device = hardware.get_device()
    model.to(device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    batches = PretrainingBatches(topics, settings, model.config.vocab_size, seed)
    state = PretrainingState(model, optimizer, batches, checkpoint)
    with log.open_progress(settings.steps) as bar:
        for step, means in state.history:
            log.log_metrics(step, means)
        bar.update(state.step)
        for batch in batches.batches(state.step):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * compute_pretraining_rate(state.step, settings.steps)
            state.window.append(_train_step(model, batch.to(device), optimizer))
            state.step += 1
            if state.step % LOG_STEPS == 0 or state.step == settings.steps:
                log.log_metrics(*state.log_point())
            if state.checkpoint.is_due and batches.is_pool_boundary(state.step):
                state.save_checkpoint()
            bar.update(1)
    model.to("cpu")
    return state.history[-1][1] if state.history else {}


class PretrainingState:
    """The state of a pre-training: its step, the measures since the last point of the curves, and the points.

    It continues from ``checkpoint`` if there is one. Raises UserError when a loss is NaN or infinite.
    """

    def __init__(
        self,
        model: BertForPreTraining,
        optimizer: torch.optim.Optimizer,
        batches: PretrainingBatches,
        checkpoint: Checkpoint,
    ) -> None:
        self.weights, self.optimizer, self.batches = list(model.parameters()), optimizer, batches
        self.checkpoint = checkpoint
        self.step = 0
        self.window: list[Tensor] = []
        self.history: list[tuple[int, dict[str, float]]] = []
        if content := checkpoint.load():
            checkpoints.restore_state(content.tensors, self.weights, optimizer)
            self.step = checkpoint.step
            self.window = list(content.tensors["window"].to(model.device))
            self.history = [(step, means) for step, means in content.state["history"]]
            batches.random.bit_generator.state = content.state["random"]

    def log_point(self) -> tuple[int, dict[str, float]]:
        """Add the means of the ``MEASURES`` since the last point to the curves and return them."""
        measures = self._check_losses()
        self.history.append((self.step, dict(zip(MEASURES, measures.mean(0).tolist(), strict=True))))
        self.window.clear()
        return self.history[-1]

    def save_checkpoint(self) -> None:
        """Save the state between two pools of batches; the random state within a pool is not saved."""
        self._check_losses()
        tensors = checkpoints.collect_state(self.weights, self.optimizer)
        tensors["window"] = torch.stack(self.window) if self.window else torch.empty(0, len(MEASURES))
        self.checkpoint.save(
            self.step, tensors, {"history": self.history, "random": self.batches.random.bit_generator.state}
        )

    def _check_losses(self) -> np.ndarray:
        """Return the measures since the last point, (steps, measures), after a check of their losses."""
        if not self.window:
            return np.empty((0, len(MEASURES)))
        measures: np.ndarray = torch.stack(self.window).double().cpu().numpy()
        losses, settings = measures[:, :2].sum(1), self.batches.settings
        wrong = ~(losses <= MAX_LOSS_RATIO * math.log(self.batches.vocabulary))  # the loss of guessing is the logarithm
        if wrong.any():
            first = int(np.argmax(wrong))
            raise UserError(
                f"the loss is {losses[first]:.3g} at step {self.step - len(losses) + first + 1} of {settings.steps}; "
                f"lower source.learning_rate ({settings.learning_rate:g}){self.checkpoint.description}"
            )
        return measures


def _train_step(model: BertForPreTraining, batch: PretrainingBatch, optimizer: torch.optim.Optimizer) -> Tensor:
    """Train one step and return both losses and both accuracies, (4,)."""
    device = model.device
    with torch.autocast(device.type, torch.bfloat16, enabled=hardware.get_fastest_precision(device) == "bf16"):
        losses = pretraining_model.compute_losses(model, *batch)
    losses.total.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return torch.stack([value.detach() for value in losses])


def compute_pretraining_rate(step: int, steps: int) -> float:
    """Return the share of the learning rate at a step: a linear warm-up to 1, then linear decay to 0."""
    warmup = min(MAX_WARMUP_STEPS, steps // 10)
    return min((step + 1) / (warmup + 1), (steps - step) / max(steps - warmup, 1))


def save_model(model: BertForPreTraining, pieces: BertWordPieceTokenizer, out: Path) -> None:
    """Write a Hugging Face directory: the weights as fp16, the config and the tokenizer."""
    size = model.config.max_position_embeddings
    load_model.save_classifier(model.half(), BertTokenizer(vocab=pieces.get_vocab(), model_max_length=size), out)
