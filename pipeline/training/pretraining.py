"""Pre-training from scratch with L = L_MLM + L_NSP: a tokenizer and a small BERT, from documents and a seed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from tokenizers import BertWordPieceTokenizer
from torch import Tensor
from transformers.models.bert.modeling_bert import BertForPreTraining
from transformers.models.bert.tokenization_bert import BertTokenizer

from pipeline import machine, paths, target
from pipeline.data import corpus as corpora
from pipeline.data.corpus import EncodedTopics, Segments, Topics
from pipeline.errors import UserError
from pipeline.models import loading
from pipeline.models import pretraining as objective

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(len(SPECIAL))
POOL = 16  # batches that are drawn together, so that pairs of like length can share one
MEASURES = ("mlm_loss", "nsp_loss", "mlm_accuracy", "nsp_accuracy")
TOLD = 100  # steps between two points of the curves
WARM_UP = 200  # steps, of a long run
RISE = 0.25  # share of the steps over which NSP's negatives come nearer


class Log(Protocol):
    """What a run tells while it works; `pipeline.stage.Log` is one."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Add a point to the named curves."""

    def progress(self, total: int, unit: str = "step") -> Any:
        """A context with `update`."""


class Asked(NamedTuple):
    """What the objective takes: BERT's inputs, the masked targets, and 0 where the second segment follows."""

    inputs: dict[str, Tensor]
    targets: Tensor
    next_label: Tensor

    def to(self, device: torch.device) -> Asked:
        """The batch on a device."""
        inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        return Asked(inputs, self.targets.to(device), self.next_label.to(device))


class Regime(NamedTuple):
    """How long and how fast to train, and on what.

    The first `short_share` of the `steps` takes only topics with sentences of at most `short` tokens: matching two
    short segments is learned many times faster, and then carries over (Devlin et al. 2019 train nine tenths on short
    segments too). `near` is the share of NSP's negatives that come from the same topic, at the first step and from a
    quarter of the steps on: what a topic is must be learned before what tells its documents apart. `masking` is the
    mean share of tokens that MLM asks for.
    """

    steps: int
    batch: int
    learning_rate: float
    near: tuple[float, float]
    masking: float
    short: int
    short_share: float
    longest: int


def scratch(
    out: Path,
    log: Log,
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

    `corpus` is what `pipeline.data.corpus.read` takes; `longest` is the most tokens a pair may have. Weights are
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
    machine.make_repeatable(seed)
    regime = Regime(steps, batch, learning_rate, near, masking, short, short_share, longest)
    topics = corpora.read(**target.settled(corpora.read, corpus, "source.corpus"))
    pieces = tokenizer(topics, vocabulary)
    model = objective.fresh(layers, hidden, heads, pieces.get_vocab_size(), longest, seed)
    reached = train(model, encoded(topics, pieces), regime, seed, log)
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
    paths.write_json(out / "pretraining.json", {**told, "settings": made_by, "machine": machine.describe()})
    return told | {"pretrain_seconds": time.perf_counter() - started}


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


def train(model: BertForPreTraining, topics: EncodedTopics, regime: Regime, seed: int, log: Log) -> dict[str, float]:
    """Train the model by the regime: AdamW, warm-up and linear decay, gradients clipped to norm 1.

    Logs the means of both losses (nats) and accuracies every `TOLD` steps and returns the last of them. It works on
    the GPU where there is one and leaves the model on the CPU.

    Raises UserError when a loss is no longer a number. Losses are looked at only every `TOLD` steps: at each step a
    GPU would have to wait for it.
    """
    device = machine.device()
    model.to(device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=regime.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: pace(step, regime.steps))
    window: list[Tensor] = []
    means: dict[str, float] = {}
    with log.progress(regime.steps) as bar:
        for step, batch in enumerate(course(topics, regime, model.config.vocab_size, seed), start=1):
            window.append(_update(model, batch.to(device), optimizer))
            schedule.step()
            if step % TOLD == 0 or step == regime.steps:
                means = _means(torch.stack(window).double().cpu().numpy(), step, regime)
                log.metrics(step, means)
                window.clear()
            bar.update(1)
    model.to("cpu")
    return means


def _means(measures: np.ndarray, step: int, regime: Regime) -> dict[str, float]:
    """The means of the `MEASURES` of the last steps, (steps, measures), up to `step`.

    Raises UserError when a loss among them is not a number.
    """
    losses = measures[:, :2].sum(1)
    if not np.isfinite(losses).all():
        first = int(np.argmin(np.isfinite(losses)))
        raise UserError(
            f"the loss is {losses[first]} at step {step - len(losses) + first + 1} of {regime.steps}; "
            f"lower source.learning_rate ({regime.learning_rate:g})"
        )
    return dict(zip(MEASURES, measures.mean(0).tolist(), strict=True))


def _update(model: BertForPreTraining, batch: Asked, optimizer: torch.optim.Optimizer) -> Tensor:
    """One step; returns both losses and both accuracies, (4,)."""
    at = model.device
    with torch.autocast(at.type, torch.bfloat16, enabled=machine.precision(at) == "bf16"):
        losses = objective.losses(model, *batch)
    losses.total.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return torch.stack([value.detach() for value in losses])


def pace(step: int, steps: int) -> float:
    """The share of the learning rate at a step: up to 1 over the warm-up, then down in a line to 0."""
    warm = min(WARM_UP, steps // 10)
    return min((step + 1) / (warm + 1), (steps - step) / max(steps - warm, 1))


def course(topics: EncodedTopics, regime: Regime, vocabulary: int, seed: int) -> Iterator[Asked]:
    """Every batch of a run: first from the topics of short sentences, then from all.

    Raises UserError when no topic has sentences as short as the regime asks.
    """
    random = np.random.default_rng(seed)
    brief = [topic for topic in topics if max(len(ids) for document in topic for ids in document) <= regime.short]
    opening = round(regime.steps * regime.short_share)
    if opening and len(brief) < 2:
        raise UserError(
            f"source.short: got {regime.short}, but {len(brief)} topics have sentences of at most so many tokens; "
            "raise it, or set short_share to 0"
        )
    parts = ((brief, range(opening)), (topics, range(opening, regime.steps)))
    return chain.from_iterable(
        drawn(corpora.segments(part), regime, steps, vocabulary, random) for part, steps in parts if steps
    )


def drawn(
    corpus: Segments, regime: Regime, steps: range, vocabulary: int, random: np.random.Generator
) -> Iterator[Asked]:
    """The batches of some steps of a run, each of pairs of like length: a pool is drawn, sorted, cut and shuffled."""
    lengths = np.diff(corpus.starts)
    words = np.arange(len(SPECIAL), vocabulary)
    for pool in range(steps.start, steps.stop, POOL):
        near = float(np.interp(pool, (0, RISE * regime.steps), regime.near))
        first, second, follows = corpora.draw(corpus, POOL * regime.batch, near, random)
        order = np.argsort(lengths[first] + lengths[second], kind="stable").reshape(POOL, regime.batch)
        for rows in random.permutation(order)[: steps.stop - pool]:
            tokens, types = _laid_out(corpus, first[rows], second[rows], regime.longest)
            yield _asked(tokens, types, follows[rows], words, regime.masking, random)


def _laid_out(corpus: Segments, first: np.ndarray, second: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """[CLS] first [SEP] second [SEP] with padding, and 1 where the second segment stands; both (rows, length)."""
    room = (longest - 3) // 2
    ones, twos = ([corpus.sentence(index)[:room] for index in part] for part in (first, second))
    width = max(len(one) + len(two) for one, two in zip(ones, twos, strict=True)) + 3
    tokens = np.full((len(first), width), PAD)
    types = np.zeros_like(tokens)
    for row, (one, two) in enumerate(zip(ones, twos, strict=True)):
        ids = np.concatenate(([CLS], one, [SEP], two, [SEP]))
        tokens[row, : len(ids)] = ids
        types[row, len(one) + 2 : len(ids)] = 1
    return tokens, types


def _asked(
    tokens: np.ndarray,
    types: np.ndarray,
    follows: np.ndarray,
    words: np.ndarray,
    rate: float,
    random: np.random.Generator,
) -> Asked:
    """The batch with its masked tokens and its question whether the second segment follows."""
    shown, targets = objective.masked(tokens, tokens < len(SPECIAL), MASK, words, rate, random)
    inputs = {"input_ids": shown, "token_type_ids": types, "attention_mask": (tokens != PAD).astype(np.int64)}
    return Asked(
        {name: torch.from_numpy(array) for name, array in inputs.items()},
        torch.from_numpy(targets),
        torch.from_numpy(np.where(follows, objective.IS_NEXT, 1 - objective.IS_NEXT)),
    )


def save(model: BertForPreTraining, pieces: BertWordPieceTokenizer, out: Path) -> None:
    """Leave a Hugging Face directory in `out`: the weights as fp16, the config and the tokenizer."""
    size = model.config.max_position_embeddings
    loading.save(model.half(), BertTokenizer(vocab=pieces.get_vocab(), model_max_length=size), out)
