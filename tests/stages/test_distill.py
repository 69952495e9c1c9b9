"""The distill stage: a student with its teacher, and the same student alone."""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from pipeline.core import paths
from pipeline.evaluation import predictions
from pipeline.metrics import registry
from pipeline.stages.distill import distill
from pipeline.stages.evaluate import evaluate
from pipeline.stages.finetune import finetune
from pipeline.system import hardware
from pipeline.training.draw_seeds import derive_seed

from .conftest import Configure, Told, done

POINT = ("task=rte", "model=bert-tiny", "ratio=0.5")


@pytest.mark.parametrize("distillation", ["logits", "states", "relations", "every-second"])
def test_a_student_stands_beside_the_same_student_alone(
    teacher: str, configured: Configure, tmp_path: Path, distillation: str
) -> None:
    cfg = configured("distill", *POINT, f"teacher={teacher}", f"distillation={distillation}")
    source = done(distill, cfg)
    result = evaluate(configured("evaluate", f"source={source}"), tmp_path, Told())  # type: ignore[arg-type]
    assert result["gain"] == pytest.approx(result["score"] - result["alone_score"])
    answers = predictions.from_text(result["alone_predictions"])
    score = registry.SCORES[result["score_name"]](answers, predictions.from_text(result["references"]))
    assert result["alone_score"] == score
    taught, alone = (
        load_file(paths.get_source_dir(source, 0) / name / "model.safetensors") for name in ("", paths.ALONE)
    )
    assert taught.keys() == alone.keys()
    assert any(not taught[name].equal(alone[name]) for name in taught)


def test_the_student_alone_is_the_one_that_finetune_makes(teacher: str, configured: Configure) -> None:
    source = done(distill, configured("distill", *POINT, f"teacher={teacher}"))
    alone = paths.get_source_dir(source, 0) / paths.ALONE / "model.safetensors"
    assert alone.read_bytes() == (paths.get_source_dir(teacher, 0) / "model.safetensors").read_bytes()


def test_a_student_and_the_student_alone_share_draws_under_any_cell_name(
    teacher: str, configured: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    make_repeatable = hardware.make_deterministic
    monkeypatch.setattr(hardware, "make_deterministic", lambda seed: seeds.append(seed) or make_repeatable(seed))
    done(distill, configured("distill", *POINT, f"teacher={teacher}", "cell=renamed"))
    assert seeds == 2 * [derive_seed(0, task="rte", model="bert-tiny", ratio=0.5, recipe="standard")]


@pytest.mark.parametrize("distillation", ["states", "relations", "every-second"])
def test_the_same_student_twice_gives_the_same_bytes(teacher: str, configured: Configure, distillation: str) -> None:
    words = (*POINT, f"teacher={teacher}", f"distillation={distillation}")
    made = [done(distill, configured("distill", *words, f"cell={cell}")) for cell in ("one", "other")]
    one, other = ((paths.get_source_dir(source, 0) / "model.safetensors").read_bytes() for source in made)
    assert one == other


def test_the_curves_and_the_progress_cover_both_runs(teacher: str, configured: Configure, tmp_path: Path) -> None:
    log = Told()
    cfg = configured("distill", *POINT, f"teacher={teacher}")
    result = distill(cfg, tmp_path, log)  # type: ignore[arg-type]
    assert log.total == log.steps == 2 * result["steps"]
    assert [step for step, _ in log.curve][-1] == result["steps"]
    json.dumps(result, allow_nan=False)


def test_one_teacher_may_teach_every_seed(teacher: str, configured: Configure) -> None:
    words = (*POINT, f"teacher={teacher}", "seed=1", "cell=one")
    cfg = configured("distill", *words, "distillation.teacher_seed=0")
    assert (paths.get_source_dir(done(distill, cfg), 1) / "model.safetensors").exists()


def test_a_regression_is_taught_by_numbers(laboratory: Path, configured: Configure, tmp_path: Path) -> None:
    point = ("task=stsb", "model=bert-tiny", "ratio=0.5")
    source = done(finetune, configured("finetune", *point))
    source = done(distill, configured("distill", *point, f"teacher={source}"))
    result = evaluate(configured("evaluate", f"source={source}"), tmp_path, Told())  # type: ignore[arg-type]
    assert result["gain"] == pytest.approx(result["score"] - result["alone_score"])


@pytest.mark.parametrize("distillation", ["logits", "every-second"])
def test_the_student_and_the_student_alone_know_the_classes_and_the_warnings(
    teacher: str, configured: Configure, distillation: str
) -> None:
    source = done(distill, configured("distill", *POINT, f"teacher={teacher}", f"distillation={distillation}"))
    folder = paths.get_source_dir(source, 0)
    for config in (folder / "config.json", folder / paths.ALONE / "config.json"):
        assert json.loads(config.read_text())["id2label"] == {"0": "entailment", "1": "not_entailment"}
    result = json.loads((folder / "trial.json").read_text())
    assert result["warnings"] == ["fewer than 5 selection rows of class not_entailment (3)"]
    assert result["truncated_train_rows_pct"] == result["truncated_train_tokens_pct"] == 0
