"""The compress stage: every method that ships, alone and in chains, and the training after it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from pipeline.compression import low_rank, quantisation, width_pruning
from pipeline.compression.calibration import Calibration
from pipeline.core import checksums, paths
from pipeline.core.errors import UserError
from pipeline.data import batches
from pipeline.models import load_model
from pipeline.stages.compress import compress
from pipeline.stages.evaluate import evaluate
from pipeline.stages.finetune import finetune
from pipeline.system import hardware
from pipeline.training.distillation import teacher_outputs as teachers
from pipeline.training.draw_seeds import derive_seed
from pipeline.training.predict import predict_logits

from .conftest import Configure, Told, done

METHODS = sorted(path.stem for path in (paths.CONF / "compression").glob("*.yaml"))
SMALL = {  # settings for a model of two layers, 16 wide
    "layers": ["compression.method.remove=1"],
    "share-feed-forward": ["compression.method.groups=1"],
    "svd-energy": ["compression.method.rank.energy=0.5"],  # noise has no low rank
}


@pytest.mark.parametrize("name", METHODS)
def test_every_compression_that_ships_makes_a_model_that_is_judged(
    teacher: str, configured: Configure, tmp_path: Path, name: str
) -> None:
    words = (f"source={teacher}", f"compression={name}", *SMALL.get(name, []))
    source = done(compress, configured("compress", *words))
    result = evaluate(configured("evaluate", f"source={source}"), tmp_path, Told())  # type: ignore[arg-type]
    before = evaluate(configured("evaluate", f"source={teacher}"), tmp_path, Told())  # type: ignore[arg-type]
    json.dumps(result, allow_nan=False)
    assert result["storage_bytes"] < before["storage_bytes"]
    trial = json.loads((paths.get_source_dir(source, 0) / "trial.json").read_text())
    assert trial["changed"]
    assert trial["train_examples"] == result["train_examples"] == 36


def test_a_chain_equals_its_steps_by_hand(teacher: str, configured: Configure) -> None:
    none = "compression.recovery=null"
    narrow = done(compress, configured("compress", f"source={teacher}", "compression=width", none, "cell=narrow"))
    low = done(compress, configured("compress", f"source={narrow}", "compression=svd", none, "cell=low"))
    small = done(compress, configured("compress", f"source={low}", "compression=int8-dynamic", "cell=small"))

    folder = paths.get_source_dir(teacher, 0)
    train = batches.read(paths.get_data_dir("rte") / "train.parquet", 0.5, folder, 128)
    model: Any = load_model.load_finetuned(folder).model
    for method, name in ((width_pruning, "width"), (low_rank, "svd"), (quantisation, "int8-dynamic")):
        settings: Any = OmegaConf.to_container(configured("compress", f"source={teacher}", f"compression={name}"))
        arguments = {key: value for key, value in settings["compression"]["method"].items() if key != "_target_"}
        given = {} if method is quantisation else {"calibration": Calibration(train)}
        model = method.apply(model, **given, **arguments).model  # type: ignore[attr-defined]
    chained = load_model.load_finetuned(paths.get_source_dir(small, 0)).model
    assert np.array_equal(predict_logits(chained, train, "fp32"), predict_logits(model, train, "fp32"))
    config = OmegaConf.load(paths.get_source_dir(small, 0) / "config.yaml")
    assert (config.source, config.origin) == (low, teacher)


def test_a_recovery_may_be_taught_by_the_model_before_any_compression(
    teacher: str, configured: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft = "+compression.recovery.distillation={alpha: 0.9, temperature: 2.0}"
    narrow = done(compress, configured("compress", f"source={teacher}", "compression=width", "cell=narrow"))
    words = (f"source={narrow}", "compression=svd")
    asked: list[Path] = []
    ask = teachers.load_teacher_outputs
    monkeypatch.setattr(teachers, "load_teacher_outputs", lambda path, *rest: asked.append(path) or ask(path, *rest))
    first = done(compress, configured("compress", *words, "cell=alone"))
    assert asked == []
    second = done(compress, configured("compress", *words, soft, "cell=taught"))
    assert asked == [paths.get_source_dir(teacher, 0)]
    one, other = (
        json.loads((paths.get_source_dir(source, 0) / "trial.json").read_text()) for source in (first, second)
    )
    assert one["steps"] == other["steps"]
    assert one["loss"] != other["loss"]


@pytest.mark.parametrize("name", ["heads", "width", "layers", "svd-budget", "two-four", "share-all", "int8-dynamic"])
def test_the_same_step_twice_gives_the_same_bytes(teacher: str, configured: Configure, name: str) -> None:
    words = (f"source={teacher}", f"compression={name}", *SMALL.get(name, []))
    one, other = (done(compress, configured("compress", *words, f"cell={cell}")) for cell in ("one", "other"))
    files = [paths.get_source_dir(source, 0) / "model.safetensors" for source in (one, other)]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_compression_and_its_source_share_draws(
    laboratory: Path, configured: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    make_repeatable = hardware.make_deterministic
    monkeypatch.setattr(hardware, "make_deterministic", lambda seed: seeds.append(seed) or make_repeatable(seed))
    source = done(finetune, configured("finetune", "task=rte", "model=bert-tiny", "ratio=0.5", "cell=any"))
    narrow = done(compress, configured("compress", f"source={source}", "compression=width", "cell=narrow"))
    done(compress, configured("compress", f"source={narrow}", "compression=svd", "cell=low"))
    assert len(seeds) == 5  # a training; twice a method and the training after it
    assert set(seeds) == {derive_seed(0, task="rte", model="bert-tiny", ratio=0.5, recipe="standard")}


def test_zeros_and_ties_are_kept_through_recovery(teacher: str, configured: Configure) -> None:
    shared = done(compress, configured("compress", f"source={teacher}", "compression=share-all", "cell=shared"))
    sparse = done(compress, configured("compress", f"source={shared}", "compression=two-four", "cell=sparse"))
    model: Any = load_model.load_finetuned(paths.get_source_dir(sparse, 0)).model
    one, other = model.bert.encoder.layer
    weight = one.attention.self.query.weight
    assert weight is other.attention.self.query.weight
    assert ((weight.view(-1, 4) == 0).sum(1) >= 2).all()
    steps = json.loads((paths.get_source_dir(sparse, 0) / "trial.json").read_text())["steps"]
    assert steps > 0


def test_settings_that_a_method_does_not_take_are_told_with_their_file(
    teacher: str, configured: Configure, tmp_path: Path
) -> None:
    cfg = configured("compress", f"source={teacher}", "compression=heads", "+compression.method.remvoe=0.5")
    with pytest.raises(UserError) as error:
        compress(cfg, tmp_path, Told())  # type: ignore[arg-type]
    assert str(error.value) == (
        "conf/compression/heads.yaml: method: remvoe: not an argument of apply; did you mean 'remove'? "
        "(allowed: importance, remove)"
    )


def test_a_compression_keeps_the_classes_and_the_warnings_of_its_source(teacher: str, configured: Configure) -> None:
    """And the evaluation has them together with those of the task and of the reported rows, each once."""
    source = done(compress, configured("compress", f"source={teacher}", "compression=heads", "cell=narrow"))
    config = json.loads((paths.get_source_dir(source, 0) / "config.json").read_text())
    assert config["id2label"] == {"0": "entailment", "1": "not_entailment"}
    rare = "fewer than 5 selection rows of class not_entailment (3)"
    assert json.loads((paths.get_source_dir(source, 0) / "trial.json").read_text())["warnings"] == [rare]
    summary = paths.get_data_dir("rte") / "summary.json"
    summary.write_text(json.dumps(json.loads(summary.read_text()) | {"warnings": ["2 rows are in two splits", rare]}))
    checksums.write_checksums(paths.get_data_dir("rte"))
    (paths.ROOT / "out").mkdir()
    cfg = configured("evaluate", f"source={source}")
    cfg.task.max_length = 10
    result = evaluate(cfg, paths.ROOT / "out", Told())  # type: ignore[arg-type]
    assert result["warnings"] == [
        "2 rows are in two splits",
        rare,
        "20 of 20 report rows are cut to 10 tokens (the max_length of the task): 9.1% of all tokens are lost",
    ]
    assert (result["truncated_train_rows_pct"], result["truncated_report_rows_pct"]) == (0, 100)
