"""Batches: every example once an epoch, of like length, padded to their own longest."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.bert.tokenization_bert import BertTokenizer

from pipeline.data import batches
from pipeline.data.batches import Examples

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
CLS, SEP = 2, 3
A = PIECES.index("a")


@pytest.fixture
def tokenizer() -> BertTokenizer:
    return BertTokenizer(vocab={piece: i for i, piece in enumerate(PIECES)})


@pytest.fixture
def pairs() -> pa.Table:
    return pa.table({"text_a": ["a b", "a", "a b c d"], "text_b": ["c", "d", "e f"], "label": [0, 1, 1]})


def lengthy(lengths: list[int]) -> Examples:
    """Examples of the given lengths, the tokens of the i-th all i + 1."""
    tokens = np.repeat(np.arange(len(lengths)) + 1, lengths)
    return Examples(tokens, None, np.cumsum([0, *lengths]), np.arange(len(lengths)), pad=0)


def test_pairs_are_tokenised_with_their_segments(tokenizer: BertTokenizer, pairs: pa.Table) -> None:
    made = batches.encode(tokenizer, pairs, max_length=16)
    assert made.types is not None
    assert made.lengths.tolist() == [6, 5, 9]
    assert made.tokens[:6].tolist() == [CLS, A, A + 1, SEP, A + 2, SEP]
    assert made.types[:6].tolist() == [0, 0, 0, 0, 1, 1]
    assert made.labels.tolist() == [0, 1, 1]
    assert made.labels.dtype == np.int64


def test_a_single_sentence_has_no_second_segment(tokenizer: BertTokenizer) -> None:
    table = pa.table({"text_a": ["a b"], "text_b": pa.array([None], pa.string()), "label": [0.5]})
    made = batches.encode(tokenizer, table, max_length=16)
    assert made.tokens.tolist() == [CLS, A, A + 1, SEP]
    assert made.labels.dtype == np.float32


def test_texts_are_cut_to_the_greatest_length(tokenizer: BertTokenizer, pairs: pa.Table) -> None:
    assert batches.encode(tokenizer, pairs, max_length=7).lengths.tolist() == [6, 5, 7]


def test_a_subset_of_a_file_is_read(tokenizer: BertTokenizer, pairs: pa.Table, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    pq.write_table(pairs, tmp_path / "train.parquet")
    made = batches.read(tmp_path / "train.parquet", 0.67, tmp_path, 16)
    assert made.lengths.tolist() == [6, 5]
    assert batches.read(tmp_path / "train.parquet", 0.67, tmp_path, 16) is made


@pytest.mark.parametrize(
    ("states", "config", "longest"),
    [
        (8, {}, 8),
        (None, {"max_position_embeddings": 9}, 9),
        (12, {"max_position_embeddings": 9}, 9),
        (None, {"max_position_embeddings": 9, "model_type": "roberta"}, 8),  # the padding's id is 0, texts begin at 1
        (None, {"max_position_embeddings": -1}, 16),
        (512, {"max_position_embeddings": 512}, 16),
        (None, None, 16),
    ],
)
def test_a_text_is_no_longer_than_the_model_takes(
    pairs: pa.Table, tmp_path: Path, states: int | None, config: dict[str, object] | None, longest: int
) -> None:
    vocab = {piece: i for i, piece in enumerate(PIECES)}
    BertTokenizer(vocab=vocab, **({"model_max_length": states} if states else {})).save_pretrained(tmp_path)
    if config is not None:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"} | config))
    long = pa.table({"text_a": ["a " * 30], "text_b": ["b " * 30], "label": [0]})
    pq.write_table(pa.concat_tables([pairs, long]), tmp_path / "train.parquet")
    assert batches.longest(tmp_path, 16) == longest
    assert batches.read(tmp_path / "train.parquet", 1.0, tmp_path, 16).lengths.max() == longest


TEXTS = st.lists(st.lists(st.sampled_from("abc"), max_size=30).map(" ".join), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(TEXTS, TEXTS, st.booleans(), st.integers(4, 40), st.sampled_from(["left", "right"]))
def test_texts_are_tokenised_as_transformers_does_and_what_is_cut_is_counted(
    first: list[str], second: list[str], paired: bool, longest: int, side: str
) -> None:
    tokenizer = BertTokenizer(vocab={piece: i for i, piece in enumerate(PIECES)}, truncation_side=side)
    rows = min(len(first), len(second))
    texts = [first[:rows], second[:rows]] if paired else [first[:rows]]
    table = pa.table({"text_a": texts[0], "text_b": texts[1] if paired else [None] * rows, "label": [0] * rows})
    made = batches.encode(tokenizer, table, longest)
    expected = tokenizer(*texts, truncation=True, max_length=longest)
    assert made.tokens.tolist() == [token for row in expected["input_ids"] for token in row]
    assert made.types is not None
    assert made.types.tolist() == [kind for row in expected["token_type_ids"] for kind in row]
    assert made.cut is not None
    whole = [len(row) for row in tokenizer(*texts)["input_ids"]]
    assert (made.cut + made.lengths).tolist() == whole


@pytest.mark.parametrize(
    ("config", "tokenizer_class", "segments"),
    [
        ({"model_type": "bert"}, "BertTokenizer", True),
        ({"model_type": "bert"}, "PreTrainedTokenizerFast", True),
        ({"model_type": "albert"}, "PreTrainedTokenizerFast", True),
        ({"model_type": "bert", "type_vocab_size": 1}, "BertTokenizer", False),
        ({"model_type": "distilbert"}, "BertTokenizer", False),
        ({"model_type": "distilbert", "type_vocab_size": 2}, "BertTokenizer", False),
        ({"model_type": "roberta", "type_vocab_size": 1}, "BertTokenizer", False),
    ],
)
def test_the_model_and_not_the_class_of_the_tokenizer_decides_about_segments(
    tokenizer: BertTokenizer, pairs: pa.Table, tmp_path: Path, config: dict[str, object], tokenizer_class: str,
    segments: bool,
) -> None:  # fmt: skip
    tokenizer.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text()) | {"tokenizer_class": tokenizer_class}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "config.json").write_text(json.dumps(config))
    pq.write_table(pairs, tmp_path / "train.parquet")
    made = batches.read(tmp_path / "train.parquet", 1.0, tmp_path, 16)
    if segments:
        assert made.types is not None
        assert made.types[:6].tolist() == [0, 0, 0, 0, 1, 1]
    else:
        assert made.types is None


def test_rows_are_padded_on_the_left_for_a_model_that_reads_the_last_token(
    tokenizer: BertTokenizer, pairs: pa.Table
) -> None:
    tokenizer.padding_side = "left"
    made = batches.collate(batches.encode(tokenizer, pairs, 16), np.array([1, 0]))
    assert made.inputs["input_ids"].tolist() == [
        [0, CLS, A, SEP, A + 3, SEP],
        [CLS, A, A + 1, SEP, A + 2, SEP],
    ]
    assert made.inputs["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1]]
    assert made.inputs["attention_mask"].tolist() == [[0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]]


def test_a_batch_is_as_long_as_its_longest(tokenizer: BertTokenizer, pairs: pa.Table) -> None:
    made = batches.collate(batches.encode(tokenizer, pairs, 16), np.array([1, 0]))
    assert made.inputs["input_ids"].tolist() == [
        [CLS, A, SEP, A + 3, SEP, 0],
        [CLS, A, A + 1, SEP, A + 2, SEP],
    ]
    assert made.inputs["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 1, 1]]
    assert made.inputs["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]
    assert made.labels.tolist() == [1, 0]
    assert (made.tokens, made.places, len(made)) == (11, 12, 2)


@pytest.mark.parametrize(("rows", "places"), [([0], 4), ([0, 2], 8), ([1], 9), ([3], 4)])
def test_a_length_is_rounded_up_but_not_beyond_the_longest_example(rows: list[int], places: int) -> None:
    made = batches.collate(lengthy([3, 9, 5, 4]), np.array(rows), multiple=4)
    assert made.inputs["input_ids"].shape == (len(rows), places)
    assert ("attention_mask" in made.inputs) == (made.tokens < made.places)


def test_without_padding_there_is_no_mask() -> None:
    made = batches.collate(lengthy([3, 5, 3]), np.array([0, 2]))
    assert set(made.inputs) == {"input_ids"}
    assert torch.equal(made.inputs["input_ids"], torch.tensor([[1, 1, 1], [3, 3, 3]]))


LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=400)


@settings(max_examples=50, deadline=None)
@given(LENGTHS, st.integers(1, 40), st.integers(0, 9))
def test_an_epoch_holds_every_example_once(lengths: list[int], size: int, seed: int) -> None:
    rows = list(batches.shuffled(np.array(lengths), size, np.random.default_rng(seed)))
    assert sorted(np.concatenate(rows).tolist()) == list(range(len(lengths)))
    assert sorted(map(len, rows), reverse=True)[:-1] == [size] * (len(rows) - 1)


@settings(max_examples=50, deadline=None)
@given(LENGTHS, st.integers(1, 40))
def test_predicting_holds_every_example_once_from_long_to_short(lengths: list[int], size: int) -> None:
    rows = np.concatenate(list(batches.by_length(np.array(lengths), size)))
    assert sorted(rows.tolist()) == list(range(len(lengths)))
    assert np.array(lengths)[rows].tolist() == sorted(lengths, reverse=True)


def test_the_seed_makes_the_order_and_epochs_differ() -> None:
    lengths = np.random.default_rng(0).integers(5, 50, 300)

    def epochs(seed: int) -> list[list[list[int]]]:
        random = np.random.default_rng(seed)
        return [[rows.tolist() for rows in batches.shuffled(lengths, 8, random)] for _ in range(2)]

    first, second = epochs(1)
    assert [first, second] == epochs(1)
    assert first != epochs(2)[0]
    assert {frozenset(rows) for rows in first} != {frozenset(rows) for rows in second}


def test_batches_of_like_length_need_little_padding() -> None:
    examples = lengthy(np.random.default_rng(0).integers(5, 100, 2000).tolist())

    def padding(rows: list[np.ndarray]) -> float:
        made = [batches.collate(examples, each) for each in rows]
        return 1 - sum(each.tokens for each in made) / sum(each.places for each in made)

    random = np.random.default_rng(0)
    alike = padding(list(batches.shuffled(examples.lengths, 16, random)))
    mixed = padding(np.array_split(random.permutation(2000), 125))
    assert alike < 0.05 < 0.4 < mixed
