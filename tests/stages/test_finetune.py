"""The finetune stage, from its config to a trial's folder."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers.models.auto.tokenization_auto import AutoTokenizer
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertModel

from pipeline.core.errors import UserError
from pipeline.models import load_model
from pipeline.stages.finetune import finetune

from .conftest import Configure, Told

RARE = "fewer than 5 selection rows of class not_entailment (3)"
CELL = ("task=rte", "model=bert-tiny", "ratio=0.5")


def trial(configured: Configure, out: Path, *overrides: str) -> tuple[dict[str, Any], Told]:
    log = Told()
    out.mkdir(parents=True, exist_ok=True)
    return finetune(configured("finetune", *overrides), out, log), log  # type: ignore[arg-type]


@pytest.mark.usefixtures("laboratory")
def test_a_trial_holds_weights_tokenizer_and_numbers(configured: Configure, tmp_path: Path) -> None:
    result, log = trial(configured, tmp_path / "out", *CELL)
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"} <= files
    assert not any(path.endswith((".bin", ".pt", ".pkl")) for path in files)
    assert (result["train_examples"], result["selection_examples"], result["steps"]) == (36, 8, 9)
    assert result["initialised"] == "classifier"
    assert (log.steps, log.total) == (9, 9)
    assert [step for step, _ in log.curve][-1] == 9
    assert len(log.curve) <= 10
    assert log.lines == result["warnings"] == [RARE]
    json.dumps(result, allow_nan=False)


@pytest.mark.usefixtures("laboratory")
def test_the_saved_trial_is_the_trained_model(configured: Configure, tmp_path: Path) -> None:
    trial(configured, tmp_path / "out", *CELL)
    start = load_model.load_pretrained(tmp_path / "models" / "bert-tiny").model.state_dict()
    end = load_model.load_finetuned(tmp_path / "out").model.state_dict()
    assert start.keys() == end.keys()
    for name in ("bert.embeddings.word_embeddings.weight", "bert.encoder.layer.1.output.dense.weight"):
        assert start[name].shape == end[name].shape
        assert not torch.equal(start[name], end[name])


@pytest.mark.usefixtures("laboratory")
def test_every_trial_starts_from_the_pretrained_weights(configured: Configure, tmp_path: Path) -> None:
    """Whatever ran before in the same process, the same seed gives the same bytes."""
    weights = []
    for ratio, out in (("0.5", "first"), ("1.0", "between"), ("0.5", "again")):
        trial(configured, tmp_path / out, "task=rte", "model=bert-tiny", f"ratio={ratio}")
        weights.append((tmp_path / out / "model.safetensors").read_bytes())
    assert weights[0] == weights[2] != weights[1]


@pytest.mark.usefixtures("laboratory")
@pytest.mark.parametrize("states", [10, None])
def test_texts_longer_than_the_model_takes_are_a_warning_and_shares_in_the_record(
    configured: Configure, tmp_path: Path, states: int | None
) -> None:
    """A model of 10 positions, of which the tokenizer knows or not; an example of the task has 11 tokens."""
    folder = tmp_path / "models" / "bert-tiny"
    config = BertConfig.from_pretrained(folder, max_position_embeddings=10)
    BertModel(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(folder, **({"model_max_length": states} if states else {})).save_pretrained(folder)
    result, log = trial(configured, tmp_path / "out", *CELL)
    assert result["steps"] == 9
    assert (
        log.lines
        == result["warnings"]
        == [
            RARE,
            "36 of 36 training rows are cut to 10 tokens (the model takes no more, max_length is 256): "
            "9.1% of all tokens are lost",
        ]
    )
    shares = result["truncated_train_rows_pct"], result["truncated_train_tokens_pct"]
    assert shares == (100.0, pytest.approx(100 / 11))


@pytest.mark.usefixtures("laboratory")
def test_seeds_differ(configured: Configure, tmp_path: Path) -> None:
    first, _ = trial(configured, tmp_path / "0", *CELL, "seed=0")
    second, _ = trial(configured, tmp_path / "1", *CELL, "seed=1")
    assert first["loss"] != second["loss"]


@pytest.mark.usefixtures("laboratory")
def test_the_cell_name_and_the_spelling_of_the_ratio_do_not_change_the_weights(
    configured: Configure, tmp_path: Path
) -> None:
    weights = []
    for number, words in enumerate((["ratio=1.0"], ["ratio=1"], ["ratio=1.0", "cell=renamed", "exploration=true"])):
        trial(configured, tmp_path / str(number), "task=rte", "model=bert-tiny", *words)
        weights.append((tmp_path / str(number) / "model.safetensors").read_bytes())
    assert len(set(weights)) == 1


@pytest.mark.usefixtures("laboratory")
@pytest.mark.parametrize(
    "other", [["task=wnli"], ["model=bert-mini"], ["ratio=1.0"], ["recipe=equal-steps", "recipe.steps=9"]]
)
def test_each_point_of_the_grid_has_its_own_head(configured: Configure, tmp_path: Path, other: list[str]) -> None:
    """Even where another name holds the same rows, weights or steps; the rate leaves the head as it was drawn."""
    shutil.copytree(tmp_path / "data" / "rte", tmp_path / "data" / "wnli")
    shutil.copytree(tmp_path / "models" / "bert-tiny", tmp_path / "models" / "bert-mini")
    heads = []
    for number, words in enumerate((CELL, (*CELL, *other))):
        by_group = {word.partition("=")[0]: word for word in (*words, "recipe.learning_rate=1e-12")}
        trial(configured, tmp_path / str(number), *by_group.values())
        heads.append(load_model.load_finetuned(tmp_path / str(number)).model.classifier.weight)
    assert (heads[0] - heads[1]).abs().max() > 0.001


@pytest.mark.usefixtures("laboratory")
def test_a_regression_is_trained_on_numbers(configured: Configure, tmp_path: Path) -> None:
    result, _ = trial(configured, tmp_path / "out", "task=stsb", "model=bert-tiny", "ratio=1.0")
    assert set(result) >= {"selection_pearson", "selection_spearmanr"}
    assert load_model.load_finetuned(tmp_path / "out").model.config.num_labels == 1


@pytest.mark.usefixtures("laboratory")
@pytest.mark.parametrize("ratio", [0.5, 1.0])
def test_equal_steps_are_equal_whatever_the_ratio(configured: Configure, tmp_path: Path, ratio: float) -> None:
    result, _ = trial(
        configured, tmp_path / "out", "task=rte", "model=bert-tiny", f"ratio={ratio}", "recipe=equal-steps",
        "recipe.steps=7",
    )  # fmt: skip
    assert result["steps"] == 7


@pytest.mark.usefixtures("laboratory")
def test_a_rate_of_the_command_wins_over_that_of_the_model(configured: Configure, tmp_path: Path) -> None:
    assert configured("finetune", *CELL).recipe.learning_rate == configured("finetune", *CELL).model.learning_rate
    result, log = trial(configured, tmp_path / "out", *CELL, "recipe.learning_rate=0.002")
    assert log.curve[-1][1]["learning_rate"] == pytest.approx(0.002 / (result["steps"] - 1))


def test_a_key_that_no_recipe_has_is_told(configured: Configure, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        trial(configured, tmp_path / "out", *CELL, "+recipe.epoch=5")
    assert str(error.value) == (
        "conf/recipe/standard.yaml: epoch: unknown key; did you mean 'epochs'? (allowed: batch_size, "
        "clip, epochs, evaluations, fractions, learning_rate, name, steps, warmup, weight_decay)"
    )


def test_a_mistake_in_the_recipe_is_found_before_anything_is_opened(configured: Configure, tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        trial(configured, tmp_path / "out", *CELL, "recipe.steps=5")
    assert str(error.value) == (
        "conf/recipe/standard.yaml: steps: got epochs and steps; "
        "give the budget in epochs or in steps and leave the other null"
    )


@pytest.mark.usefixtures("laboratory")
def test_the_saved_model_answers_with_the_classes_of_the_task(configured: Configure, tmp_path: Path) -> None:
    """Even if the checkpoint has names of as many classes of another task."""
    rewrite(tmp_path / "models" / "bert-tiny" / "config.json", id2label={"0": "yes", "1": "no"})
    trial(configured, tmp_path / "out", *CELL)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["id2label"] == {"0": "entailment", "1": "not_entailment"}
    assert config["label2id"] == {"entailment": 0, "not_entailment": 1}
    answer = transformers.pipeline("text-classification", str(tmp_path / "out"), device="cpu")("a b")
    assert answer[0]["label"] in config["label2id"]


@pytest.mark.usefixtures("laboratory")
def test_a_model_of_numbers_has_no_classes_of_an_earlier_task(configured: Configure, tmp_path: Path) -> None:
    rewrite(tmp_path / "models" / "bert-tiny" / "config.json", id2label={"0": "yes"}, num_labels=1)
    trial(configured, tmp_path / "out", "task=stsb", "model=bert-tiny", "ratio=0.5")
    assert json.loads((tmp_path / "out" / "config.json").read_text())["id2label"] == {"0": "LABEL_0"}


def rewrite(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
