"""A machine that has run short of something says so in a line, keeps what there was, and goes on when it can."""

import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pipeline.core import paths, system_errors
from pipeline.core.exits import exit_on_user_error
from pipeline.system import hardware

AGAIN = "run the same command again: finished work is saved"
FULL = f"no space left (No space left on device); free space and {AGAIN}"
SHORT = """
import json, os, resource, signal, sqlite3, sys
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq, torch
from safetensors.torch import save_file
from pipeline.core import paths, system_errors

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = Path(sys.argv[1])
said = {}


def trying(name, work):
    try:
        work()
        said[name] = "nothing"
    except BaseException as error:
        told = system_errors.convert_error(error)
        said[name] = str(told) if told else repr(error)


def replaced():
    with paths.replace_dir(folder / "cell") as fresh:
        (fresh / "weights").write_bytes(bytes(5000))


def full_database():
    with sqlite3.connect(folder / "small.db") as store:
        store.execute("pragma max_page_count = 3")
        store.execute("create table t (text)")
        store.execute("insert into t values (?)", ("x" * 50_000,))


def many_files():
    opened = [open(folder / "kept.json") for _ in range(100)]


rows = pa.table({"text": ["a", "b"] * 5000, "number": np.random.default_rng(0).random(10000)})
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))  # as a full disk, for this process alone
trying("json", lambda: paths.write_json(folder / "kept.json", ["x" * 5000]))
trying("folder", replaced)
trying("parquet", lambda: pq.write_table(rows, folder / "rows.parquet"))
trying("safetensors", lambda: save_file({"w": torch.zeros(5000)}, folder / "w.safetensors"))
trying("memory map", lambda: np.memmap(folder / "map", dtype=np.float16, mode="w+", shape=(5000,)))
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
trying("sqlite", full_database)
trying("torch", lambda: torch.empty(1 << 44))
trying("numpy", lambda: np.ones(1 << 44))
trying("python", lambda: bytearray(1 << 46))
trying("gpu", lambda: torch.zeros(1, device="cuda"))
files = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (50, files[1]))
trying("files", many_files)
resource.setrlimit(resource.RLIMIT_NOFILE, files)
trying("again", lambda: paths.write_json(folder / "kept.json", ["new"]))
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], Path]:
    """Return what is told where the system itself refuses, and the folder in which it did."""
    folder = tmp_path_factory.mktemp("short")
    (folder / "kept.json").write_text('["old"]')
    (folder / "cell").mkdir()
    (folder / "cell" / "weights").write_text("old")
    command = [sys.executable, "-c", SHORT, folder]
    done = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), folder


@pytest.mark.parametrize("what", ["json", "folder", "parquet", "safetensors", "memory map"])
def test_a_file_that_may_not_grow_is_a_line_about_room(said: tuple[dict[str, str], Path], what: str) -> None:
    assert said[0][what].endswith(f"no space left (File too large); free space and {AGAIN}")


def test_a_database_that_may_not_grow_is_a_line_about_room(said: tuple[dict[str, str], Path]) -> None:
    assert said[0]["sqlite"] == FULL


@pytest.mark.parametrize("what", ["torch", "numpy", "python"])
def test_memory_that_is_not_there_is_a_line_about_memory(said: tuple[dict[str, str], Path], what: str) -> None:
    assert said[0][what].startswith("not enough memory (")
    assert said[0][what].endswith(f"); end other programs, or use smaller batches or fewer processes, and {AGAIN}")
    assert "\n" not in said[0][what]


def test_too_many_open_files_are_told_with_what_allows_more(said: tuple[dict[str, str], Path]) -> None:
    assert said[0]["files"] == (
        f"{said[1]}/kept.json: too many open files; raise the limit (`ulimit -n 65536`) and {AGAIN}"
    )


def test_a_gpu_that_cannot_be_used_is_told_with_how_to_go_without(said: tuple[dict[str, str], Path]) -> None:
    assert said[0]["gpu"].startswith("the GPU cannot be used (")
    assert said[0]["gpu"].endswith("); check its driver, or `export CUDA_VISIBLE_DEVICES=` to use none")


def test_what_was_there_is_whole_and_the_same_call_goes_on_once_there_is_room(
    said: tuple[dict[str, str], Path],
) -> None:
    found, folder = said
    assert (folder / "cell" / "weights").read_text() == "old"
    assert found["again"] == "nothing"
    assert json.loads((folder / "kept.json").read_text()) == ["new"]
    assert not [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


class OutOfMemoryError(RuntimeError):
    """As torch raises on a GPU."""


class OperationalError(Exception):
    """As SQLAlchemy raises around the error of the database."""


class SafetensorError(Exception):
    """As safetensors raises, with the text of Rust's error."""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "full", "runs/a"), f"runs/a: {FULL}"),
        (OSError(errno.EDQUOT, ""), f"no space left (Disk quota exceeded); free space and {AGAIN}"),
        (
            OSError(errno.EROFS, "", "/data"),
            f"/data: not allowed (Read-only file system); give this user read and write access, and {AGAIN}",
        ),
        (
            PermissionError(errno.EACCES, "", "runs"),
            f"runs: not allowed (Permission denied); give this user read and write access, and {AGAIN}",
        ),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), FULL),
        (SafetensorError('IoError(Os { code: 28, kind: StorageFull, message: "No space left on device" })'), FULL),
        (
            OperationalError("(sqlite3.OperationalError) attempt to write a readonly database\n[SQL: ...]"),
            f"not allowed (Read-only file system); give this user read and write access, and {AGAIN}",
        ),
        (
            OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nmore"),
            "not enough memory (CUDA out of memory. Tried to allocate 20.00 GiB.); end other programs, or use "
            f"smaller batches or fewer processes, and {AGAIN}",
        ),
        (
            RuntimeError("No CUDA GPUs are available"),
            "the GPU cannot be used (No CUDA GPUs are available); check its driver, or `export CUDA_VISIBLE_DEVICES=` "
            "to use none",
        ),
    ],
)
def test_each_way_of_a_library_to_tell_it_is_known(error: BaseException, line: str) -> None:
    assert str(system_errors.convert_error(error)) == line


@pytest.mark.parametrize(
    "error",
    [
        ValueError("No space left on device"), RuntimeError("shapes do not match"), FileNotFoundError(2, "", "runs/a"),
        KeyError("memory"), SafetensorError("header too large"), OperationalError("no such table"),
    ],
)  # fmt: skip
def test_a_bug_is_not_taken_for_the_machine(error: BaseException) -> None:
    assert system_errors.convert_error(error) is None


def test_a_process_too_many_is_a_line_that_names_the_limit() -> None:
    told = system_errors.convert_error(BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)))  # as os.fork raises it
    assert str(told) == f"too many processes; end others, or raise the limit (`ulimit -u`), and {AGAIN}"


def test_no_folder_for_temporary_files_is_a_line_that_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/nowhere/at/all"])
    with pytest.raises(SystemExit) as end, exit_on_user_error():
        paths.get_machine_dir()
    assert end.value.code == "error: no folder for temporary files is writable; set TMPDIR to one that is"


def test_a_full_disk_ends_a_command_in_a_line_and_the_same_command_goes_on(project: Path) -> None:
    def plan(limit: str) -> subprocess.CompletedProcess[str]:
        command = f"trap '' XFSZ; ulimit -f {limit}; exec {sys.executable} -m pipeline.plan"
        return subprocess.run(["bash", "-c", command], cwd=project, capture_output=True, text=True, check=False)

    (project / "params.yaml").write_text((paths.ROOT / "params.yaml").read_text())
    full = plan("0")
    assert full.returncode == 1
    assert full.stderr == f"error: no space left (File too large); free space and {AGAIN}\n"
    assert plan("unlimited").returncode == 0
    assert (project / ".cache/plan-checked").read_text() == "checked\n"


def test_gpus_that_are_named_where_there_are_none_leave_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    hardware.claim_gpus(4)
    assert hardware.get_device().type == "cpu"


CALLS = [(Path, "mkdir"), (Path, "open"), (os, "fsync"), (Path, "replace"), (Path, "rename")]


def refusing(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Let the given one of all calls that change the disk fail as on a full disk; return the calls so far."""
    seen: list[str] = []

    def wrapped(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **more: Any) -> Any:
            seen.append(name)
            if len(seen) == number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(words[0]))
            return real(*words, **more)

        return call

    for owner, name in CALLS:
        monkeypatch.setattr(owner, name, wrapped(name, getattr(owner, name)))
    return seen


def write_file(folder: Path, text: str) -> None:
    paths.write_json(folder / "made", [text])


def write_folder(folder: Path, text: str) -> None:
    with paths.replace_dir(folder / "made") as fresh, (fresh / "weights").open("w") as file:
        file.write(text)


def held(folder: Path) -> str:
    made = folder / "made"
    return (made / "weights").read_text() if made.is_dir() else json.loads(made.read_text())[0]


@pytest.mark.parametrize("work", [write_file, write_folder])
def test_a_disk_that_is_full_at_any_step_leaves_the_old_or_the_new_whole(
    tmp_path: Path, work: Callable[[Path, str], None]
) -> None:
    failures = number = 0
    seen = [""]
    while len(seen) >= number:
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        work(folder, "old")
        failed = None
        with pytest.MonkeyPatch.context() as patch, suppress(OSError):
            seen, failed = refusing(patch, number), True
            work(folder, "new")
            failed = False
        assert held(folder) == ("old" if failed else "new"), seen
        failures += bool(failed)
        work(folder, "newer")
        assert held(folder) == "newer", seen
        assert [path.name for path in folder.iterdir()] == ["made"], seen
    assert failures == {write_file: 4, write_folder: 4}[work]


def test_a_process_that_was_killed_between_two_renames_has_lost_nothing(tmp_path: Path) -> None:
    write_folder(tmp_path, "old")
    (tmp_path / "made").rename(tmp_path / ".made.999999999.old.tmp")  # as such a process leaves it
    with pytest.raises(RuntimeError, match="stopped"):
        stopped(tmp_path)
    assert held(tmp_path) == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def stopped(folder: Path) -> None:
    with paths.replace_dir(folder / "made"):
        raise RuntimeError("stopped")
