"""Loading a checkpoint as a classifier: reproducible, with notes about missing and superfluous modules."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import AutoModel

from pipeline.core.errors import UserError
from pipeline.models import layer_surgery, load_model, quantised_layers
from pipeline.models.low_rank_layers import LowRankEmbedding, LowRankLinear

ROOT = Path(__file__).resolve().parents[2]
AGAIN = "run finetune again with the arguments of this trial"
MAKE = "run `python -m pipeline.stages.pretrain --multirun +sweep=once model=checkpoint`"
TOGETHER = f"{MAKE}, from a source of which config.json and model.safetensors belong together"


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    """The answers to three pairs, one of them cut."""
    texts = (["a b c", "d", "e f " * 30], ["a c", "x y z", "g"])
    inputs = tokenizer(*texts, padding=True, truncation=True, max_length=16, return_tensors="pt")
    with torch.inference_mode():
        return model.eval()(**inputs).logits


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def rewrite(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        load_model.load_pretrained(folder)
    return str(error.value)


def compressed(model: Any) -> Any:
    """Make a classifier share, lose a head and neurons, have factors and zeros."""
    first, second = model.bert.encoder.layer
    second.attention = first.attention
    layer_surgery.select_heads(first.attention, [1])
    layer_surgery.select_neurons(second.intermediate, second.output, range(4, 16))
    first.intermediate.dense = LowRankLinear(8, 16, 3, bias=True)
    model.bert.embeddings.word_embeddings = LowRankEmbedding(31, 8, 4, padding_idx=0)
    second.output.dense = torch.nn.Linear(12, 8)
    second.output.dense.weight.data[:, :9] = 0.0
    return model.eval()


def test_the_encoder_is_that_of_the_checkpoint_and_the_head_is_new(checkpoint: Any) -> None:
    folder = checkpoint()
    model, _, notes = load_model.load_pretrained(folder, labels=3)
    for name, tensor in weights(folder).items():
        assert torch.equal(model.bert.get_parameter(name), tensor)
    assert model.classifier.weight.shape == (3, 8)
    assert notes == load_model.LoadNotes(initialised=("classifier",), unused=())


def test_the_same_seed_draws_the_same_head_whatever_was_drawn_before(checkpoint: Any) -> None:
    folder = checkpoint(kind="without pooler")
    torch.manual_seed(1)
    one = load_model.load_pretrained(folder, seed=5).model.state_dict()
    torch.manual_seed(2)
    same = load_model.load_pretrained(folder, seed=5).model.state_dict()
    other = load_model.load_pretrained(folder, seed=6).model.state_dict()
    assert all(torch.equal(one[name], same[name]) for name in one)
    changed = {name for name in one if not torch.equal(one[name], other[name])}
    assert changed == {"bert.pooler.dense.weight", "classifier.weight"}


def test_loading_leaves_the_random_numbers_of_the_caller_alone(checkpoint: Any) -> None:
    folder = checkpoint()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    load_model.load_pretrained(folder)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize(
    ("kind", "initialised", "unused"),
    [
        ("without pooler", ("bert.pooler", "classifier"), ()),
        ("mlm", ("bert.pooler", "classifier"), ("cls.predictions",)),
        ("pretraining", ("classifier",), ("cls.predictions", "cls.seq_relationship")),
    ],
)
def test_a_missing_pooler_and_an_unused_head_are_said(
    checkpoint: Any, kind: str, initialised: tuple[str, ...], unused: tuple[str, ...]
) -> None:
    assert load_model.load_pretrained(checkpoint(kind=kind)).notes == load_model.LoadNotes(initialised, unused)


def test_nothing_else_is_printed(checkpoint: Any, capfd: pytest.CaptureFixture[str]) -> None:
    folder = checkpoint(kind="mlm")
    capfd.readouterr()
    load_model.load_pretrained(folder, labels=3)
    assert capfd.readouterr() == ("", "")


def test_weights_stored_in_half_precision_are_opened_in_fp32(checkpoint: Any) -> None:
    folder = checkpoint(half=True)
    model = load_model.load_pretrained(folder).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    stored = weights(folder)["embeddings.word_embeddings.weight"]
    assert stored.dtype == torch.float16
    assert torch.equal(model.bert.embeddings.word_embeddings.weight, stored.float())


def test_a_regression_has_one_output_and_the_loss_of_a_regression(checkpoint: Any) -> None:
    model, tokenizer, _ = load_model.load_pretrained(checkpoint(), labels=2, regression=True)
    inputs = tokenizer(["a", "b"], ["c", "d"], return_tensors="pt")
    wanted = torch.tensor([1.5, 4.0])
    answer = model.eval()(**inputs, labels=wanted)
    assert answer.logits.shape == (2, 1)
    assert answer.loss.item() == pytest.approx(((answer.logits[:, 0] - wanted) ** 2).mean().item())


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_the_attention_is_the_one_asked_for_and_gives_the_same_answers(checkpoint: Any, attention: str) -> None:
    folder = checkpoint()
    model, tokenizer, _ = load_model.load_pretrained(folder, attention=attention)
    assert model.config._attn_implementation == attention
    torch.testing.assert_close(logits(model, tokenizer), logits(*load_model.load_pretrained(folder)[:2]))


def test_a_saved_classifier_gives_the_same_logits_in_a_fresh_process(checkpoint: Any, tmp_path: Path) -> None:
    model, tokenizer, _ = load_model.load_pretrained(checkpoint(kind="mlm", half=True), seed=4)
    for parameter in model.parameters():
        parameter.data.mul_(1.5)
    expected_logits = {}
    for name in ("plain", "compressed"):
        model = compressed(model) if name == "compressed" else model
        load_model.save_classifier(model, tokenizer, tmp_path / name)
        expected_logits[name] = logits(model, tokenizer)
    program = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
from pathlib import Path
from safetensors.torch import save_file
from pipeline.models import load_model
from test_load_model import logits
folder = Path({str(tmp_path)!r})
opened = {{name: load_model.load_finetuned(folder / name, attention="eager") for name in ("plain", "compressed")}}
save_file({{name: logits(*found[:2]) for name, found in opened.items()}}, folder / "logits.safetensors")
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    again = load_file(tmp_path / "logits.safetensors")
    assert all(torch.equal(again[name], expected_logits[name]) for name in expected_logits)


def test_a_checkpoint_that_was_not_fine_tuned_is_no_saved_classifier(checkpoint: Any) -> None:
    folder = checkpoint(kind="without pooler")
    with pytest.raises(UserError) as error:
        load_model.load_finetuned(folder)
    assert str(error.value) == (f"{folder}: not a fine-tuned classifier, for it lacks bert.pooler, classifier; {AGAIN}")


def test_a_trial_that_is_not_whole_is_trained_again(checkpoint: Any) -> None:
    folder = checkpoint()
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError) as error:
        load_model.load_finetuned(folder)
    assert str(error.value) == f"{folder}: no model.safetensors; {AGAIN}"


def test_a_saved_classifier_with_another_head_than_its_config_is_refused(checkpoint: Any, tmp_path: Path) -> None:
    model, tokenizer, _ = load_model.load_pretrained(checkpoint(), labels=3)
    model.save_pretrained(tmp_path / "trial")
    tokenizer.save_pretrained(tmp_path / "trial")
    rewrite(tmp_path / "trial" / "config.json", id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
    with pytest.raises(UserError) as error:
        load_model.load_finetuned(tmp_path / "trial")
    assert str(error.value) == f"{tmp_path / 'trial'}: not a fine-tuned classifier, for it lacks classifier; {AGAIN}"


def test_a_head_of_another_number_of_labels_is_drawn_anew(checkpoint: Any, tmp_path: Path) -> None:
    model, tokenizer, _ = load_model.load_pretrained(checkpoint(), labels=3)
    model.save_pretrained(tmp_path / "three")
    tokenizer.save_pretrained(tmp_path / "three")
    loaded = load_model.load_pretrained(tmp_path / "three", labels=2)
    assert loaded.model.classifier.weight.shape == (2, 8)
    assert loaded.notes == load_model.LoadNotes(initialised=("classifier",), unused=("classifier",))


def test_a_head_of_the_same_number_of_labels_is_drawn_anew_as_well(checkpoint: Any, tmp_path: Path) -> None:
    folder = checkpoint()
    model, tokenizer, _ = load_model.load_pretrained(folder, seed=1)
    model.save_pretrained(tmp_path / "two")
    tokenizer.save_pretrained(tmp_path / "two")
    drawn = load_model.load_pretrained(tmp_path / "two", seed=2)
    assert drawn.notes == load_model.LoadNotes(initialised=("classifier",), unused=("classifier",))
    assert torch.equal(
        drawn.model.classifier.weight, load_model.load_pretrained(folder, seed=2).model.classifier.weight
    )


def test_a_checkpoint_without_a_part_of_its_encoder_is_refused(checkpoint: Any) -> None:
    folder = checkpoint()
    kept = {name: tensor for name, tensor in weights(folder).items() if "layer.1.attention.self" not in name}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    assert refusal(folder) == (
        f"{folder}: 6 tensors of the encoder are missing or of another shape, "
        f"the first is bert.encoder.layer.1.attention.self.key.bias; {TOGETHER}"
    )


def test_a_checkpoint_of_another_shape_than_its_config_is_refused(checkpoint: Any) -> None:
    folder = checkpoint()
    rewrite(folder / "config.json", intermediate_size=12)
    assert refusal(folder) == (
        f"{folder}: 6 tensors of the encoder are missing or of another shape, "
        f"the first is bert.encoder.layer.0.intermediate.dense.bias; {TOGETHER}"
    )


def test_a_pickle_in_place_of_safetensors_is_refused(checkpoint: Any) -> None:
    folder = checkpoint()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert refusal(folder) == f"{folder}: no model.safetensors; {MAKE}"


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_a_checkpoint_is_never_run(checkpoint: Any, file: str) -> None:
    folder = checkpoint()
    rewrite(folder / file, auto_map={"AutoConfig": "theirs.Config"})
    assert refusal(folder) == (
        f"{folder}: {file} requires custom code (auto_map), which is never run here; "
        "name a checkpoint of an architecture that transformers has itself"
    )


@pytest.mark.parametrize("kind", ["brt", "clip_text_model"])
def test_an_architecture_without_a_sequence_classifier_is_refused(checkpoint: Any, kind: str) -> None:
    folder = checkpoint()
    rewrite(folder / "config.json", model_type=kind)
    assert refusal(folder) == (
        f"{folder}: model_type {kind!r} of config.json has no sequence classifier in transformers; "
        "name another checkpoint in conf/model, such as a bert, roberta or modernbert"
    )


def test_a_tokenizer_with_more_pieces_than_the_model_is_refused(checkpoint: Any) -> None:
    folder = checkpoint()
    tokenizer = load_model.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["new", "newer"])
    tokenizer.save_pretrained(folder)
    assert refusal(folder) == (
        f"{folder}: the tokenizer knows 33 pieces, the model only 31; "
        "take the tokenizer that the model was trained with"
    )


@pytest.fixture
def trial(checkpoint: Any, tmp_path: Path) -> Path:
    """Return the folder of a compressed classifier that was saved."""
    model, tokenizer, _ = load_model.load_pretrained(checkpoint())
    load_model.save_classifier(compressed(model), tokenizer, tmp_path / "trial")
    return tmp_path / "trial"


def structure(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "config.json").read_text())["structure"]
    return content


def test_a_plain_classifier_is_written_as_transformers_writes_it(checkpoint: Any, tmp_path: Path) -> None:
    model, tokenizer, _ = load_model.load_pretrained(checkpoint())
    load_model.save_classifier(model, tokenizer, tmp_path / "ours")
    model.save_pretrained(tmp_path / "theirs")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "ours" / name).read_bytes() == (tmp_path / "theirs" / name).read_bytes()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_a_compressed_classifier_opens_as_it_was(trial: Path, attention: str) -> None:
    model, tokenizer, notes = load_model.load_finetuned(trial, attention=attention)
    assert notes == load_model.LoadNotes((), ())
    assert model.config._attn_implementation == attention
    assert not model.training
    assert not hasattr(model.config, "structure")
    first, second = model.bert.encoder.layer
    assert first.attention is second.attention
    assert (first.attention.self.num_attention_heads, second.intermediate.dense.out_features) == (1, 12)
    load_model.save_classifier(model, tokenizer, trial.parent / "again")
    for name in ("config.json", "model.safetensors"):
        assert (trial / name).read_bytes() == (trial.parent / "again" / name).read_bytes()


def test_what_is_tied_or_zero_is_not_stored(trial: Path) -> None:
    assert structure(trial) == {
        "heads": [1, 1],
        "width": [16, 12],
        "shared": [["bert.encoder.layer.1.attention", "bert.encoder.layer.0.attention"]],
        "ranks": {"bert.embeddings.word_embeddings": 4, "bert.encoder.layer.0.intermediate.dense": 3},
        "quantised": None,
    }
    stored = weights(trial)
    assert not any(name.startswith("bert.encoder.layer.1.attention") for name in stored)
    assert {name for name in stored if name.startswith("bert.encoder.layer.1.output.dense")} == {
        f"bert.encoder.layer.1.output.dense.{last}" for last in ("bias", "weight.mask", "weight.values")
    }


def test_a_weight_with_many_zeros_is_stored_as_a_mask_and_its_values(checkpoint: Any, tmp_path: Path) -> None:
    model, tokenizer, _ = load_model.load_pretrained(checkpoint(), labels=200)
    model.classifier.weight.data[10:] = 0.0
    load_model.save_classifier(model, tokenizer, tmp_path / "trial")
    stored = weights(tmp_path / "trial")
    assert "classifier.weight" not in stored
    mask = np.unpackbits(stored["classifier.weight.mask"].numpy()).reshape(200, 8)
    assert mask.sum(1).tolist() == [8] * 10 + [0] * 190
    assert torch.equal(stored["classifier.weight.values"], model.classifier.weight[:10].flatten())
    assert torch.equal(load_model.load_finetuned(tmp_path / "trial").model.classifier.weight, model.classifier.weight)


def test_a_compressed_checkpoint_can_be_fine_tuned_with_a_new_head(trial: Path) -> None:
    model, _, notes = load_model.load_pretrained(trial, labels=3, seed=1)
    assert notes == load_model.LoadNotes(initialised=("classifier",), unused=("classifier",))
    assert model.classifier.weight.shape == (3, 8)
    assert model.bert.encoder.layer[0].attention is model.bert.encoder.layer[1].attention


@pytest.mark.parametrize("kind", [quantised_layers.DYNAMIC, quantised_layers.WEIGHT_ONLY])
def test_int8_weights_open_as_they_were(trial: Path, tmp_path: Path, kind: str) -> None:
    model, tokenizer, _ = load_model.load_finetuned(trial, attention="eager")
    quantised_layers.convert_to_int8(model, kind)
    load_model.save_classifier(model, tokenizer, tmp_path / "int8")
    assert structure(tmp_path / "int8")["quantised"] == kind
    again = load_model.load_finetuned(tmp_path / "int8", attention="eager").model
    assert torch.equal(logits(again, tokenizer), logits(model, tokenizer))
    assert again.bert.encoder.layer[0].attention is again.bert.encoder.layer[1].attention
    kept = {
        name: tensor for name, tensor in weights(tmp_path / "int8").items() if "output.dense.weight.scale" not in name
    }
    save_file(kept, tmp_path / "int8" / "model.safetensors")
    with pytest.raises(UserError) as error:
        load_model.load_finetuned(tmp_path / "int8")
    assert str(error.value) == (
        f"{tmp_path / 'int8'}: structure of config.json and model.safetensors: "
        f"bert.encoder.layer.0.attention.output.dense.weight.scale of the int8 weights is missing; {AGAIN}"
    )


LOST = "tensors of the encoder are missing or of another shape, the first is bert.encoder.layer"
BELONG = f"{AGAIN}, from a source of which config.json and model.safetensors belong together"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": [2, 2]}, f"7 {LOST}.0.attention.output.dense.weight; {BELONG}"),
        ({"width": None}, f"3 {LOST}.1.intermediate.dense.bias; {BELONG}"),
        ({"shared": []}, f"10 {LOST}.1.attention.output.LayerNorm.bias; {BELONG}"),
        (
            {"ranks": {"bert.embeddings.word_embeddings": 4}},
            "3 tensors have no place in the structure of config.json, the first is "
            f"bert.encoder.layer.0.intermediate.dense.0.weight; {AGAIN}",
        ),
        (
            {"heads": [1, 1, 1]},
            "structure of config.json and model.safetensors: heads are [1, 1, 1], for 2 layers of at most 2; " + AGAIN,
        ),
        (
            {"quantised": "int4"},
            "structure of config.json and model.safetensors: quantised that is none of int8-dynamic, int8-weight-only; "
            + AGAIN,
        ),
    ],
)
def test_a_structure_that_does_not_fit_the_weights_is_refused(
    trial: Path, changes: dict[str, Any], message: str
) -> None:
    rewrite(trial / "config.json", structure=structure(trial) | changes)
    with pytest.raises(UserError) as error:
        load_model.load_finetuned(trial)
    assert str(error.value) == f"{trial}: {message}"


def test_a_mask_of_another_weight_is_refused(checkpoint: Any, tmp_path: Path) -> None:
    model, tokenizer, _ = load_model.load_pretrained(checkpoint(), labels=200)
    model.classifier.weight.data[10:] = 0.0
    load_model.save_classifier(model, tokenizer, tmp_path / "trial")
    stored = weights(tmp_path / "trial")
    save_file(
        stored | {"classifier.weight.mask": stored["classifier.weight.mask"] * 0},
        tmp_path / "trial" / "model.safetensors",
    )
    with pytest.raises(UserError) as error:
        load_model.load_finetuned(tmp_path / "trial")
    assert str(error.value) == f"{tmp_path / 'trial'}: not a fine-tuned classifier, for it lacks classifier; {AGAIN}"


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "initialised", "unused"),
    [
        ("all-MiniLM-L6-v2", ("classifier",), ()),
        ("paraphrase-MiniLM-L3-v2", ("bert.pooler", "classifier"), ()),
        ("bert-tiny-splade", ("bert.pooler", "classifier"), ("cls.predictions",)),
    ],
)
def test_real_checkpoints_are_opened(
    shared: Path, name: str, initialised: tuple[str, ...], unused: tuple[str, ...]
) -> None:
    model, tokenizer, notes = load_model.load_pretrained(shared / "models" / name)
    assert notes == load_model.LoadNotes(initialised, unused)
    assert next(model.parameters()).dtype == torch.float32
    assert logits(model, tokenizer).isfinite().all()
    assert tokenizer.convert_ids_to_tokens(tokenizer("Hello, worlds!")["input_ids"]) == [
        "[CLS]", "hello", ",", "worlds", "!", "[SEP]",
    ]  # fmt: skip


SMALL = {"vocab_size": 31, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
FAMILIES = {
    "distilbert": ({"vocab_size": 31, "dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 16}, "pre_classifier"),
    "albert": (SMALL | {"embedding_size": 4}, "classifier"),
    "roberta": (SMALL | {"max_position_embeddings": 40}, "classifier.dense"),
    "electra": (SMALL | {"embedding_size": 8}, "classifier.dense"),
    "deberta-v2": (SMALL, "pooler.dense"),
    "modernbert": (SMALL | {"pad_token_id": 0}, "head.dense"),
    "mpnet": (SMALL | {"max_position_embeddings": 40}, "classifier.dense"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_other_families_are_opened_with_their_own_heads(checkpoint: Any, family: str) -> None:
    folder = checkpoint()
    settings, head = FAMILIES[family]
    config = AutoConfig.for_model(family, **settings)
    AutoModel.from_config(config).save_pretrained(folder)
    model, tokenizer, notes = load_model.load_pretrained(folder, labels=3)
    assert head in notes.initialised
    assert set(notes.initialised) <= {head, "classifier", "classifier.out_proj", "head.norm"}
    stored = weights(folder)
    assert stored
    kept = {name: tensor for name, tensor in model.base_model.state_dict().items() if name in stored}
    assert all(torch.equal(tensor, stored[name]) for name, tensor in kept.items())
    assert len(kept) >= len(stored) - 2
    load_model.save_classifier(model, tokenizer, folder / "trial")
    again = load_model.load_finetuned(folder / "trial")
    torch.testing.assert_close(logits(again.model, again.tokenizer), logits(model, tokenizer))


def unfitting(folder: Path, **tensors: torch.Tensor) -> str:
    """Add tensors to a checkpoint and return why it is refused then."""
    save_file(weights(folder) | tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return refusal(folder)


@pytest.mark.parametrize(("kind", "prefix"), [("plain", ""), ("mlm", "bert.")])
def test_relative_positions_that_no_longer_have_a_place_are_refused(checkpoint: Any, kind: str, prefix: str) -> None:
    folder = checkpoint(kind=kind)
    name = f"{prefix}encoder.layer.0.attention.self.distance_embedding.weight"
    assert unfitting(folder, **{name: torch.ones(63, 4)}) == (
        f"{folder}: 1 tensors of the encoder in model.safetensors have no place in the model of config.json, the first "
        f"is {name}; correct config.json, such as its number of layers, or name a checkpoint in conf/model that "
        "transformers opens completely"
    )


def test_a_config_of_fewer_layers_than_the_weights_is_refused(checkpoint: Any) -> None:
    folder = checkpoint(kind="mlm")
    rewrite(folder / "config.json", num_hidden_layers=1)
    assert refusal(folder).startswith(
        f"{folder}: 16 tensors of the encoder in model.safetensors have no place in the model of config.json, the "
        "first is bert.encoder.layer.1.attention.output.LayerNorm.bias; "
    )


def test_buffers_of_integers_and_a_pooler_that_is_not_read_may_be_left_out(checkpoint: Any) -> None:
    folder = checkpoint()
    more = {"embeddings.position_ids": torch.arange(32), "encoder.places": torch.arange(4)}
    save_file(weights(folder) | more, folder / "model.safetensors", metadata={"format": "pt"})
    load_model.load_pretrained(folder)
    config = AutoConfig.for_model("roberta", **SMALL, max_position_embeddings=40)
    AutoModel.from_config(config, add_pooling_layer=True).save_pretrained(folder)
    assert load_model.load_pretrained(folder).notes.unused == ("pooler.dense",)


@pytest.mark.parametrize("family", ["gpt2", "llama", "bart", "t5"])
def test_a_decoder_is_refused(checkpoint: Any, family: str) -> None:
    folder = checkpoint()
    (folder / "config.json").write_text(json.dumps({"model_type": family}))
    assert refusal(folder) == (
        f"{folder}: model_type: got {family!r} in config.json, which is a decoder; only encoders are supported: name "
        "another checkpoint in conf/model, such as a bert, roberta or modernbert"
    )


def test_an_encoder_that_is_configured_as_a_decoder_is_refused(checkpoint: Any) -> None:
    folder = checkpoint(is_decoder=True)
    assert refusal(folder) == (
        f"{folder}: is_decoder of config.json: got true for a bert, whose classifier would read only from left to "
        "right; write is_decoder: false if the weights are those of an encoder, or name another checkpoint"
    )


def test_a_tokenizer_without_padding_is_refused(checkpoint: Any) -> None:
    folder = checkpoint()
    rewrite(folder / "tokenizer_config.json", pad_token=None, tokenizer_class="PreTrainedTokenizerFast")
    assert refusal(folder) == (
        f"{folder}: the tokenizer has no padding token; name the one that the model was trained with as pad_token in "
        "tokenizer_config.json"
    )


def test_the_names_of_the_classes_replace_those_of_the_checkpoint(checkpoint: Any, tmp_path: Path) -> None:
    folder = checkpoint()
    rewrite(folder / "config.json", id2label={"0": "entailment", "1": "neutral"}, label2id={"entailment": 0})
    for number, (labels, names) in enumerate(((["bad", "good"], ["bad", "good"]), (2, ["LABEL_0", "LABEL_1"]))):
        model, tokenizer, _ = load_model.load_pretrained(folder, labels)
        load_model.save_classifier(compressed(model), tokenizer, tmp_path / str(number))
        config = load_model.load_finetuned(tmp_path / str(number)).model.config
        assert config.id2label == dict(enumerate(names))
        assert config.label2id == {name: number for number, name in enumerate(names)}


def test_a_saved_tokenizer_returns_what_the_model_takes(checkpoint: Any, tmp_path: Path) -> None:
    """Some classes of tokenizers give a BERT no segments, some give a DistilBERT segments that it does not take."""
    folder = checkpoint()
    rewrite(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    assert "token_type_ids" not in load_model.AutoTokenizer.from_pretrained(folder)("a", "b")
    model, tokenizer, _ = load_model.load_pretrained(folder)
    load_model.save_classifier(model, tokenizer, tmp_path / "bert")
    assert load_model.AutoTokenizer.from_pretrained(tmp_path / "bert")("a", "b")["token_type_ids"] == [0, 0, 0, 1, 1]

    config = AutoConfig.for_model("distilbert", **FAMILIES["distilbert"][0])
    AutoModel.from_config(config).save_pretrained(folder)
    rewrite(folder / "tokenizer_config.json", tokenizer_class="BertTokenizer")
    model, tokenizer, _ = load_model.load_pretrained(folder)
    load_model.save_classifier(model, tokenizer, tmp_path / "distilbert")
    assert set(load_model.AutoTokenizer.from_pretrained(tmp_path / "distilbert")("a", "b")) == {
        "input_ids",
        "attention_mask",
    }


def test_a_value_of_another_kind_in_config_json_is_refused(checkpoint: Any) -> None:
    folder = checkpoint()
    rewrite(folder / "config.json", hidden_size="wide")
    assert refusal(folder) == (
        f"{folder}: config.json: Field 'hidden_size' expected int, got str (value: 'wide'); correct it, or {MAKE}"
    )
