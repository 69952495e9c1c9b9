"""Tokenised examples, and batches of similar length, each padded to its longest row."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipeline.data import subsets
from pipeline.models import model_inputs

if TYPE_CHECKING:
    import pyarrow as pa
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase

# Families whose position ids start after the padding id, so they take that many fewer tokens than positions.
BEHIND_PADDING = (
    "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod", "camembert", "mpnet", "longformer",
    "data2vec-text", "ibert", "esm", "luke",
)  # fmt: skip
POOL = 50  # batches sorted by length together, as in transformers' LengthGroupedSampler


@dataclass(frozen=True)
class Examples:
    """The concatenated examples of a split: example i is ``tokens[starts[i]:starts[i + 1]]``.

    ``tokens`` (total,) int64 ids; ``types`` (total,) int64 segments, or None if the model has none;
    ``starts`` (examples + 1,); ``labels`` (examples,) int64 classes or float32 numbers; ``pad`` the id of the padding
    token; ``left`` whether rows are padded on the left; ``cut`` (examples,) the number of tokens that truncation
    removed, None for examples not made from texts.
    """

    tokens: np.ndarray
    types: np.ndarray | None
    starts: np.ndarray
    labels: np.ndarray
    pad: int
    left: bool = False
    cut: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """Return the number of tokens of each example, (examples,)."""
        return np.diff(self.starts)


@dataclass(frozen=True)
class Batch:
    """Rows padded to one length: the inputs of a model and the labels.

    ``inputs`` holds ``input_ids``, ``token_type_ids`` if the model has them, and ``attention_mask`` only if something
    is padded, each (rows, longest). ``tokens`` counts tokens without padding. ``rows`` are the indexes of the examples,
    for values that are stored elsewhere.
    """

    inputs: dict[str, Tensor]
    labels: Tensor
    tokens: int
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def places(self) -> int:
        """Return the number of tokens, padding included."""
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

    Texts are truncated to ``max_length`` tokens, or to the model's maximum. The last two splits are cached, because all
    seeds of a cell read the same train and selection splits.
    """
    import pyarrow.parquet as pq

    opened = _open(tokenizer)
    return encode(opened, subsets.take(pq.read_table(file), ratio), _longest(opened, tokenizer, max_length))


def longest(tokenizer: Path, max_length: int) -> int:
    """Return the tokens that a text keeps: the smaller of ``max_length`` and the model's maximum."""
    return _longest(_open(tokenizer), tokenizer, max_length)


@lru_cache(maxsize=1)
def _open(tokenizer: Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model, set to return the model's inputs."""
    from transformers.models.auto.tokenization_auto import AutoTokenizer

    opened: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
        tokenizer, local_files_only=True, trust_remote_code=False
    )
    model_inputs.set_tokenizer_inputs_from(tokenizer, opened)
    return opened


def _longest(opened: PreTrainedTokenizerBase, folder: Path, max_length: int) -> int:
    """Return the minimum of the task's limit, the tokenizer's limit and the model's positions."""
    file = folder / "config.json"  # a tokenizer made from a vocabulary has no limit
    config = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    positions = config.get("max_position_embeddings") or 0
    if config.get("model_type") in BEHIND_PADDING:
        positions -= opened.pad_token_id + 1
    limits: list[int] = [max_length, opened.model_max_length, *([positions] if positions > 0 else [])]
    return min(limits)


def encode(tokenizer: PreTrainedTokenizerBase, table: pa.Table, max_length: int) -> Examples:
    """Tokenise a prepared table, truncated to ``max_length`` tokens; a null ``text_b`` is a single text.

    Segments are kept if the tokenizer names them among ``model_input_names``.
    """
    texts = [table["text_a"].to_pylist()]
    if "text_b" in table.column_names and table["text_b"].null_count < table.num_rows:
        texts.append(table["text_b"].to_pylist())
    rows, whole = _tokenize(tokenizer, texts, max_length)
    starts = np.cumsum([0, *(len(row) for row in rows)])
    labels = table["label"].to_numpy()
    return Examples(
        tokens=_flat([row.ids for row in rows]),
        types=_flat([row.type_ids for row in rows]) if "token_type_ids" in tokenizer.model_input_names else None,
        starts=starts,
        labels=labels.astype(np.int64 if labels.dtype.kind in "iu" else np.float32),
        pad=tokenizer.pad_token_id,
        left=tokenizer.padding_side == "left",
        cut=whole - np.diff(starts),
    )


def _tokenize(
    tokenizer: PreTrainedTokenizerBase, texts: list[list[str]], max_length: int
) -> tuple[list[Encoding], np.ndarray]:
    """Return the truncated rows and how many tokens each row would have without truncation.

    The two texts of a pair are tokenised apart and joined by the tokenizer's own last step, which truncates: that
    counts what is lost without tokenising twice, and is faster than transformers' call.
    """
    backend = tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    parts = [backend.encode_batch_fast(column, add_special_tokens=False) for column in texts]
    special = backend.num_special_tokens_to_add(len(texts) == 2)
    whole = np.array([sum(len(part) for part in row) + special for row in zip(*parts, strict=True)], dtype=np.int64)
    backend.enable_truncation(max_length, direction=tokenizer.truncation_side)
    return [backend.post_process(*row) for row in zip(*parts, strict=True)], whole


def _flat(rows: list[list[int]]) -> np.ndarray:
    return np.fromiter((token for row in rows for token in row), dtype=np.int64)


def collate(examples: Examples, rows: np.ndarray, multiple: int = 1) -> Batch:
    """Return the examples ``rows`` as a batch, padded to a ``multiple`` of tokens.

    No batch is longer than the longest of all examples.
    """
    starts, lengths = examples.starts[rows], examples.lengths[rows]
    longest = min(-(-lengths.max() // multiple) * multiple, examples.lengths.max())
    columns = np.arange(longest) - ((longest - lengths)[:, None] if examples.left else 0)
    real = (columns >= 0) & (columns < lengths[:, None])
    places = np.where(real, starts[:, None] + columns, 0)
    given = {"input_ids": np.where(real, examples.tokens[places], examples.pad)}
    if examples.types is not None:
        given["token_type_ids"] = np.where(real, examples.types[places], 0)
    if not real.all():
        given["attention_mask"] = real.astype(np.int64)
    tensors = {name: torch.from_numpy(array) for name, array in given.items()}
    return Batch(tensors, torch.from_numpy(examples.labels[rows]), int(lengths.sum()), rows)


def shuffled(lengths: np.ndarray, size: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the rows of one epoch's batches: each row once, ``size`` per batch, similar lengths, random order.

    Rows are shuffled and split into pools. Each pool is sorted by length and split into batches. Enough rows give at
    least four pools, so that batches differ between epochs. Only one batch may be smaller.
    """
    pool = size * int(np.clip(len(lengths) // (4 * size), 1, POOL))
    order = random.permutation(len(lengths))
    pools = [order[start : start + pool] for start in range(0, len(order), pool)]
    ordered = np.concatenate([rows[np.argsort(lengths[rows], kind="stable")] for rows in pools])
    for number in random.permutation(-(-len(ordered) // size)):
        yield ordered[number * size : (number + 1) * size]


def by_length(lengths: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Yield rows in batches of ``size`` from the longest to the shortest, for prediction with little padding."""
    order = np.argsort(-lengths, kind="stable")
    for start in range(0, len(order), size):
        yield order[start : start + size]
