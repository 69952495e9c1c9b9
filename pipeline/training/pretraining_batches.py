"""Batches of pre-training: pairs of segments with masked tokens, from easy to hard."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pipeline.core.errors import UserError
from pipeline.data import pretraining_corpus as corpora
from pipeline.data.pretraining_corpus import EncodedTopics, Segments
from pipeline.models import pretraining_model

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(len(SPECIAL))
POOL = 16  # batches that are drawn together, so that pairs of similar length share a batch
RISE = 0.25  # share of the steps over which NSP's negatives become harder


class PretrainingBatch(NamedTuple):
    """BERT's inputs, the MLM targets, and the NSP labels: 0 where the second segment follows."""

    inputs: dict[str, Tensor]
    targets: Tensor
    next_label: Tensor

    def to(self, device: torch.device) -> PretrainingBatch:
        """Return the batch on ``device``."""
        inputs = {name: tensor.to(device) for name, tensor in self.inputs.items()}
        return PretrainingBatch(inputs, self.targets.to(device), self.next_label.to(device))


class PretrainingSettings(NamedTuple):
    """Steps, batch size, learning rate and curriculum of a pre-training.

    The first ``short_share`` of the steps uses only topics with sentences of at most ``short`` tokens. Models learn
    to match short segments many times faster, and longer ones afterwards (Devlin et al. 2019 also train 90% on short
    segments). ``near`` is the share of NSP's negatives from the same topic, at the first step and from a quarter of
    the steps on: a model must learn topics before it can distinguish documents of one topic. ``masking`` is the mean
    share of masked tokens.
    """

    steps: int
    batch: int
    learning_rate: float
    near: tuple[float, float]
    masking: float
    short: int
    short_share: float
    longest: int


class PretrainingBatches:
    """All batches of a run in order: first pairs from topics with short sentences, then from all topics.

    Raises UserError when fewer than two topics have short sentences.
    """

    def __init__(self, topics: EncodedTopics, settings: PretrainingSettings, vocabulary: int, seed: int) -> None:
        self.settings, self.vocabulary, self.random = settings, vocabulary, np.random.default_rng(seed)
        short_topics = [
            topic for topic in topics if max(len(ids) for document in topic for ids in document) <= settings.short
        ]
        self.opening = round(settings.steps * settings.short_share)
        if self.opening and len(short_topics) < 2:
            raise UserError(
                f"source.short: got {settings.short}, but only {len(short_topics)} topics have sentences that short; "
                "raise it, or set short_share to 0"
            )
        self.parts = ((short_topics, range(self.opening)), (topics, range(self.opening, settings.steps)))

    def batches(self, start: int = 0) -> Iterator[PretrainingBatch]:
        """Yield all batches from step ``start`` on, a pool boundary; ``random`` must have its state of that step."""
        return chain.from_iterable(
            draw_batches(corpora.segments(topics), self.settings, left, self.vocabulary, self.random)
            for topics, steps in self.parts
            if (left := steps[max(start - steps.start, 0) :])
        )

    def is_pool_boundary(self, step: int) -> bool:
        """Return whether the batch after ``step`` is the first of a pool, drawn from the current random state."""
        return (step - (self.opening if step >= self.opening else 0)) % POOL == 0


def draw_batches(
    corpus: Segments, settings: PretrainingSettings, steps: range, vocabulary: int, random: np.random.Generator
) -> Iterator[PretrainingBatch]:
    """Yield batches of pairs of similar length: each pool is drawn, sorted by length, divided and shuffled."""
    lengths = np.diff(corpus.starts)
    words = np.arange(len(SPECIAL), vocabulary)
    for pool in range(steps.start, steps.stop, POOL):
        near = float(np.interp(pool, (0, RISE * settings.steps), settings.near))
        first, second, follows = corpora.draw(corpus, POOL * settings.batch, near, random)
        order = np.argsort(lengths[first] + lengths[second], kind="stable").reshape(POOL, settings.batch)
        for rows in random.permutation(order)[: steps.stop - pool]:
            tokens, types = _build_pairs(corpus, first[rows], second[rows], settings.longest)
            yield _mask_batch(tokens, types, follows[rows], words, settings.masking, random)


def _build_pairs(
    corpus: Segments, first: np.ndarray, second: np.ndarray, longest: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return ids of [CLS] first [SEP] second [SEP] with padding, and segment ids; both (rows, length)."""
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


def _mask_batch(
    tokens: np.ndarray,
    types: np.ndarray,
    follows: np.ndarray,
    words: np.ndarray,
    rate: float,
    random: np.random.Generator,
) -> PretrainingBatch:
    """Return the batch with masked tokens and NSP labels."""
    masked, targets = pretraining_model.mask_tokens(tokens, tokens < len(SPECIAL), MASK, words, rate, random)
    inputs = {"input_ids": masked, "token_type_ids": types, "attention_mask": (tokens != PAD).astype(np.int64)}
    return PretrainingBatch(
        {name: torch.from_numpy(array) for name, array in inputs.items()},
        torch.from_numpy(targets),
        torch.from_numpy(np.where(follows, pretraining_model.IS_NEXT, 1 - pretraining_model.IS_NEXT)),
    )
