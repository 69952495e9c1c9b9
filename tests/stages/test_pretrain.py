"""The pretrain stage, from a conf file to a folder of one shape, whatever the source."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertModel
from transformers.models.bert.tokenization_bert import BertTokenizer
from transformers.models.convbert.configuration_convbert import ConvBertConfig
from transformers.models.convbert.modeling_convbert import ConvBertModel

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.stages.pretrain import pretrain

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
PARAMETERS = 8 * (31 + 32 + 2 + 2) + 4 * 8 * 9 + 4 * 8 + 8 * 16 * 2 + 16 + 8  # tables and norm; one layer
SHAPE = ["config.json", "model.safetensors", "source.json", "tokenizer.json", "tokenizer_config.json"]


class Told:
    """Keeps what a stage tells its log."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.shown: list[Path] = []

    def print_line(self, text: str) -> None:
        self.lines.append(text)

    def log_artifact(self, path: Path) -> None:
        self.shown.append(path)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def files(folder: Path, **settings: Any) -> Path:
    """Write a BERT without a pooler, some of it in half precision."""
    config = BertConfig(
        vocab_size=len(PIECES), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=32, **settings,
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False)
    model.encoder.half()
    model.save_pretrained(folder)
    BertTokenizer(vocab={piece: i for i, piece in enumerate(PIECES)}).save_pretrained(folder)
    return folder


def configured(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        cfg = compose("pretrain", list(overrides))
    OmegaConf.resolve(cfg)
    return cfg


def test_a_model_of_the_mirror_takes_the_shape_and_says_what_it_is(out: Path, tmp_path: Path) -> None:
    folder = files(tmp_path / "mirror" / "models" / "bert-tiny")
    log = Told()
    result = pretrain(configured("model=bert-tiny", f"mirror={tmp_path / 'mirror'}"), out, log)  # type: ignore[arg-type]
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    size = (folder / "model.safetensors").stat().st_size
    assert sorted(path.name for path in out.iterdir()) == SHAPE
    assert json.loads((out / "source.json").read_text()) == {
        "kind": "mirror", "id": "models/bert-tiny", "revision": None, "sha256": digest, "bytes": size,
        "parameters": PARAMETERS, "types": ["F16", "F32"], "modules": {"embeddings": 5, "encoder": 16},
    }  # fmt: skip
    assert result == {"source": "mirror", "parameters": PARAMETERS, "storage_bytes": size, "weights_sha256": digest}
    assert log.lines == ["no pooler among the weights: fine-tuning starts one from its seed"]
    assert log.shown == [out / "source.json"]


def test_what_a_source_has_to_tell_is_a_result_and_no_part_of_what_the_model_is(
    out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def trained(path: str, out: Path, log: Told) -> dict[str, Any]:
        log.print_line(f"training on {path}")
        for file in files(tmp_path / "trained").iterdir():
            (out / file.name).write_bytes(file.read_bytes())
        return {"kind": "scratch", "id": "made-up", "revision": None, "mlm_loss": 1.5}

    trained.__module__ = "pipeline.models.checkpoint_sources"  # as if it stood there
    monkeypatch.setattr("pipeline.models.checkpoint_sources.directory", trained)
    cfg = configured("model=bert-tiny", "mirror=null")
    cfg.model.source = {"_target_": "pipeline.models.checkpoint_sources.directory", "path": "some/text"}
    log = Told()
    result = pretrain(cfg, out, log)  # type: ignore[arg-type]
    assert (result["source"], result["mlm_loss"]) == ("scratch", 1.5)
    assert "mlm_loss" not in json.loads((out / "source.json").read_text())
    assert log.lines[0] == "training on some/text"


def test_a_model_without_mirror_and_hub_ends_in_one_line(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    with pytest.raises(UserError) as error:
        pretrain(configured("model=bert-tiny", "mirror=null"), out, Told())  # type: ignore[arg-type]
    assert str(error.value) == (
        "google/bert_uncased_L-2_H-128_A-2 at 30b0a37ccaaa: nothing came from the Hub "
        "(OSError: Name or service not known); "
        "no mirror is named; put models/bert-tiny/ into a folder that LAB_MIRROR names, or go online"
    )


def test_any_encoder_is_named_by_its_id_on_the_command_line() -> None:
    words = ("model.name=mine", "model.source.repo=someone/encoder", "model.source.revision=0123abc")
    cfg = configured("model=bert-base", *words)
    assert (cfg.cell, cfg.model.source.repo, cfg.model.source.revision) == ("mine", "someone/encoder", "0123abc")


def refusal(out: Path, folder: Path) -> str:
    cfg = configured("model=bert-tiny", "mirror=null")
    cfg.model.source = {"_target_": "pipeline.models.checkpoint_sources.directory", "path": str(folder)}
    with pytest.raises(UserError) as error:
        pretrain(cfg, out, Told())  # type: ignore[arg-type]
    return str(error.value)


WHERE = "conf/model/bert-tiny.yaml: source"


def test_a_checkpoint_that_no_classifier_can_be_made_of_is_refused_before_anything_is_trained(
    out: Path, tmp_path: Path
) -> None:
    assert refusal(out, files(tmp_path / "decoder", is_decoder=True)) == (
        f"{WHERE}: is_decoder of config.json: got true for a bert, whose classifier would read only from left to "
        "right; write is_decoder: false if the weights are those of an encoder, or name another checkpoint"
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_family_whose_answers_depend_on_padding_is_refused_with_the_difference(out: Path, tmp_path: Path) -> None:
    folder = files(tmp_path / "convbert")
    config = ConvBertConfig(
        vocab_size=len(PIECES), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, embedding_size=16, head_ratio=1, conv_kernel_size=3, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    ConvBertModel(config).save_pretrained(folder)
    assert re.fullmatch(
        WHERE
        + r": padding changes the answers of this convbert: logits of a row alone and in a padded batch differ by "
        r"0\.\d+, above 0\.0001; name a checkpoint of another family in conf/model",
        refusal(out, folder),
    )
