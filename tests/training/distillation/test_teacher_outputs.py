"""A teacher is asked once: its answers are those that it would give again, kept in little room."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from transformers.models.bert.modeling_bert import BertForSequenceClassification
from transformers.models.bert.tokenization_bert import BertTokenizer
from transformers.models.distilbert.configuration_distilbert import DistilBertConfig
from transformers.models.distilbert.modeling_distilbert import DistilBertForSequenceClassification

from pipeline.core.errors import UserError
from pipeline.data import batches
from pipeline.data.batches import Examples
from pipeline.models import load_model
from pipeline.training.distillation import teacher_outputs
from pipeline.training.distillation.distillation_settings import (
    AttentionMatching,
    Distillation,
    HiddenMatching,
    LayerSelection,
)
from pipeline.training.predict import predict_logits

Bert = Callable[..., BertForSequenceClassification]
Make = Callable[..., Examples]

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
EVERYTHING = LayerSelection(states=(0, 2), scores=(1, 2), values=(2,))
CPU = torch.device("cpu")


@pytest.mark.parametrize("needs", [LayerSelection(), EVERYTHING], ids=["outputs", "everything"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_outputs_are_those_of_prediction(
    bert: Bert, examples: Make, tmp_path: Path, needs: LayerSelection, precision: str
) -> None:
    model, train = bert(hidden_dropout_prob=0.5).train(), examples(150)
    answers = teacher_outputs.run_teacher(model, train, needs, precision, tmp_path)
    assert answers.logits.dtype == np.float32
    assert np.array_equal(answers.logits, predict_logits(model, train, precision))
    assert model.training  # it was asked in evaluation mode and left in the mode it was in


def test_what_goes_on_inside_comes_back_for_any_rows(bert: Bert, examples: Make, tmp_path: Path) -> None:
    model, train = bert(hidden_size=48), examples(150)
    answers = teacher_outputs.run_teacher(model, train, EVERYTHING, "fp32", tmp_path)
    rows = np.array([70, 3, 149, 8])
    batch = batches.collate(train, rows, 4)
    length = batch.inputs["input_ids"].shape[1]
    found = answers.read(rows, length, CPU)
    with torch.no_grad():
        states = model(**batch.inputs, output_hidden_states=True).hidden_states
    last: Any = model.bert.encoder.layer[1]
    real = batch.inputs["attention_mask"][:, :, None]
    expected = {
        ("states", 0): states[0],
        ("states", 2): states[2],
        ("query", 1): model.bert.encoder.layer[0].attention.self.query(states[0]),
        ("key", 2): last.attention.self.key(states[1]),
        ("value", 2): last.attention.self.value(states[1]),
    }
    for part, tensor in expected.items():
        assert found[part].dtype == torch.float32
        torch.testing.assert_close(
            found[part], tensor.detach() * real, rtol=2**-11, atol=1e-5
        )  # half of float16's step
    assert set(found) == {*expected, ("key", 1), ("query", 2)}
    assert (answers.heads, answers.get_width("states", 2)) == ((2, 2), 48)


def test_asking_again_gives_the_same(bert: Bert, examples: Make, tmp_path: Path) -> None:
    model, train = bert(), examples(30)
    one, other = (teacher_outputs.run_teacher(model, train, EVERYTHING, "fp32", tmp_path) for _ in range(2))
    assert np.array_equal(one.logits, other.logits)
    for part, tensor in one.read(np.arange(30), 12, CPU).items():
        assert torch.equal(tensor, other.read(np.arange(30), 12, CPU)[part])


def test_no_file_is_left_behind(bert: Bert, examples: Make, tmp_path: Path) -> None:
    answers = teacher_outputs.run_teacher(bert(), examples(30), EVERYTHING, "fp32", tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert answers.read(np.arange(3), 12, CPU)["states", 2].abs().sum() > 0  # though it can be read


class Usage(NamedTuple):
    free: int


def test_a_full_disk_is_told_before_anything_is_written(
    bert: Bert, examples: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage(2**19))
    train = examples(600)
    needed = (
        len(train.tokens) * 2 * (32 * 2 + 2 * 32 * 2 + 32)
    )  # two states, two layers' queries and keys, one's values
    with pytest.raises(UserError) as error:
        teacher_outputs.run_teacher(bert(), train, EVERYTHING, "fp32", tmp_path)
    assert str(error.value) == (
        f"{tmp_path}: the teacher's states take {needed / 2**20:.0f} MiB and 0 MiB are free; "
        "match fewer layers (layers: last), or make room"
    )


def test_a_teacher_of_another_architecture_gives_its_outputs_only(examples: Make, tmp_path: Path) -> None:
    made = examples(20)
    train = Examples(made.tokens, None, made.starts, made.labels, made.pad)
    model = DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=40, dim=16, n_layers=1, n_heads=2, hidden_dim=32, max_position_embeddings=32)
    )
    answers = teacher_outputs.run_teacher(model, train, LayerSelection(), "fp32", tmp_path)
    assert np.array_equal(answers.logits, predict_logits(model, train, "fp32"))
    with pytest.raises(UserError, match=r"^model_type 'distilbert' has no layers like BERT's;"):
        teacher_outputs.run_teacher(model, train, EVERYTHING, "fp32", tmp_path)


@pytest.mark.usefixtures("fp32")
def test_seeds_that_one_trial_teaches_ask_it_once(bert: Bert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher_outputs.load_teacher_outputs.cache_clear()
    folder, file = tmp_path / "teacher", tmp_path / "train.parquet"
    model = bert(num_hidden_layers=4)
    load_model.save_classifier(model, BertTokenizer(vocab={piece: i for i, piece in enumerate(PIECES)}), folder)
    pq.write_table(pa.table({"text_a": ["a b", "c"] * 10, "text_b": ["d", "e f g"] * 10, "label": [0, 1] * 10}), file)
    settings = Distillation(
        alpha=0.5,
        temperature=2.0,
        hidden=HiddenMatching(weight=1.0, layers="uniform"),
        attention=AttentionMatching(weight=1.0, kind="minilm", layers="last"),
    )
    calls = itertools.count()
    ask = teacher_outputs.run_teacher
    monkeypatch.setattr(teacher_outputs, "run_teacher", lambda *given: (next(calls), ask(*given))[1])
    first = teacher_outputs.load_teacher_outputs(folder, file, 0.5, 16, settings, 2, tmp_path)
    assert teacher_outputs.load_teacher_outputs(folder, file, 0.5, 16, settings, 2, tmp_path) is first
    assert next(calls) == 1
    assert len(first.logits) == 10
    assert set(first.read(np.arange(2), 9, CPU)) == {
        ("states", 0), ("states", 2), ("states", 4), ("query", 4), ("key", 4), ("value", 4),
    }  # fmt: skip
    assert np.array_equal(first.logits, predict_logits(model, first.examples, "fp32"))
    teacher_outputs.load_teacher_outputs.cache_clear()
