"""Tokenised examples, and batches of like length padded to their own longest: nothing is padded to a fixed length."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pipeline.data import subsets

if TYPE_CHECKING:
    import pyarrow as pa
    from transformers import PreTrainedTokenizerBase

# Families that number the places of a text from behind the padding's id: so many fewer tokens than positions.
BEHIND_PADDING = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer", "data2vec-text")
POOL = 50  # batches that are sorted by length together, as in transformers' LengthGroupedSampler


@dataclass(frozen=True)
class Examples:
    """The examples of a split, one behind another: example i is ``tokens[starts[i]:starts[i + 1]]``.

    ``tokens`` (total,) int64 ids; ``types`` (total,) int64 segments, or None where the model knows none;
    ``starts`` (examples + 1,); ``labels`` (examples,) int64 classes or float32 numbers; ``pad`` the padding's id.
    """

    tokens: np.ndarray
    types: np.ndarray | None
    starts: np.ndarray
    labels: np.ndarray
    pad: int

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """Return the number of tokens of each example, (examples,)."""
        return np.diff(self.starts)


@dataclass(frozen=True)
class Batch:
    """Rows of one length: the arguments of a model and the labels beside them.

    ``inputs`` holds ``input_ids``, ``token_type_ids`` where the model has them, and ``attention_mask`` only where
    something is padded, each (rows, longest); ``tokens`` counts what is not padding; ``rows`` tells which of the
    examples these are, for what is kept about them elsewhere.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    tokens: int
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def places(self) -> int:
        """Return how many places the tokens take, padding included."""
        return self.inputs["input_ids"].numel()

    def to(self, device: torch.device) -> Batch:
        """Return the batch on ``device``."""
        if device.type == "cpu":
            return self
        inputs = {name: tensor.to(device, non_blocking=True) for name, tensor in self.inputs.items()}
        return Batch(inputs, self.labels.to(device, non_blocking=True), self.tokens, self.rows)


@lru_cache(maxsize=2)
def read(file: Path, ratio: float, tokenizer: Path, max_length: int) -> Examples:
    """Return the subset ``ratio`` of a prepared split, tokenised by the tokenizer in a model's folder.

    Texts are cut to ``max_length`` tokens, or to the fewer that the model takes. The last two splits are kept, for the
    seeds of a cell read the same train and selection.
    """
    import pyarrow.parquet as pq

    opened = _open(tokenizer)
    return encode(opened, subsets.take(pq.read_table(file), ratio), _longest(opened, tokenizer, max_length))


def longest(tokenizer: Path, max_length: int) -> int:
    """Return how many tokens a text keeps: ``max_length``, or the fewer that the model in the folder takes."""
    return _longest(_open(tokenizer), tokenizer, max_length)


@lru_cache(maxsize=1)
def _open(tokenizer: Path) -> PreTrainedTokenizerBase:
    from transformers.models.auto.tokenization_auto import AutoTokenizer

    opened: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        tokenizer, local_files_only=True, trust_remote_code=False
    )
    return opened


def _longest(opened: PreTrainedTokenizerBase, folder: Path, max_length: int) -> int:
    """Return the least of what the task allows, what the tokenizer states, and the positions that the model has."""
    file = folder / "config.json"  # a tokenizer that was made of a vocabulary states no length
    config = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    positions = config.get("max_position_embeddings") or 0
    if config.get("model_type") in BEHIND_PADDING:
        positions -= opened.pad_token_id + 1
    limits: list[int] = [max_length, opened.model_max_length, *([positions] if positions > 0 else [])]
    return min(limits)


def encode(tokenizer: PreTrainedTokenizerBase, table: pa.Table, max_length: int) -> Examples:
    """Tokenise the texts of a prepared table, cut to ``max_length`` tokens; a null ``text_b`` is a single sentence."""
    texts = [table["text_a"].to_pylist()]
    if "text_b" in table.column_names and table["text_b"].null_count < table.num_rows:
        texts.append(table["text_b"].to_pylist())
    encoded: Mapping[str, Any] = {"input_ids": []}
    if table.num_rows:
        encoded = tokenizer(*texts, truncation=True, max_length=max_length, return_attention_mask=False)
    rows = encoded["input_ids"]
    labels = table["label"].to_numpy()
    return Examples(
        tokens=_flat(rows),
        types=_flat(encoded["token_type_ids"]) if "token_type_ids" in encoded else None,
        starts=np.cumsum([0, *map(len, rows)]),
        labels=labels.astype(np.int64 if labels.dtype.kind in "iu" else np.float32),
        pad=tokenizer.pad_token_id,
    )


def _flat(rows: list[list[int]]) -> np.ndarray:
    return np.fromiter((token for row in rows for token in row), dtype=np.int64)


def collate(examples: Examples, rows: np.ndarray, multiple: int = 1) -> Batch:
    """Return the examples ``rows`` as a batch as long as the longest of them, rounded up to a ``multiple`` of tokens.

    No batch is longer than the longest of all examples.
    """
    starts, lengths = examples.starts[rows], examples.lengths[rows]
    longest = min(-(-lengths.max() // multiple) * multiple, examples.lengths.max())
    real = np.arange(longest) < lengths[:, None]
    places = np.where(real, starts[:, None] + np.arange(longest), 0)
    inputs = {"input_ids": np.where(real, examples.tokens[places], examples.pad)}
    if examples.types is not None:
        inputs["token_type_ids"] = np.where(real, examples.types[places], 0)
    if not real.all():
        inputs["attention_mask"] = real.astype(np.int64)
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    return Batch(tensors, torch.from_numpy(examples.labels[rows]), int(lengths.sum()), rows)


def shuffled(lengths: np.ndarray, size: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the rows of one epoch's batches: every row once, ``size`` a batch, of like length, in random order.

    Rows are shuffled and cut into pools; within a pool they are sorted by length and cut into batches. There are at
    least four pools where the rows suffice, so that a batch differs from epoch to epoch. Only one batch may be smaller.
    """
    pool = size * int(np.clip(len(lengths) // (4 * size), 1, POOL))
    order = random.permutation(len(lengths))
    pools = [order[start : start + pool] for start in range(0, len(order), pool)]
    ordered = np.concatenate([rows[np.argsort(lengths[rows], kind="stable")] for rows in pools])
    for number in random.permutation(-(-len(ordered) // size)):
        yield ordered[number * size : (number + 1) * size]


def by_length(lengths: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield the rows in batches of ``size`` from the longest to the shortest: how to predict with little padding."""
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size]
