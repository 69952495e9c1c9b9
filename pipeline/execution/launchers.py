"""Trials in other processes or on other nodes, started by a Hydra launcher (``conf/hydra/launcher/``).

Give ``hydra/launcher=cores`` on the command line, or ``LAB_LAUNCHER=cores`` for the seeds of every cell that DVC runs.
Every trial must see the project's folder. A job is sent by the name of its stage. Its output goes to a file in the
sweep's folder, from which the process that opened the sweep prints it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core import redaction
from pipeline.core.errors import UserError, format_line, suggest
from pipeline.execution.cell_run import FOLDER
from pipeline.system import distributed, hardware, parent_process

if TYPE_CHECKING:
    from hydra.plugins.launcher import Launcher
    from omegaconf import DictConfig

LAUNCHER_VARIABLE = "LAB_LAUNCHER"
LOCAL = "basic"  # Hydra's default: one trial after another in this process
EXTRAS = {"cores": "joblib", "slurm": "submitit", "slurm-here": "submitit", "ray-here": "ray", "ray-cluster": "ray"}
LIBRARIES = ("joblib", "submitit", "ray")
NUMBERS = (
    "n_jobs", "timeout_min", "cpus_per_task", "gpus_per_node", "mem_gb", "array_parallelism", "ray.remote.num_cpus",
    "ray.remote.num_gpus",
)  # fmt: skip
WORDS = ("partition", "account", "qos", "constraint")
SETTINGS = (*NUMBERS, *WORDS)  # what a command may set; the files contain the rest
WORD = re.compile(r"[\w.:&|-]{1,100}", re.ASCII)
POLL_SECONDS = 0.2


def get_requested_launcher() -> str:
    """Return the launcher of the plan's seeds; processes that train together use none, since they already run."""
    if distributed.is_distributed():
        os.environ.pop(LAUNCHER_VARIABLE, None)
    return os.environ.get(LAUNCHER_VARIABLE, LOCAL)


def check_launcher(name: object) -> None:
    """Raise UserError for an unknown launcher, or where its package or Slurm is not installed."""
    if name == LOCAL:
        return
    if name not in EXTRAS:
        raise UserError(f"no launcher {name!r} in conf/hydra/launcher/; {suggest(name, [LOCAL, *EXTRAS])}")
    if distributed.is_distributed():
        raise UserError(
            f"hydra/launcher={name} inside torchrun: torchrun has started the processes; use only one of them"
        )
    extra = EXTRAS[str(name)]
    if find_spec(f"hydra_plugins.hydra_{extra}_launcher") is None:
        raise UserError(f"hydra/launcher={name} is not installed; run pip install -e '.[{extra}]'")
    if name == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
        raise UserError("hydra/launcher=slurm: no sbatch and srun here; use a machine with Slurm, or slurm-here")


def check_setting(key: str, value: object) -> str | None:
    """Return what is wrong with a launcher's setting on the command line; None if it is valid."""
    if key not in SETTINGS:
        return f"cannot be set here, only in conf/hydra/launcher/; {suggest(key, SETTINGS)}"
    if key in WORDS:
        return None if isinstance(value, str) and WORD.fullmatch(value) else f"got {value!r}; give a plain name"
    minimum = 0 if "gpus" in key else 1
    if isinstance(value, int) and not isinstance(value, bool) and (value >= minimum or (key, value) == ("n_jobs", -1)):
        return None
    return f"got {value!r}; give a whole number from {minimum}{', or -1 for all cores' if key == 'n_jobs' else ''}"


def convert_launcher_error(error: Exception) -> UserError | None:
    """Return the message for a launcher that lost its processes; None for any other error."""
    if type(error).__module__.partition(".")[0] not in LIBRARIES:
        return None
    lines = [text.strip() for text in str(error).splitlines() if text.strip()] or [type(error).__name__]
    return UserError(
        f"a trial was lost with its process: {format_line(lines[0])}; other trials are saved: run the command again"
    )


class SweepAddress(NamedTuple):
    """What a job carries to another process: the folder of its sweep, and the process that opened it."""

    folder: str
    host: str
    process: int

    @classmethod
    def get_current(cls) -> SweepAddress:
        """Return the address of the sweep of this process."""
        return cls(os.environ[FOLDER], socket.gethostname(), os.getpid())


@contextmanager
def join_sweep(address: SweepAddress) -> Iterator[None]:
    """Run a trial for the process that opened the sweep: send the output there, and end with it if it is the parent."""
    os.environ[FOLDER] = address.folder
    if (socket.gethostname(), os.getppid()) == (address.host, address.process):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
        parent_process.end_with_parent()
    with _redirect(1, "stdout", Path(address.folder)), _redirect(2, "stderr", Path(address.folder)):
        yield


@contextmanager
def _redirect(number: int, name: str, folder: Path) -> Iterator[None]:
    """Write a standard stream of this process and its children to a file in the sweep's folder."""
    stream, copy = getattr(sys, name), os.dup(number)
    target = tempfile.NamedTemporaryFile("w", 1, encoding="utf-8", dir=folder, suffix=f".{name}", delete=False)  # noqa: SIM115
    try:
        with target as file:
            stream.flush()
            os.dup2(file.fileno(), number)
            setattr(sys, name, redaction.RedactedStream(file))
            yield
    finally:
        setattr(sys, name, stream)
        os.dup2(copy, number)
        os.close(copy)


def prepare_launch(sweeper: Any, cells: Iterable[Sequence[str]], trials: int) -> None:
    """Check the config of each cell, assign cores to trials, and start to relay their output.

    Raises UserError for a config that no trial could start with.
    """
    from omegaconf import flag_override

    for overrides in cells:
        cfg = sweeper.hydra_context.config_loader.load_sweep_config(sweeper.config, list(overrides))
        with flag_override(cfg, ["readonly", "struct"], False):
            del cfg["hydra"]
        sweeper.launcher.task_function.check_config(cfg)
    _assign_cores(sweeper.launcher, cfg, trials)
    _relays.append(OutputRelay(Path(os.environ[FOLDER])))
    _relays[-1].start()


def _assign_cores(launcher: Any, cfg: DictConfig, trials: int) -> None:
    """Set how many trials run at once and their threads; on nodes, Slurm and Ray assign the cores."""
    processes = cfg.get("processes", 1)
    if type(launcher).__name__ == "JoblibLauncher":
        threads = cfg.get("threads") or hardware.get_requested_threads() or 1
        max_jobs = max(1, hardware.count_cores() // (processes * threads))
        gpus = hardware.count_gpus() // processes
        jobs = launcher.joblib["n_jobs"]
        at_once = min(trials, *([gpus] if gpus > 1 else []), max_jobs if jobs < 0 else jobs)
        launcher.joblib["n_jobs"] = at_once
    elif type(launcher).__name__ == "LocalLauncher":
        at_once = trials
    else:
        return _bind_ray_to_loopback(launcher)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, hardware.count_cores() // (at_once * processes))))


def _bind_ray_to_loopback(launcher: Any) -> None:
    """Let a Ray instance of this sweep listen on this machine only, as Ray does by default on Windows and macOS."""
    if type(launcher).__name__ == "RayLauncher" and launcher.ray_cfg.init.address == "local":
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # read when Ray is imported


@contextmanager
def relay_output() -> Iterator[None]:
    """Print the rest of the output of remote trials at the end of the block."""
    try:
        yield
    finally:
        while _relays:
            _relays.pop().end()


class OutputRelay(threading.Thread):
    """Prints the output of a sweep's remote trials line by line while it runs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(name="relay", daemon=True)
        self._folder, self._ended = folder, threading.Event()
        self._positions: dict[Path, int] = {}  # in bytes

    def run(self) -> None:
        """Print new lines until ``end`` is called."""
        while not self._ended.wait(POLL_SECONDS):
            self._print_lines()

    def end(self) -> None:
        """Stop, and print the rest."""
        self._ended.set()
        self.join()
        self._print_lines()

    def _print_lines(self) -> None:
        for name in ("stdout", "stderr"):
            for path in sorted(self._folder.glob(f"*.{name}")):
                with path.open("rb") as file:
                    file.seek(self._positions.get(path, 0))
                    text = file.read()
                lines = text[: text.rfind(b"\n") + 1]
                self._positions[path] = self._positions.get(path, 0) + len(lines)
                if lines:
                    print(lines.decode(errors="replace"), end="", file=getattr(sys, name), flush=True)


_relays: list[OutputRelay] = []  # of the sweep of this process


def is_remote(launcher: Launcher | None) -> bool:
    """Return whether a launcher runs trials in other processes."""
    return launcher is not None and type(launcher).__name__ != "BasicLauncher"
