"""Pre-training from scratch: small runs that must learn, repeat themselves, and be read by what comes after."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers.models.bert.modeling_bert import BertForPreTraining

from pipeline.core.errors import UserError
from pipeline.data import pretraining_corpus
from pipeline.models import checkpoint_sources, load_model
from pipeline.models import pretraining_model as objective
from pipeline.system import hardware
from pipeline.training import pretrain_model
from pipeline.training.checkpoints import Checkpoint
from pipeline.training.pretraining_batches import (
    CLS,
    MASK,
    PAD,
    SEP,
    PretrainingBatch,
    PretrainingBatches,
    PretrainingSettings,
)

TINY: dict[str, Any] = {
    "layers": 1, "hidden": 32, "heads": 2, "vocabulary": 400, "corpus": {"topics": 120, "seed": 0}, "steps": 60,
    "batch": 16, "learning_rate": 3.0e-3, "near": [0.2, 0.8], "masking": 0.2, "short": 16, "short_share": 0.5,
    "longest": 64, "seed": 0,
}  # fmt: skip


class Silent:
    """Keeps the points of the curves."""

    def __init__(self, checkpoint: Checkpoint | None = None) -> None:
        self.points: list[tuple[int, dict[str, float]]] = []
        self.kept = checkpoint or Checkpoint()

    def open_checkpoint(self, name: str = "training") -> Checkpoint:
        return self.kept

    def log_metrics(self, step: int, values: dict[str, float]) -> None:
        self.points.append((step, values))

    def open_progress(self, total: int, unit: str = "step") -> "Silent":
        return self

    def __enter__(self) -> "Silent":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, count: int = 1) -> None:
        pass


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    pretrain_model.train_from_scratch(out, Silent(), **TINY)
    return out


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_model_and_batches_go_to_the_device_of_the_machine_and_the_model_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The CPU by another name stands in for a GPU."""
    moved: list[torch.device] = []
    model_to, batch_to = BertForPreTraining.to, PretrainingBatch.to
    monkeypatch.setattr(hardware, "get_device", lambda: torch.device("cpu", 0))
    monkeypatch.setattr(BertForPreTraining, "to", lambda model, at: moved.append(at) or model_to(model, at))
    monkeypatch.setattr(PretrainingBatch, "to", lambda batch, at: moved.append(at) or batch_to(batch, at))
    pretrain_model.train_from_scratch(tmp_path, Silent(), **TINY | {"steps": 2})
    assert moved == [torch.device("cpu", 0)] * 3 + ["cpu"]


def test_a_loss_that_is_no_number_stops_the_run_at_the_next_point_of_the_curves(tmp_path: Path):
    with pytest.raises(UserError) as caught:
        pretrain_model.train_from_scratch(tmp_path, Silent(), **TINY | {"steps": 200, "learning_rate": 1e30})
    assert re.fullmatch(r"the loss is nan at step \d+ of 200; lower source.learning_rate \(1e\+30\)", str(caught.value))
    assert list(tmp_path.iterdir()) == []


def test_a_short_run_lowers_the_loss(tmp_path: Path):
    log = Silent()
    reached = pretrain_model.train_from_scratch(tmp_path, log, **TINY | {"steps": 300, "short_share": 1.0})
    losses = [point["mlm_loss"] for _, point in log.points]
    assert [step for step, _ in log.points] == [100, 200, 300]
    assert losses[0] > losses[1] > losses[2] == reached["mlm_loss"]
    assert losses[2] < np.log(250) - 1  # nats, of a uniform guess among the corpus's words


def test_the_same_seed_gives_the_same_bytes(trained: Path, tmp_path: Path):
    told = pretrain_model.train_from_scratch(tmp_path, Silent(), **TINY)
    assert told["pretrain_seconds"] > 0
    for name in ("model.safetensors", "tokenizer.json", "config.json", "pretraining.json"):
        assert digest(tmp_path / name) == digest(trained / name)


def test_what_is_left_opens_as_a_classifier_with_the_trained_encoder(trained: Path):
    model, tokenizer, notes = load_model.load_pretrained(trained)
    assert notes.initialised == ("classifier",)
    assert model.dtype == torch.float32
    ids = tokenizer("Anna met Peter.", "Peter was met by Anna.")["input_ids"]
    assert ids[0] == CLS
    assert ids.count(SEP) == 2
    assert tokenizer.mask_token_id == MASK
    assert tokenizer.pad_token_id == PAD
    assert tokenizer.unk_token_id not in ids


def test_weights_are_stored_in_half_precision(trained: Path):
    assert checkpoint_sources.read_weights(trained)["types"] == ["F16"]


def test_a_run_tells_what_made_it(trained: Path):
    told = json.loads((trained / "pretraining.json").read_text())
    documents = pretraining_corpus.read(**TINY["corpus"])
    assert told["kind"] == "scratch"
    assert told["steps"] == 60
    assert told["corpus_sha256"] == hashlib.sha256(json.dumps(documents).encode()).hexdigest()
    assert set(pretrain_model.MEASURES) < set(told)
    assert told["settings"] == TINY
    assert told["machine"]["torch"] == torch.__version__


def test_no_steps_leave_the_initial_weights(trained: Path, tmp_path: Path):
    told = pretrain_model.train_from_scratch(tmp_path, Silent(), **TINY | {"steps": 0})
    assert told["steps"] == 0
    assert not set(pretrain_model.MEASURES) & set(told)
    left, config = load_file(tmp_path / "model.safetensors"), json.loads((tmp_path / "config.json").read_text())
    initial = objective.create_model(1, 32, 2, config["vocab_size"], 64, seed=0).half().state_dict()
    assert left.keys() <= initial.keys()
    assert all(torch.equal(tensor, initial[name]) for name, tensor in left.items())
    assert digest(tmp_path / "model.safetensors") != digest(trained / "model.safetensors")


def test_batches_hold_two_segments_and_short_sentences_come_first():
    topics = pretraining_corpus.read(topics=60, seed=0)
    pieces = pretrain_model.train_tokenizer(topics, 400)
    regime = PretrainingSettings(40, 8, 1e-3, (0.2, 0.8), 0.2, 12, 0.5, 64)
    drawn = list(PretrainingBatches(pretrain_model.encode_topics(topics, pieces), regime, 400, seed=0).batches())
    assert len(drawn) == 40
    for batch in drawn:
        tokens, types, attended = (batch.inputs[name] for name in ("input_ids", "token_type_ids", "attention_mask"))
        assert (tokens[:, 0] == CLS).all()
        assert ((tokens == SEP).sum(1) == 2).all()
        assert ((tokens == SEP) & (types == 1)).sum(1).tolist() == [1] * 8
        assert (tokens[attended == 0] == PAD).all()
    widths = [batch.inputs["input_ids"].shape[1] for batch in drawn]
    assert max(widths[:20]) <= 2 * 12 + 3 < max(widths[20:])


def test_the_pace_rises_over_the_warm_up_and_falls_to_zero():
    paces = [pretrain_model.compute_pretraining_rate(step, 4000) for step in range(4001)]
    assert paces[:201] == sorted(paces[:201])
    assert paces[200:] == sorted(paces[200:], reverse=True)
    assert max(paces) == 1
    assert paces[4000] == 0


def test_a_long_pair_is_cut_to_the_longest(tmp_path: Path):
    (tmp_path / "long.txt").write_text("\n\n".join(["a b c d e f g h i j " * 9 + "\nk l m n o p"] * 3))
    told = TINY | {"corpus": {"text": str(tmp_path / "long.txt")}, "longest": 21, "short_share": 0.0, "steps": 2}
    pretrain_model.train_from_scratch(tmp_path, Silent(), **told)
    assert json.loads((tmp_path / "config.json").read_text())["max_position_embeddings"] == 21


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"corpus": 2000}, "source.corpus: got 2000; give by name: topics, seed, text"),
        (
            {"corpus": {"topic": 2000}},
            "source.corpus: topic: not an argument of read; did you mean 'topics'? (allowed: seed, text, topics)",
        ),
        ({"heads": 0}, "source.heads: got 0; give a whole number from 1"),
        ({"steps": "many"}, "source.steps: got 'many'; give a whole number from 0"),
        ({"heads": 3}, "source.heads: got 3, which does not divide hidden 32; choose a divisor of it"),
        (
            {"short": 2},
            "source.short: got 2, but only 0 topics have sentences that short; raise it, or set short_share to 0",
        ),
    ],
)
def test_settings_that_cannot_work_are_refused(change, said, tmp_path: Path):
    with pytest.raises(UserError) as caught:
        pretrain_model.train_from_scratch(tmp_path, Silent(), **TINY | change)
    assert str(caught.value) == said
