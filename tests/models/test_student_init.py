"""How a student begins: what it has of its checkpoint, of its seed and of its teacher."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.core.errors import UserError
from pipeline.models import load_model, student_init

Checkpoint = Callable[..., Path]


@pytest.fixture
def teacher(tmp_path: Path) -> Callable[..., Path]:
    """Save a fine-tuned classifier of three classes into a folder and return the folder."""

    def written(layers: int = 4) -> Path:
        from transformers.models.bert.configuration_bert import BertConfig
        from transformers.models.bert.modeling_bert import BertForSequenceClassification
        from transformers.models.bert.tokenization_bert import BertTokenizer

        config = BertConfig(
            vocab_size=31, hidden_size=8, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=32, num_labels=3, classifier_dropout=0.25,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(11)
            model = BertForSequenceClassification(config)
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"zyxwvutsrqponmlkjihgfedcba"]
        load_model.save_classifier(
            model, BertTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}), tmp_path / "teacher"
        )
        return tmp_path / "teacher"

    return written


def create(how: str | int, student: Path, teacher: Path = Path("none"), seed: int = 0) -> load_model.LoadedClassifier:
    return student_init.create_student(how, student, teacher, 3, seed, regression=False)


def weights(loaded: load_model.LoadedClassifier) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = loaded.model.state_dict()
    return found


def test_a_pretrained_student_is_what_fine_tuning_begins_with(checkpoint: Checkpoint) -> None:
    folder = checkpoint()
    expected = weights(load_model.load_pretrained(folder, 3, seed=4))
    found = weights(create("pretrained", folder, seed=4))
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())


def test_a_student_from_scratch_has_the_shape_and_nothing_else_of_its_checkpoint(checkpoint: Checkpoint) -> None:
    folder = checkpoint()
    pretrained, scratch = (create(how, folder, seed=4) for how in ("pretrained", "scratch"))
    state = torch.get_rng_state()
    again, other = (create("scratch", folder, seed=seed) for seed in (4, 5))
    assert torch.equal(torch.get_rng_state(), state)
    for name, weight in weights(scratch).items():
        assert torch.equal(weight, weights(again)[name])
        if weight.ndim == 2:
            assert not torch.equal(weight, weights(other)[name])
            assert torch.equal(weight, weights(pretrained)[name]) == name.startswith("classifier")
    assert scratch.notes == load_model.LoadNotes(("bert", "classifier"), ())
    assert scratch.model.config.num_labels == 3
    assert not scratch.model.training
    assert scratch.tokenizer.get_vocab() == pretrained.tokenizer.get_vocab()


@pytest.mark.parametrize(("layers", "step", "kept"), [(4, 2, [1, 3]), (6, 3, [2, 5]), (5, 2, [1, 3]), (3, 3, [2])])
def test_every_kth_layer_of_the_teacher_with_all_that_is_around_them(
    teacher: Callable[..., Path], layers: int, step: int, kept: list[int]
) -> None:
    folder = teacher(layers)
    whole, part = load_model.load_finetuned(folder), create(step, Path("none"), folder)
    assert part.model.config.num_hidden_layers == len(part.model.bert.encoder.layer) == len(kept)
    source = weights(whole)
    for name, weight in weights(part).items():
        number = name.split(".")[3] if ".layer." in name else ""
        origin = name.replace(f".layer.{number}.", f".layer.{kept[int(number)]}.") if number else name
        assert torch.equal(weight, source[origin]), name
    assert part.tokenizer.get_vocab() == whole.tokenizer.get_vocab()
    assert part.model.config.classifier_dropout == 0.25


def test_a_student_of_the_teacher_s_layers_is_saved_and_opened_again(
    teacher: Callable[..., Path], tmp_path: Path
) -> None:
    part = create(2, Path("none"), teacher())
    load_model.save_classifier(part.model, part.tokenizer, tmp_path / "student")
    inputs: dict[str, Any] = dict(part.tokenizer("a b", "c", return_tensors="pt"))
    again = load_model.load_finetuned(tmp_path / "student", "eager").model
    assert torch.equal(part.model(**inputs).logits, again(**inputs).logits)


def test_more_than_the_teacher_s_layers_cannot_be_skipped(teacher: Callable[..., Path]) -> None:
    folder = teacher()
    with pytest.raises(UserError) as error:
        create(5, Path("none"), folder)
    assert str(error.value) == f"{folder}: start: every: got 5 for 4 layers; use at most 4"


def test_int8_layers_are_no_student(teacher: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = teacher()
    monkeypatch.setattr(student_init.quantised_layers, "get_int8_kind", lambda model: "int8-dynamic")
    with pytest.raises(UserError) as error:
        create(2, Path("none"), folder)
    assert str(error.value) == (
        f"{folder}: its weights are int8 and cannot be trained; name the teacher before that step"
    )
