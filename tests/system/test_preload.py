import importlib
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipeline.core import paths
from pipeline.system import preload, preload_server

PROBE = '''"""A command that tells where it ran."""
import json, os, subprocess, sys, time
from pipeline.system import preload

def main():
    print(json.dumps([sys.argv[1:], os.environ.get("DVC_STAGE"), "ready" in sys.modules]), flush=True)
    if "process" in sys.argv:
        print(os.getpid())
    if "cores" in sys.argv:
        print(sorted(os.sched_getaffinity(0)))
    if "mark" in sys.argv:
        from pipeline.core import errors
        print(errors.MARK)
    if "value" in sys.argv:
        print("pipeline.helper" in sys.modules)
        from pipeline import helper
        print(helper.VALUE)
    if "leave" in sys.argv:
        print(preload.release_client(), flush=True)
        os.close(1)
        os.close(2)
        time.sleep(1)
        open("late", "w").close()
    if "twice" in sys.argv:
        subprocess.run([sys.executable, "-m", "pipeline.probe"])
    for _ in range(600 if "sleep" in sys.argv else 0):
        time.sleep(0.1)  # in short naps: a signal between the interpreter's check and the call waits for the call's end
    sys.exit(3 if "fail" in sys.argv else "error: one line" if "say" in sys.argv else 0)

if __name__ == "__main__":
    preload.run_in_server()
    main()
'''


@pytest.fixture
def place() -> Iterator[Path]:
    """Return a folder with a package whose warm server preloads one marker module and idles for long.

    Its name is short, unlike pytest's own: a socket's has 107 bytes at most.
    """
    with tempfile.TemporaryDirectory(prefix="lab-") as made:
        folder = Path(made)
        package = folder / "pipeline"
        package.mkdir()
        for name in ("core", "system"):
            (package / name).mkdir()
            (package / name / "__init__.py").touch()
        shutil.copy(preload.__file__, package / "system")
        source = Path(preload_server.__file__).read_text(encoding="utf-8")
        start, end = source.index("LIBRARIES = ("), source.index(")\n", source.index("LIBRARIES = ("))
        changed = source[:start] + 'LIBRARIES = ("ready",' + source[end:]
        start, end = changed.index("PROJECT = ("), changed.index(")\n", changed.index("PROJECT = ("))
        changed = changed[:start] + 'PROJECT = ("pipeline.helper",' + changed[end:]
        (package / "system/preload_server.py").write_text(changed.replace('"hydra.core.plugins"', '"no.plugins"'))
        (package / "__init__.py").touch()
        for module in (
            "core/paths",
            "system/parent_process",
            "core/errors",
            "core/exits",
            "core/redaction",
            "core/system_errors",
        ):
            shutil.copy(paths.ROOT / "pipeline" / f"{module}.py", package / f"{module}.py")
        (package / "probe.py").write_text(PROBE)
        (package / "helper.py").write_text("VALUE = 1\n")
        (folder / "ready.py").touch()
        yield folder
        for process in servers(folder):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def servers(place: Path) -> list[int]:
    """Return the process ids of the servers that were started in this folder."""
    texts = (lock.read_text() for lock in place.glob("scaling-lab-*/*.lock"))
    return [int(text) for text in texts if text]  # the locks of cores are empty


def command(place: Path, *words: str, stage: str = "a@b", temporary: Path | None = None) -> subprocess.Popen[str]:
    environment = {**os.environ, "LAB_WARM": "1", "DVC_STAGE": stage, "TMPDIR": str(temporary or place)}
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.probe", *words],
        cwd=place,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def outcome(place: Path, *words: str, **given: Any) -> tuple[str, str, int]:
    with command(place, *words, **given) as process:
        out, complaint = process.communicate()
    return out, complaint, process.returncode


def warmed(place: Path) -> None:
    deadline = time.monotonic() + 60
    while '"a@b", true' not in outcome(place)[0]:
        assert time.monotonic() < deadline, "no warm server came up"
        time.sleep(0.1)


def test_the_first_command_waits_for_the_server_and_all_work_in_a_fork(place: Path) -> None:
    (place / "ready.py").write_text("import time; time.sleep(1)\n")
    assert outcome(place, "x")[0] == '[["x"], "a@b", true]\n'
    # which stage DVC is at is no part of the environment that a server keeps: each command brings its own
    assert outcome(place, "y", "z", stage="c@d")[0] == '[["y", "z"], "c@d", true]\n'


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_a_command_runs_on_its_own_cores_and_not_on_those_of_the_server(place: Path) -> None:
    warmed(place)
    mine = sorted(os.sched_getaffinity(0))
    try:
        os.sched_setaffinity(0, mine[:1])
        assert outcome(place, "cores")[0].splitlines()[1] == str(mine[:1])
    finally:
        os.sched_setaffinity(0, mine)
    assert outcome(place, "cores")[0].splitlines()[1] == str(mine)


def test_status_and_last_words_come_back(place: Path) -> None:
    warmed(place)
    assert outcome(place, "fail")[2] == 3
    assert outcome(place, "say")[1:] == ("error: one line\n", 1)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_reaches_the_work(place: Path, number: signal.Signals, status: int) -> None:
    warmed(place)
    with command(place, "sleep") as sleeping:
        assert sleeping.stdout is not None
        sleeping.stdout.readline()
        sleeping.send_signal(number)
        assert sleeping.wait(timeout=30) == status


def test_work_ends_with_the_client_that_asked_for_it(place: Path) -> None:
    warmed(place)
    with command(place, "sleep") as sleeping:
        assert sleeping.stdout is not None
        sleeping.stdout.readline()
        sleeping.kill()
        assert sleeping.stdout.read() == ""  # the pipe closes once the fork, its last writer, is gone
    assert '"a@b", true' in outcome(place)[0]


def test_a_fork_lets_go_of_its_command_and_works_on(place: Path) -> None:
    warmed(place)
    began = time.monotonic()
    assert outcome(place, "leave") == ('[["leave"], "a@b", true]\nTrue\n', "", 0)
    assert not (place / "late").exists() or time.monotonic() - began > 1
    while not (place / "late").exists():
        assert time.monotonic() - began < 30
        time.sleep(0.05)
    assert '"a@b", true' in outcome(place)[0]


def test_a_process_that_is_no_fork_has_nobody_to_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    for told in (None, "0", "1", f"{os.getppid()} 5 /socket"):
        monkeypatch.delenv("LAB_WARM", raising=False) if told is None else monkeypatch.setenv("LAB_WARM", told)
        assert not preload.is_fork()
        assert not preload.release_client()


def test_a_command_that_the_work_runs_is_forked_too(place: Path) -> None:
    warmed(place)
    assert outcome(place, "twice")[0] == '[["twice"], "a@b", true]\n[[], "a@b", true]\n'


def test_an_edit_of_what_the_server_uses_itself_is_not_missed(place: Path) -> None:
    warmed(place)
    file = place / "pipeline/core/errors.py"
    file.write_text(file.read_text() + "MARK = 'edited'\n")
    assert outcome(place, "mark")[0] == '[["mark"], "a@b", true]\nedited\n'


def test_what_lies_ready_of_the_project_is_imported_anew_once_it_was_edited(place: Path) -> None:
    head = '[["value"], "a@b", true]\n'
    os.utime(place / "pipeline/helper.py", (1, 1))
    assert outcome(place, "value")[0] == f"{head}True\n1\n"
    (place / "pipeline/helper.py").write_text("VALUE = 22\n")
    assert outcome(place, "value")[0] == f"{head}False\n22\n"
    assert outcome(place, "value")[0] == f"{head}False\n22\n"
    assert len(servers(place)) == 1


def test_what_is_edited_while_a_server_comes_up_is_not_taken_from_it(place: Path) -> None:
    late = time.time() + 60  # as an edit after the server's begin and before its import
    os.utime(place / "pipeline/helper.py", (late, late))
    assert outcome(place, "value")[0] == '[["value"], "a@b", true]\nFalse\n1\n'


def test_a_folder_that_others_can_enter_is_refused(place: Path) -> None:
    (place / f"scaling-lab-{os.getuid()}").mkdir(mode=0o777)
    (place / f"scaling-lab-{os.getuid()}").chmod(0o777)
    folder = place / f"scaling-lab-{os.getuid()}"
    message = f"error: {folder} is open to other users; remove it\n"
    assert outcome(place)[1:] == (message, 1)


def test_a_command_and_the_stages_that_dvc_runs_have_one_server(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preload.paths, "get_machine_dir", lambda _: place)
    for name in ("DVC_ROOT", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    ahead = preload._compute_address()  # as `make repro JOBS=2` starts it
    monkeypatch.setenv("DVC_ROOT", str(place))
    monkeypatch.setenv("DVC_STAGE", "finetune@a")
    monkeypatch.setenv("PWD", str(place))  # which a shell sets anew, where a program had begun it elsewhere
    assert preload._compute_address() == ahead
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert preload._compute_address() != ahead


@pytest.mark.parametrize(("stage", "started"), [("plan", [True]), (None, [])])
def test_the_check_of_the_plan_starts_a_server_for_what_dvc_runs_next(
    monkeypatch: pytest.MonkeyPatch, stage: str | None, started: list[bool]
) -> None:
    begun: list[bool] = []
    monkeypatch.setattr("pipeline.plan.main", lambda: None)
    monkeypatch.setattr(preload, "start_server", lambda: begun.append(True))
    monkeypatch.delenv("DVC_STAGE", raising=False)
    if stage:
        monkeypatch.setenv("DVC_STAGE", stage)
    runpy.run_module("pipeline.plan", run_name="__main__")
    assert begun == started


def test_only_one_server_is_started_however_many_commands_come_before_it_is_ready(place: Path) -> None:
    (place / "ready.py").write_text("import time; time.sleep(2)\n")
    for started in [command(place) for _ in range(3)]:
        with started:
            assert '"a@b", true' in started.communicate()[0]
    (server,) = servers(place)
    os.kill(server, 0)  # raises where it has ended


def test_a_command_works_by_itself_where_the_server_dies_at_its_start(place: Path) -> None:
    (place / "ready.py").write_text("raise SystemExit(1)\n")
    assert outcome(place, "x")[0] == '[["x"], "a@b", false]\n'


def test_a_folder_of_temporary_files_whose_name_is_too_long_for_a_socket_is_in_nobody_s_way(place: Path) -> None:
    deep = place / ("long" * 30)
    deep.mkdir()
    try:
        for _ in range(2):
            assert outcome(place, temporary=deep)[0] == '[[], "a@b", true]\n'
    finally:
        for process in psutil.process_iter(["cwd"]):
            if process.info["cwd"] == str(place):
                process.kill()
    assert not list(deep.iterdir())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_that_comes_before_the_child_is_known_reaches_it_too(
    place: Path, number: signal.Signals, status: int
) -> None:
    """A server that answers late stands for one whose child has begun, and printed, before its client hears of it."""
    address = place / "late"
    listens = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_DFL); print(flush=True); time.sleep(60)"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server,
        subprocess.Popen([sys.executable, "-c", listens], stdout=subprocess.PIPE) as child,
    ):
        assert child.stdout
        child.stdout.readline()  # where the tests run in the background it would ignore interrupts
        server.bind(str(address))
        server.listen()
        environment = {**os.environ, "LAB_WARM": f"1 0 {address}"}
        words = [sys.executable, "-m", "pipeline.probe"]
        with subprocess.Popen(words, cwd=place, env=environment) as asking:
            link, _ = server.accept()
            socket.recv_fds(link, 1 << 20, 3)
            asking.send_signal(number)
            with pytest.raises(subprocess.TimeoutExpired):
                asking.wait(timeout=0.5)
            link.sendall(f"{child.pid}\n".encode())
            assert child.wait(timeout=30) == -number
            link.sendall(f"{status}\n".encode())
            assert asking.wait(timeout=30) == status
            link.close()


@pytest.mark.parametrize("name", preload_server.PROJECT)
def test_what_is_imported_ahead_of_the_project_is_there(name: str) -> None:
    importlib.import_module(name)
