"""What a pre-training is given, batch by batch: pairs of segments with masked tokens, from easy to hard."""

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
from pipeline.models import pretraining_model as objective

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(len(SPECIAL))
POOL = 16  # batches that are drawn together, so that pairs of like length can share one
RISE = 0.25  # share of the steps over which NSP's negatives come nearer


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


class Course:
    """What a run is given, in order: first pairs of the topics of short sentences, then of all.

    Raises UserError when no topic has sentences as short as the regime asks.
    """

    def __init__(self, topics: EncodedTopics, regime: Regime, vocabulary: int, seed: int) -> None:
        self.regime, self.vocabulary, self.random = regime, vocabulary, np.random.default_rng(seed)
        brief = [topic for topic in topics if max(len(ids) for document in topic for ids in document) <= regime.short]
        self.opening = round(regime.steps * regime.short_share)
        if self.opening and len(brief) < 2:
            raise UserError(
                f"source.short: got {regime.short}, but {len(brief)} topics have sentences of at most so many tokens; "
                "raise it, or set short_share to 0"
            )
        self.parts = ((brief, range(self.opening)), (topics, range(self.opening, regime.steps)))

    def batches(self, start: int = 0) -> Iterator[Asked]:
        """Every batch from step `start` on, one `between` two pools; `random` has to be as it was there."""
        return chain.from_iterable(
            drawn(corpora.segments(topics), self.regime, left, self.vocabulary, self.random)
            for topics, steps in self.parts
            if (left := steps[max(start - steps.start, 0) :])
        )

    def between(self, step: int) -> bool:
        """Say whether after so many steps the next batch is the first of a pool: drawn by `random` as it is then."""
        return (step - (self.opening if step >= self.opening else 0)) % POOL == 0


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
    shown, targets = objective.mask_tokens(tokens, tokens < len(SPECIAL), MASK, words, rate, random)
    inputs = {"input_ids": shown, "token_type_ids": types, "attention_mask": (tokens != PAD).astype(np.int64)}
    return Asked(
        {name: torch.from_numpy(array) for name, array in inputs.items()},
        torch.from_numpy(targets),
        torch.from_numpy(np.where(follows, objective.IS_NEXT, 1 - objective.IS_NEXT)),
    )
