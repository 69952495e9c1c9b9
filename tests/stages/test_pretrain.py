"""The pretrain stage, from a conf file to a folder of one shape, whatever the source."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from safetensors.numpy import save_file

from pipeline import paths
from pipeline.errors import UserError
from pipeline.stages.pretrain import pretrain

SHAPE = ["config.json", "model.safetensors", "source.json", "tokenizer.json", "tokenizer_config.json"]


class Told:
    """Keeps what a stage tells its log."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.shown: list[Path] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def artifact(self, path: Path) -> None:
        self.shown.append(path)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def files(folder: Path) -> Path:
    """Files in the shape of a checkpoint without a pooler; nothing here opens them as a model."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text("{}")
    tensors = {"embeddings.words": np.ones((3, 2), np.float32), "encoder.query": np.ones(4, np.float16)}
    save_file(tensors, folder / "model.safetensors")
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
        "parameters": 10, "types": ["F16", "F32"], "modules": {"embeddings": 1, "encoder": 1},
    }  # fmt: skip
    assert result == {"source": "mirror", "parameters": 10, "storage_bytes": size, "weights_sha256": digest}
    assert log.lines == ["no pooler among the weights: fine-tuning starts one from its seed"]
    assert log.shown == [out / "source.json"]


def test_what_a_source_has_to_tell_is_a_result_and_no_part_of_what_the_model_is(
    out: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def trained(path: str, out: Path, log: Told) -> dict[str, Any]:
        log.say(f"training on {path}")
        for file in files(tmp_path / "trained").iterdir():
            (out / file.name).write_bytes(file.read_bytes())
        return {"kind": "scratch", "id": "made-up", "revision": None, "mlm_loss": 1.5}

    trained.__module__ = "pipeline.models.sources"  # as if it stood there
    monkeypatch.setattr("pipeline.models.sources.directory", trained)
    cfg = configured("model=bert-tiny", "mirror=null")
    cfg.model.source = {"_target_": "pipeline.models.sources.directory", "path": "some/text"}
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
