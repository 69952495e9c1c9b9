"""An edit of a module makes the cells stale of exactly the stages that run it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import plan
from pipeline.core import paths
from pipeline.runner import code_digests


@pytest.mark.parametrize(
    ("edited", "stages"),
    [
        ("training/fast_cpu.py", {"finetune", "distill", "compress", "evaluate", "benchmark"}),
        ("training/predict.py", {"pretrain", "finetune", "distill", "compress", "evaluate", "benchmark"}),
        ("training/distillation/distillation_loss.py", {"distill", "compress"}),
        ("models/student_init.py", {"distill"}),
        ("compression/singular_values.py", {"compress"}),
        ("training/pretrain_model.py", {"pretrain"}),
        ("data/synthetic/grammar.py", {"prepare", "pretrain"}),
        ("data/split_files.py", {"prepare"}),
        ("models/checkpoint_sources.py", {"pretrain"}),
        ("evaluation/quality.py", {"evaluate"}),
        ("evaluation/cost/peak_flops.py", {"benchmark"}),
        ("analysis/report/figures/panel.py", {"compare"}),
        ("core/records.py", set(code_digests.STAGES)),
        ("tracking/mlflow/tracker.py", set()),
        ("execution/entry.py", set()),
    ],
)
def test_an_edit_shows_in_the_lists_of_the_stages_that_run_the_module(
    tmp_path: Path, edited: str, stages: set[str]
) -> None:
    copied(tmp_path)
    before = lists(tmp_path)
    with (tmp_path / "pipeline" / edited).open("a") as file:
        file.write("# edited\n")
    after = lists(tmp_path)
    assert {stage for stage in before if before[stage] != after[stage]} == stages


def test_what_a_conf_file_states_shows_in_the_list_of_its_stage_and_a_comment_does_not(tmp_path: Path) -> None:
    copied(tmp_path)
    before = lists(tmp_path)
    assert all(text.endswith(f"  conf/{stage}.yaml\n") for stage, text in before.items())
    file = tmp_path / "conf/evaluate.yaml"
    file.write_text(f"# edited\n{file.read_text()}")
    assert lists(tmp_path) == before
    file.write_text(file.read_text().replace("threads: null", "threads: 2"))
    after = lists(tmp_path)
    assert {stage for stage in before if before[stage] != after[stage]} == {"evaluate"}


@pytest.mark.parametrize(
    ("file", "old", "new", "models"),
    [
        ("conf/model/starter-3x96.yaml", "learning_rate: ", "learning_rate: 2", {"starter-3x96"}),
        ("conf/model/bert-base.yaml", "learning_rate: ", "learning_rate: 2", set()),
        ("conf/recipe/standard.yaml", "epochs: 3", "epochs: 4", set(plan.load().models)),
        ("conf/recipe/standard.yaml", "epochs: 3", "epochs:  3  # three", set()),
        ("conf/recipe/equal-steps.yaml", "steps: ", "steps: 9", set()),
        ("conf/finetune.yaml", "processes: 1", "processes: 2", set(plan.load().models)),
        ("params.yaml", "seeds: [0, 1, 2]", "seeds: [0, 1, 3]", set(plan.load().models)),
        ("params.yaml", "ratios: [0.1", "ratios: [0.2", set()),
        ("pipeline/training/fast_cpu.py", "import", "import sys\nimport", set(plan.load().models)),
    ],
)
def test_what_the_cells_of_the_grid_follow_shows_in_the_lists_of_exactly_their_models(
    tmp_path: Path, file: str, old: str, new: str, models: set[str]
) -> None:
    copied(tmp_path)
    before = of_the_grid(tmp_path)
    assert set(before) == set(plan.load().models)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1))
    after = of_the_grid(tmp_path)
    assert {model for model in before if before[model] != after[model]} == models


def test_each_recipe_of_the_plan_has_lists_that_change_with_it_alone(tmp_path: Path) -> None:
    copied(tmp_path)
    params, recipe = tmp_path / "params.yaml", tmp_path / "conf/recipe/equal-steps.yaml"
    params.write_text(params.read_text().replace("recipes: [standard]", "recipes: [standard, equal-steps]"))
    standard, other = of_the_grid(tmp_path), of_the_grid(tmp_path, "equal-steps")
    recipe.write_text(recipe.read_text().replace("steps: 171", "steps: 9"))
    assert of_the_grid(tmp_path) == standard
    changed = of_the_grid(tmp_path, "equal-steps")
    assert {model for model in other if changed[model] != other[model]} == set(plan.load().models)


def test_a_model_that_the_plan_names_no_more_has_no_list(tmp_path: Path) -> None:
    copied(tmp_path)
    assert "starter-2x96" in of_the_grid(tmp_path)
    params = (tmp_path / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(params.replace("starter-2x96, ", ""))
    assert "starter-2x96" not in of_the_grid(tmp_path)


def test_a_conf_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    copied(tmp_path)
    (tmp_path / "conf/evaluate.yaml").write_text("defaults: [workspace\ncell: x\n")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.runner.code_digests"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: conf/evaluate.yaml: line 2: not YAML that can be read: did not find expected ',' or ']'\n"
    )


def test_a_method_of_somebodys_own_is_found_by_the_file_that_names_it(tmp_path: Path) -> None:
    copied(tmp_path)
    (tmp_path / "pipeline/mine.py").write_text("def half(model):\n    return model\n")
    assert "pipeline/mine.py" not in lists(tmp_path)["compress"]
    (tmp_path / "conf/compression/mine.yaml").write_text(
        "name: mine\nmethod:\n  _target_: pipeline.mine.half\nrecovery: null\n"
    )
    assert "pipeline/mine.py" in lists(tmp_path)["compress"]


@pytest.mark.parametrize(
    "text",
    [
        'name: mine\nmethod: {_target_: "pipeline.mine.half"}\n',
        "name: mine\nmethod: {keep: 2, '_target_' : 'pipeline.mine.half'}\n",
        '{"name": "mine", "method": {"_target_":"pipeline.mine.half"}}\n',
        "name: mine\nmethod:\n  ? _target_\n  : pipeline.mine.half\n",
        "name: mine\nmethod:\n  _target_: >-\n    pipeline.mine.half\n",
        "name: mine\nshared: &half {_target_: pipeline.mine.half}\nmethod: *half\n",
        "name: mine\nmethod:\n  steps:\n  - 1\n  - deeper: {_target_: pipeline.mine.half}\n",
    ],
)
def test_a_target_is_found_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(paths, "CONF", tmp_path)
    (tmp_path / "compression").mkdir()
    (tmp_path / "compression/mine.yaml").write_text(text)
    assert code_digests.find_target_modules("compress") == {"pipeline.mine"}


def test_a_target_in_a_comment_or_a_text_is_none_and_a_broken_file_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "CONF", tmp_path)
    (tmp_path / "compression").mkdir()
    (tmp_path / "compression/mine.yaml").write_text(
        "name: mine  # _target_: pipeline.mine.half\nnote: '_target_: pipeline.a.b'\n"
    )
    (tmp_path / "compression/broken.yaml").write_text("method: {_target_: pipeline.mine.half\n")
    assert code_digests.find_target_modules("compress") == set()


def copied(root: Path) -> None:
    for folder in ("pipeline", "conf"):
        shutil.copytree(paths.ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(paths.ROOT / "params.yaml", root)


def lists(root: Path) -> dict[str, str]:
    subprocess.run([sys.executable, "-m", "pipeline.runner.code_digests"], cwd=root, check=True)
    return {path.stem: path.read_text() for path in sorted((root / ".cache/code").glob("*.txt"))}


def of_the_grid(root: Path, recipe: str = "standard") -> dict[str, str]:
    lists(root)
    return {path.stem: path.read_text() for path in sorted((root / ".cache/code/grid" / recipe).iterdir())}


def test_importing_the_modules_of_a_stage_imports_no_others() -> None:
    """What Python itself imports is the judge of what the lists leave out."""
    listed = code_digests.find_modules()["finetune"]
    program = f"import sys\nfor name in {listed}: __import__(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=paths.ROOT, capture_output=True, text=True, check=True)
    imported = {name for name in done.stdout.split() if name.startswith("pipeline.")}
    work = {name for name in imported if not code_digests.FRAME.match(name)}
    packages = {name.rpartition(".")[0] for name in listed}
    assert work - packages == set(listed)
