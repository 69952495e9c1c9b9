"""Pre-training from scratch with L = L_MLM + L_NSP: a tokenizer and a small BERT, from documents and a seed."""

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
from pipeline.models import load_model
from pipeline.models import pretraining_model as objective
from pipeline.system import hardware
from pipeline.training import checkpoints
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.objective import EXPLODED
from pipeline.training.pretraining_batches import SPECIAL, Asked, Course, Regime

MEASURES = ("mlm_loss", "nsp_loss", "mlm_accuracy", "nsp_accuracy")
TOLD = 100  # steps between two points of the curves
WARM_UP = 200  # steps, of a long run


class TrainingLog(Protocol):
    """What a run tells while it works; `pipeline.execution.trial.TrialLog` is one."""

    def log_metrics(self, step: int, values: dict[str, float]) -> None:
        """Add a point to the named curves."""

    def open_progress(self, total: int, unit: str = "step") -> Any:
        """A context with `update`."""

    def open_checkpoint(self, name: str = "training") -> Checkpoint:
        """Where the state of the run is kept, should it die."""


def scratch(
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
    """Train a tokenizer and a BERT on a corpus and leave both in `out`, with `pretraining.json` beside them.

    `corpus` is what `pipeline.data.pretraining_corpus.read` takes; `longest` is the most tokens a pair may have.
    Weights are
    stored as fp16. Returns what it was trained on and how far it came: losses in nats, seconds. The seconds stand in no
    file of `out`, which is the same for the same weights made on the same machine.

    Raises UserError when the corpus cannot be read, the sizes cannot be built, or a loss is no longer a number.
    """
    counts = {"layers": layers, "hidden": hidden, "heads": heads, "vocabulary": vocabulary, "batch": batch}
    _whole(counts | {"short": short, "longest": longest}, 1)
    _whole({"steps": steps, "seed": seed}, 0)
    if hidden % heads:
        raise UserError(f"source.heads: got {heads}, which does not divide hidden {hidden}; choose a divisor of it")
    started = time.perf_counter()
    hardware.make_deterministic(seed)
    regime = Regime(steps, batch, learning_rate, near, masking, short, short_share, longest)
    topics = corpora.read(**instantiate.validate_arguments(corpora.read, corpus, "source.corpus"))
    pieces = tokenizer(topics, vocabulary)
    model = objective.create_model(layers, hidden, heads, pieces.get_vocab_size(), longest, seed)
    reached = train(model, encoded(topics, pieces), regime, seed, log, checkpoint := log.open_checkpoint())
    told = {
        "kind": "scratch",
        "id": f"{corpora.name(**corpus)}, {steps} steps of {batch} pairs, seed {seed}",
        "revision": None,
        "corpus_sha256": hashlib.sha256(json.dumps(topics).encode()).hexdigest(),
        "steps": steps,
        **reached,
    }
    save(model, pieces, out)
    sizes = {"layers": layers, "hidden": hidden, "heads": heads, "vocabulary": vocabulary, "corpus": dict(corpus)}
    made_by = {**sizes, **regime._asdict(), "seed": seed}
    paths.write_json(out / "pretraining.json", {**told, "settings": made_by, "machine": hardware.describe_machine()})
    return told | {"pretrain_seconds": checkpoint.earlier + time.perf_counter() - started}


def _whole(settings: Mapping[str, Any], least: int) -> None:
    """Refuse settings that are not whole numbers from `least`."""
    for key, value in settings.items():
        if not isinstance(value, int) or value < least:
            raise UserError(f"source.{key}: got {value!r}; give a whole number from {least}")


def tokenizer(topics: Topics, vocabulary: int) -> BertWordPieceTokenizer:
    """A lower-case WordPiece tokenizer of at most `vocabulary` pieces, trained on the documents.

    The trainer numbers letters in the order of a hash table, which differs from run to run and decides between merges
    that are as frequent. Naming all letters first gives the same pieces every time.
    """
    sentences = [sentence for topic in topics for document in topic for sentence in document]
    trained = BertWordPieceTokenizer(lowercase=True)
    letters = sorted({letter for sentence in sentences for letter in trained.normalize(sentence) if letter != " "})
    named = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    trained.train_from_iterator(
        sentences, vocab_size=vocabulary, min_frequency=2, special_tokens=named, show_progress=False
    )
    return BertWordPieceTokenizer(vocab=trained.get_vocab(), lowercase=True)


def encoded(topics: Topics, pieces: BertWordPieceTokenizer) -> EncodedTopics:
    """The topics with every sentence as token ids, without special tokens."""
    sentences = [sentence for topic in topics for document in topic for sentence in document]
    ids = iter(pieces.encode_batch(sentences, add_special_tokens=False))
    return [[[next(ids).ids for _ in document] for document in topic] for topic in topics]


def train(
    model: BertForPreTraining,
    topics: EncodedTopics,
    regime: Regime,
    seed: int,
    log: TrainingLog,
    checkpoint: Checkpoint,
) -> dict[str, float]:
    """Train the model by the regime: AdamW, warm-up and linear decay, gradients clipped to norm 1.

    Logs the means of both losses (nats) and accuracies every `TOLD` steps and returns the last of them. It works on
    the GPU where there is one and leaves the model on the CPU.

    Raises UserError when a loss is no longer a number. Losses are looked at only every `TOLD` steps: at each step a
    GPU would have to wait for it.
    """
    device = hardware.get_device()
    model.to(device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=regime.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    course = Course(topics, regime, model.config.vocab_size, seed)
    way = Way(model, optimizer, course, checkpoint)
    with log.open_progress(regime.steps) as bar:
        for step, means in way.told:
            log.log_metrics(step, means)
        bar.update(way.step)
        for batch in course.batches(way.step):
            for group in optimizer.param_groups:
                group["lr"] = regime.learning_rate * pace(way.step, regime.steps)
            way.window.append(_update(model, batch.to(device), optimizer))
            way.step += 1
            if way.step % TOLD == 0 or way.step == regime.steps:
                log.log_metrics(*way.tell())
            if way.checkpoint.due and course.between(way.step):
                way.keep()
            bar.update(1)
    model.to("cpu")
    return way.told[-1][1] if way.told else {}


class Way:
    """How far a run is: its `step`, the measures since the last point of its curves, and the points `told`.

    It begins where `checkpoint` was taken, if there is one. Raises UserError when a loss is no longer a number.
    """

    def __init__(
        self, model: BertForPreTraining, optimizer: torch.optim.Optimizer, course: Course, checkpoint: Checkpoint
    ) -> None:
        self.weights, self.optimizer, self.course = list(model.parameters()), optimizer, course
        self.checkpoint = checkpoint
        self.step = 0
        self.window: list[Tensor] = []
        self.told: list[tuple[int, dict[str, float]]] = []
        if found := checkpoint.load():
            checkpoints.restore(found.tensors, self.weights, optimizer)
            self.step = checkpoint.step
            self.window = list(found.tensors["window"].to(model.device))
            self.told = [(step, means) for step, means in found.state["told"]]
            course.random.bit_generator.state = found.state["random"]

    def tell(self) -> tuple[int, dict[str, float]]:
        """Add the means of the `MEASURES` since the last point to the curves and return them."""
        measures = self._sound()
        self.told.append((self.step, dict(zip(MEASURES, measures.mean(0).tolist(), strict=True))))
        self.window.clear()
        return self.told[-1]

    def keep(self) -> None:
        """Keep the state of the run between two pools of batches, for the numbers drawn within one are not kept."""
        self._sound()
        tensors = checkpoints.taken(self.weights, self.optimizer)
        tensors["window"] = torch.stack(self.window) if self.window else torch.empty(0, len(MEASURES))
        self.checkpoint.save(self.step, tensors, {"told": self.told, "random": self.course.random.bit_generator.state})

    def _sound(self) -> np.ndarray:
        """The measures since the last point, (steps, measures), once their losses are known to be numbers."""
        if not self.window:
            return np.empty((0, len(MEASURES)))
        measures: np.ndarray = torch.stack(self.window).double().cpu().numpy()
        losses, regime = measures[:, :2].sum(1), self.course.regime
        wrong = ~(losses <= EXPLODED * math.log(self.course.vocabulary))  # guessing costs the logarithm
        if wrong.any():
            first = int(np.argmax(wrong))
            raise UserError(
                f"the loss is {losses[first]:.3g} at step {self.step - len(losses) + first + 1} of {regime.steps}; "
                f"lower source.learning_rate ({regime.learning_rate:g}){self.checkpoint.told}"
            )
        return measures


def _update(model: BertForPreTraining, batch: Asked, optimizer: torch.optim.Optimizer) -> Tensor:
    """One step; returns both losses and both accuracies, (4,)."""
    at = model.device
    with torch.autocast(at.type, torch.bfloat16, enabled=hardware.get_fastest_precision(at) == "bf16"):
        losses = objective.compute_losses(model, *batch)
    losses.total.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return torch.stack([value.detach() for value in losses])


def pace(step: int, steps: int) -> float:
    """The share of the learning rate at a step: up to 1 over the warm-up, then down in a line to 0."""
    warm = min(WARM_UP, steps // 10)
    return min((step + 1) / (warm + 1), (steps - step) / max(steps - warm, 1))


def save(model: BertForPreTraining, pieces: BertWordPieceTokenizer, out: Path) -> None:
    """Leave a Hugging Face directory in `out`: the weights as fp16, the config and the tokenizer."""
    size = model.config.max_position_embeddings
    load_model.save_classifier(model.half(), BertTokenizer(vocab=pieces.get_vocab(), model_max_length=size), out)
