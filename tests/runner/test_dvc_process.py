"""`dvc` as subprocesses: lines and exit statuses are passed on, and they end well at a signal or with their parent."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pipeline.core import paths
from pipeline.runner import dvc_lock_repair
from pipeline.runner.dvc_process import DvcProcesses

Stage = Callable[[str], None]
PROGRAM = """
import pathlib, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test in the background would ignore it
from pipeline.core import paths
from pipeline.core.exits import exit_on_user_error
from pipeline.runner.dvc_process import DvcProcesses
paths.ROOT = pathlib.Path(sys.argv[1])
with exit_on_user_error():
    sys.exit(DvcProcesses().run(["repro", "--quiet", "a"], lambda line: print(line, flush=True)))
"""


def list_dvc_processes(family: list[psutil.Process]) -> list[psutil.Process]:
    return [process for process in family if dvc_lock_repair.DVC_MODULE in process.cmdline()]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Return a function that makes a project of one stage, ``a``, that runs a command."""

    def make(command: str) -> None:
        subprocess.run([sys.executable, "-m", "dvc", "init", "--quiet", "--no-scm"], cwd=tmp_path, check=True)
        (tmp_path / "a.sh").write_text(command)
        (tmp_path / "dvc.yaml").write_text("stages: {a: {cmd: sh a.sh}}\n")
        monkeypatch.setattr(paths, "ROOT", tmp_path)

    return make


def test_lines_and_exit_status_of_a_stage_are_passed_on(stage: Stage, tmp_path: Path) -> None:
    stage("echo one; echo two >&2; test -e more || exit 3; test -t 0 || echo no terminal")
    lines: list[str] = []
    words = ["repro", "--quiet", "--single-item", "a"]
    assert DvcProcesses().run(words, lines.append) == 255
    assert lines == ["one", "two"]
    (tmp_path / "more").touch()
    lines.clear()
    assert DvcProcesses().run(words, lines.append) == 0
    assert lines == ["one", "two", "no terminal"]
    assert "cmd: sh a.sh" in (tmp_path / "dvc.lock").read_text()


def test_a_killed_dvc_is_reported(stage: Stage, tmp_path: Path) -> None:
    stage("echo $$; while test -e running; do sleep 0.05; done")
    running = tmp_path / "running"
    running.touch()
    lines: list[str] = []

    def print_line(line: str) -> None:
        lines.append(line)
        if line.isdigit():
            list_dvc_processes(psutil.Process(int(line)).parents())[0].kill()
            running.unlink()

    assert DvcProcesses().run(["repro", "--quiet", "a"], print_line) == 137
    assert lines[1:] == ["dvc repro --quiet a: was killed by signal 9"]


def test_a_stopped_stage_prints_its_last_lines_and_nothing_else_starts(stage: Stage) -> None:
    stage("trap 'echo safe; exit 3' INT; echo started; while true; do sleep 0.05; done")
    lines: list[str] = []
    dvc, started = DvcProcesses(), threading.Event()

    def print_line(line: str) -> None:
        lines.append(line)
        started.set()

    worker = threading.Thread(target=dvc.run, args=(["repro", "--quiet", "a"], print_line))
    worker.start()
    assert started.wait(60)
    dvc.stop()
    worker.join(60)
    assert lines[:2] == ["started", "safe"]
    assert dvc.run(["repro", "--quiet", "a"], lines.append) == 130


def test_a_stage_stops_as_well_if_a_script_started_all_of_it_in_the_background(stage: Stage, tmp_path: Path) -> None:
    stage("trap 'echo safe; exit 3' INT; echo started; while true; do sleep 0.05; done")
    program = """
import pathlib, signal, sys, threading
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell starts it
from pipeline.core import paths
from pipeline.runner.dvc_process import DvcProcesses
paths.ROOT = pathlib.Path(sys.argv[1])
dvc = DvcProcesses()
def print_line(line):
    print(line, flush=True)
    threading.Thread(target=dvc.stop).start()
dvc.run(["repro", "--quiet", "a"], print_line)
"""
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True, timeout=120
        )
    finally:
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.cmdline() == ["sh", "a.sh"] and Path(process.cwd()) == tmp_path:
                    process.kill()
    assert done.stdout.splitlines()[:2] == ["started", "safe"]


def test_ctrl_c_while_dvc_is_imported_prints_no_traceback(stage: Stage, tmp_path: Path) -> None:
    stage("echo started")
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as parent:  # fmt: skip
        while not list_dvc_processes(psutil.Process(parent.pid).children()):
            assert parent.poll() is None
        os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
        assert parent.communicate(timeout=60) == ("", "interrupted\n")
        assert parent.returncode == 130


def test_a_stage_stops_if_its_lines_cannot_be_printed(stage: Stage) -> None:
    stage("echo started; while true; do sleep 0.05; echo more; done")

    def print_line(_: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        DvcProcesses().run(["repro", "--quiet", "a"], print_line)


def test_dvc_ends_with_its_parent_and_counts_as_a_live_dvc_until_then(stage: Stage, tmp_path: Path) -> None:
    stage("echo started; sleep 60")
    with subprocess.Popen([sys.executable, "-c", PROGRAM, tmp_path], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == "started\n"
        family = psutil.Process(parent.pid).children(recursive=True)
        (dvc,) = list_dvc_processes(family)
        assert dvc_lock_repair._is_dvc(dvc.pid)
        parent.kill()
        assert not psutil.wait_procs([dvc], timeout=10)[1]
        for process in family:
            if process.is_running():
                process.kill()


def test_in_the_foreground_a_signal_stops_the_stage_and_decides_the_exit_status(stage: Stage, tmp_path: Path) -> None:
    stage("trap 'echo safe; exit 3' INT; echo started; while true; do sleep 0.05; done")
    program = PROGRAM[: PROGRAM.index("with exit")].replace("DvcProcesses", "run_in_foreground")
    program += "sys.exit(run_in_foreground(['repro', '--quiet', 'a']))"
    with subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == "started\n"
        parent.send_signal(signal.SIGTERM)
        assert parent.communicate(timeout=60)[0] == "safe\n"
    assert parent.returncode == 143


def test_dvc_reports_files_that_it_cannot_read(stage: Stage, tmp_path: Path) -> None:
    stage("true")
    (tmp_path / "dvc.yaml").write_text("stages: [")
    lines: list[str] = []
    assert DvcProcesses().run(["repro"], lines.append) == 255
    assert any("dvc.yaml' is invalid" in line for line in lines), lines
