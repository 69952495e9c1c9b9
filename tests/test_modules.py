"""An edit of a module makes the cells stale of exactly the stages that run it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import modules, paths


@pytest.mark.parametrize(
    ("edited", "stages"),
    [
        ("training/quick.py", {"finetune"}),
        ("training/prediction.py", {"finetune", "evaluate"}),
        ("training/pretraining.py", {"pretrain"}),
        ("data/starter/grammar.py", {"prepare", "pretrain"}),
        ("data/files.py", {"prepare"}),
        ("models/sources.py", {"pretrain"}),
        ("evaluation/quality.py", {"evaluate"}),
        ("scaling/figures.py", {"compare"}),
        ("records.py", {"prepare", "pretrain", "finetune", "evaluate", "compare"}),
        ("tracking/live.py", set()),
        ("stage.py", set()),
    ],
)
def test_an_edit_shows_in_the_lists_of_the_stages_that_run_the_module(
    tmp_path: Path, edited: str, stages: set[str]
) -> None:
    shutil.copytree(paths.ROOT / "pipeline", tmp_path / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    before = lists(tmp_path)
    with (tmp_path / "pipeline" / edited).open("a") as file:
        file.write("# edited\n")
    after = lists(tmp_path)
    assert {stage for stage in before if before[stage] != after[stage]} == stages


def lists(root: Path) -> dict[str, str]:
    subprocess.run([sys.executable, "-m", "pipeline.modules"], cwd=root, check=True)
    return {path.stem: path.read_text() for path in sorted((root / ".cache" / "modules").iterdir())}


def test_importing_the_modules_of_a_stage_imports_no_others() -> None:
    """What Python itself imports is the judge of what the lists leave out."""
    listed = modules.run_by()["finetune"]
    program = f"import sys\nfor name in {listed}: __import__(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=paths.ROOT, capture_output=True, text=True, check=True)
    imported = {name for name in done.stdout.split() if name.startswith("pipeline.")}
    work = {name for name in imported if name.split(".")[1] not in modules.FRAME}
    packages = {name.rpartition(".")[0] for name in listed}
    assert work - packages == set(listed)
