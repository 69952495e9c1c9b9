"""Prepared tasks and a random checkpoint, laid out where the stages look for them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertModel
from transformers.models.bert.tokenization_bert import BertTokenizer

from pipeline import plan
from pipeline.core import checksums, paths
from pipeline.evaluation.cost import memory
from pipeline.execution import provenance
from pipeline.stages.finetune import finetune
from pipeline.tasks import prepare_task, task_config
from pipeline.training.checkpoints import Checkpoint

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
Configure = Callable[..., DictConfig]


class Told:
    """Keeps what a stage tells its log."""

    def __init__(self) -> None:
        self.curve: list[tuple[int, dict[str, float]]] = []
        self.lines: list[str] = []
        self.steps = self.total = 0

    def log_metrics(self, step: int, values: dict[str, float]) -> None:
        self.curve.append((step, values))

    def open_checkpoint(self, name: str = "training", ends: bool = False) -> Checkpoint:
        return Checkpoint()

    def log_artifact(self, path: Path) -> None:
        assert path.exists()

    def print_line(self, text: str) -> None:
        self.lines.append(text)

    def open_progress(self, total: int, unit: str = "step") -> "Told":
        self.total = total
        return self

    def update(self, count: int = 1) -> None:
        self.steps += count

    def __enter__(self) -> "Told":
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def configured() -> Configure:
    """Compose the config of a stage."""

    plan.register_resolvers()

    def compose_stage(verb: str, *overrides: str) -> DictConfig:
        with initialize_config_dir(str(paths.CONF), version_base="1.3"):
            cfg = provenance.merge_source_config(compose(verb, list(overrides)))
        OmegaConf.resolve(cfg)
        return cfg

    return compose_stage


@pytest.fixture(autouse=True)
def memory_in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure memory here: a process of its own imports torch anew, some seconds each."""
    monkeypatch.setattr(memory, "apart", memory.phases)


@pytest.fixture
def laboratory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, configured: Configure) -> Path:
    """A root with rte (pairs of letters, alike or not) and stsb (how many they share), and bert-tiny at random."""
    for name in ("rte", "stsb"):
        conf: Any = OmegaConf.to_container(configured("prepare", f"task={name}").task)
        train = made_up(80, name)
        counts = [train.num_rows] if conf["labels"] is None else np.bincount(train["label"].to_numpy()).tolist()
        conf["train_counts"] = counts
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        prepare_task.prepare(task_config.load_task(conf), {"train": train, "validation": made_up(20, name)}, {}, folder)
    config = BertConfig(
        vocab_size=len(PIECES), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32,
    )  # fmt: skip
    torch.manual_seed(0)
    BertModel(config).save_pretrained(tmp_path / "models" / "bert-tiny")
    BertTokenizer(vocab={piece: i for i, piece in enumerate(PIECES)}).save_pretrained(tmp_path / "models" / "bert-tiny")
    for made in ("data/rte", "data/stsb", "models/bert-tiny"):
        checksums.write_checksums(tmp_path / made)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


def done(work: Callable[..., dict[str, Any]], cfg: DictConfig) -> str:
    """Run a trial into its place, with the records that the frame would write; return what names it as a source."""
    verb = work.__name__
    out = paths.get_trial_dir(verb, cfg.cell, cfg.seed, exploration=cfg.exploration)
    out.mkdir(parents=True)
    result = work(cfg, out, Told())
    (out / "trial.json").write_text(json.dumps(result, allow_nan=False))
    OmegaConf.save(cfg, out / "config.yaml")
    checksums.write_checksums(out)
    return f"exploration/{verb}/{cfg.cell}"


@pytest.fixture
def teacher(laboratory: Path, configured: Configure) -> str:
    """A classifier that was fine-tuned on rte."""
    return done(finetune, configured("finetune", "task=rte", "model=bert-tiny", "ratio=0.5"))


def made_up(count: int, task: str) -> pa.Table:
    """Return rows of letters under GLUE's column names."""
    random = np.random.default_rng(count)
    first, second = (random.choice(list("abcdefgh"), (count, 4)) for _ in range(2))
    shared = (first == second).sum(1)
    labels = (shared * 1.25).tolist() if task == "stsb" else (shared > 0).astype(int).tolist()
    return pa.table(
        {
            "sentence1": [" ".join(row) for row in first],
            "sentence2": [" ".join(row) for row in second],
            "label": labels,
            "idx": list(range(count)),
        }
    )
