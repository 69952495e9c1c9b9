"""What `lab status` prints of a plan, from invented records and a DVC with scripted answers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.core import paths, records
from pipeline.core.errors import UserError
from pipeline.plan import Plan
from pipeline.runner import plan_status
from tests import fakes

NOTHING = fakes.NO_BENCHMARK
PLAN = Plan(("mrpc",), ("bert-tiny", "bert-mini"), (0.5, 1.0), ("standard",), (0, 1), NOTHING)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(plan_status.code_digests, "write", lambda: None)
    monkeypatch.setattr(plan_status.source_digests, "write", lambda: None)
    return tmp_path


def answer(monkeypatch: pytest.MonkeyPatch, status: int, out: str = "", complaint: str = "") -> None:
    done = subprocess.CompletedProcess([], status, out, complaint)
    monkeypatch.setattr(plan_status.subprocess, "run", lambda *_, **__: done)


def test_what_lies_behind_a_changed_cell_is_stale_too(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, 0, '{"pretrain@bert-mini": [{"changed deps": {}}], "plan": [{}]}')
    points = ("mrpc-bert-mini-0.5-standard", "mrpc-bert-mini-1.0-standard")
    behind = {f"{stage}@{point}" for stage in ("finetune", "evaluate") for point in points}
    assert plan_status.find_stale_cells(PLAN) == {"plan", "pretrain@bert-mini", *behind}


@pytest.mark.parametrize(
    ("complaint", "told"),
    [
        ("a word\nERROR: Unable to acquire lock.\n", "Unable to acquire lock."),
        ("", "exit status 255 without a message"),
    ],
)
def test_a_dvc_that_cannot_tell_is_a_line(monkeypatch: pytest.MonkeyPatch, complaint: str, told: str) -> None:
    answer(monkeypatch, 255, complaint=complaint)
    with pytest.raises(UserError) as error:
        plan_status.find_stale_cells(PLAN)
    assert (
        str(error.value)
        == f"dvc status: {told}; solve that, or wait for the other `dvc`, then run the same command again"
    )


def test_the_list_ends_with_what_there_is_to_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, 0, '{"evaluate@mrpc-bert-tiny-0.5-standard": [{}]}')
    plan_status.print_status(PLAN)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + len(PLAN.cells) + 3
    assert [line.split()[1] for line in lines if line.startswith("evaluate@mrpc-bert-tiny")] == ["stale", "done"]
    assert lines[-2] == "1 of 11 cells to run, about 0 s of trials, 1 of them never measured"
    assert re.fullmatch(r"about [\d.]+ MB to write, .* free; nothing is known yet of the size of bert-tiny", lines[-1])


def test_cells_of_other_versions_are_named_and_stay_done(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(monkeypatch, 0, "{}")
    installed = {"torch": "2.13.0", "transformers": "5.23.0"}
    monkeypatch.setattr(plan_status.source_digests, "find_versions", lambda: installed)
    old, new = fakes.finetuning("mrpc", "bert-tiny", 0.5), fakes.finetuning("mrpc", "bert-tiny", 1.0)
    for record, versions in ((old, {"torch": "2.12.0"}), (new, installed)):
        record["machine"] = {**record["machine"], **installed, **versions}
    fakes.write(root, [records.sign(old), records.sign(new)])
    plan_status.print_status(PLAN)
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == (
        "1 of 11 cells were computed with torch 2.12.0; installed: torch 2.13.0, transformers 5.23.0. Their results "
        "remain; `dvc repro -s -f <cell>` computes one again: finetune@mrpc-bert-tiny-0.5-standard"
    )
    assert "stale" not in out


def test_where_dvc_cannot_tell_the_command_ends_without_a_traceback(project: Path) -> None:
    command = [sys.executable, "-m", "pipeline.cli.main", "status"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: dvc status: ")
    assert len(done.stderr.splitlines()) == 1
