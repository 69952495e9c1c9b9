"""`dvc` in forks: what it says and how it ends is known, it stops well, and it ends with who asked for it."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.runner import dvc_process
from pipeline.system import dvc_lock_repair

Stage = Callable[[str], None]
PROGRAM = """
import asyncio, pathlib, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # where the tests run in the background it would be ignored
from pipeline.core import paths
from pipeline.core.exits import exit_on_user_error
from pipeline.runner import dvc_process
paths.ROOT = pathlib.Path(sys.argv[1])
with exit_on_user_error():
    sys.exit(asyncio.run(dvc_process.run(["repro", "--quiet", "a"], lambda line: print(line, flush=True))))
"""


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Return what makes a project of one stage, ``a``, that runs a command."""

    def make(command: str) -> None:
        subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm"], cwd=tmp_path, check=True)
        (tmp_path / "a.sh").write_text(command)
        (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: sh a.sh}}\n")
        monkeypatch.setattr(paths, "ROOT", tmp_path)

    return make


def test_what_a_stage_says_is_told_and_its_status_returned(stage: Stage, tmp_path: Path) -> None:
    stage("echo one; echo two >&2; test -e more || exit 3; test -t 0 || echo $LAB_WATCHED")
    said: list[str] = []
    words = ["repro", "--quiet", "--single-item", "a"]
    assert asyncio.run(dvc_process.run(words, said.append)) == 255
    assert said == ["one", "two"]
    (tmp_path / "more").touch()
    said.clear()
    assert asyncio.run(dvc_process.run(words, said.append)) == 0
    assert said == ["one", "two", str(psutil.Process().pid)]
    assert "cmd: sh a.sh" in (tmp_path / "dvc.lock").read_text()


def test_a_dvc_that_is_killed_is_told(stage: Stage, tmp_path: Path) -> None:
    stage("echo $$; while test -e going; do sleep 0.05; done")
    going = tmp_path / "going"
    going.touch()
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.isdigit():
            # its parent, or that of the shell that runs it: dash starts it, bash becomes it
            parents = psutil.Process(int(line)).parents()
            next(each for each in parents if dvc_lock_repair.FORKED in " ".join(each.cmdline())).kill()
            going.unlink()

    assert asyncio.run(dvc_process.run(["repro", "--quiet", "a"], say)) == 137
    assert said[1:] == ["dvc repro --quiet a: was killed by signal 9"]


def test_a_stage_that_is_stopped_says_its_last_words(stage: Stage) -> None:
    stage("trap 'echo safe; exit 3' INT; echo begun; while true; do sleep 0.05; done")
    said: list[str] = []

    async def stopped() -> None:
        work = asyncio.create_task(
            dvc_process.run(["repro", "--quiet", "a"], lambda line: (said.append(line), begun.set())[0])
        )
        begun = asyncio.Event()
        await begun.wait()
        work.cancel()
        await work

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(stopped())
    assert said[:2] == ["begun", "safe"]


def test_it_is_stopped_as_well_where_a_script_began_all_of_it_in_the_background(stage: Stage, tmp_path: Path) -> None:
    stage("trap 'echo safe; exit 3' INT; echo begun; while true; do sleep 0.05; done")
    program = """
import asyncio, pathlib, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell begins it
from pipeline.core import paths
from pipeline.runner import dvc_process
paths.ROOT = pathlib.Path(sys.argv[1])
async def stopped():
    def say(line):
        print(line, flush=True)
        work.cancel()
    work = asyncio.create_task(dvc_process.run(["repro", "--quiet", "a"], say))
    await asyncio.wait([work])
asyncio.run(stopped())
"""
    try:
        said = subprocess.run(
            [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True, timeout=60
        )
    finally:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.cmdline() == ["sh", "a.sh"] and Path(process.cwd()) == tmp_path:
                    process.kill()
    assert said.stdout.splitlines()[:2] == ["begun", "safe"]


def test_ctrl_c_while_dvc_is_imported_is_no_traceback(stage: Stage, tmp_path: Path) -> None:
    stage("echo begun")
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as asked:  # fmt: skip
        family = psutil.Process(asked.pid)
        while not any(dvc_lock_repair.FORKED in " ".join(process.cmdline()) for process in family.children()):
            assert asked.poll() is None
        os.killpg(asked.pid, signal.SIGINT)  # as a terminal does
        assert asked.communicate(timeout=60) == ("", "interrupted\n")
        assert asked.returncode == 130


def test_where_no_process_can_be_started_the_reasons_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(_: object) -> None:
        raise EOFError

    monkeypatch.setattr(dvc_process.FORKS.Process, "start", ended)
    with pytest.raises(UserError) as error:
        asyncio.run(dvc_process.run(["repro"], print))
    assert str(error.value) == (
        "dvc: the process that starts it has ended: somebody killed it, or the machine allows no more processes "
        "(`ulimit -u`); see to that and run the same command again: what is finished is kept"
    )


def test_nothing_goes_on_where_nobody_hears_it(stage: Stage) -> None:
    stage("echo begun; while true; do sleep 0.05; echo more; done")

    def say(_: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        asyncio.run(dvc_process.run(["repro", "--quiet", "a"], say))


def test_a_fork_and_its_parent_end_with_who_asked_for_it(stage: Stage, tmp_path: Path) -> None:
    stage("echo begun; sleep 60")
    with subprocess.Popen([sys.executable, "-c", PROGRAM, tmp_path], stdout=subprocess.PIPE, text=True) as asked:
        assert asked.stdout
        assert asked.stdout.readline() == "begun\n"
        family = psutil.Process(asked.pid).children(recursive=True)
        dvc = [process for process in family if dvc_lock_repair.FORKED in " ".join(process.cmdline())]
        assert len(dvc) == 2
        assert all(
            dvc_lock_repair._is_dvc(process.pid) for process in dvc
        )  # or the locks that it holds were struck out
        asked.kill()
        assert not psutil.wait_procs(dvc, timeout=5)[1]
        for process in family:
            if process.is_running():
                process.kill()


def test_a_long_name_of_the_folder_of_temporary_files_is_in_nobody_s_way(stage: Stage, tmp_path: Path) -> None:
    stage("echo $TMPDIR")
    long = tmp_path / ("x" * 100)
    long.mkdir()
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path],
        capture_output=True, text=True, check=True, env={**os.environ, "TMPDIR": str(long)},
    )  # fmt: skip
    assert said.stdout == f"{long}\n"


def test_files_that_dvc_cannot_read_are_told_by_dvc(stage: Stage, tmp_path: Path) -> None:
    stage("true")
    (tmp_path / "dvc.yaml").write_text("stages: [")
    program = (
        "import pathlib, sys\nfrom pipeline.core import paths\npaths.ROOT = pathlib.Path(sys.argv[1])\n"
        "import pipeline.runner.dvc_preload"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path], check=True)
    said: list[str] = []
    assert asyncio.run(dvc_process.run(["repro"], said.append)) == 255
    assert any("dvc.yaml' is invalid" in line for line in said), said


def test_a_fork_imports_nothing_of_weight(stage: Stage, tmp_path: Path) -> None:
    stage("true")
    program = (
        "import sys, pipeline.runner.dvc_preload\nfrom dvc.cli import main\nbefore = set(sys.modules)\n"
        f"import os; os.chdir({str(tmp_path)!r})\n"
        "main(['--wait-for-lock', 'repro', '--quiet', '--single-item', 'a'])\n"
        "print(*set(sys.modules) - before)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert len(said.split()) < 40, said
