"""Trials elsewhere: in other processes or on other nodes, begun by a launcher of Hydra's (``conf/hydra/launcher/``).

``hydra/launcher=cores`` on the command line, or ``LAB_LAUNCHER=cores`` for the seeds of every cell that DVC runs. All
that trials make lies in the project's folder, which each of them must see. A job is sent by the name of its stage; what
it says goes to a file in the sweep's folder, and from there to whoever began the sweep.
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
from collections.abc import Callable, Iterable, Iterator, Sequence
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

LAUNCHER_VARIABLE = "LAB_LAUNCHER"  # the variable that names the launcher of the plan's seeds
HERE = "basic"  # Hydra's own: one trial after another in this process
EXTRAS = {"cores": "joblib", "slurm": "submitit", "slurm-here": "submitit", "ray-here": "ray", "ray-cluster": "ray"}
LIBRARIES = ("joblib", "submitit", "ray")
NUMBERS = (
    "n_jobs", "timeout_min", "cpus_per_task", "gpus_per_node", "mem_gb", "array_parallelism", "ray.remote.num_cpus",
    "ray.remote.num_gpus",
)  # fmt: skip
WORDS = ("partition", "account", "qos", "constraint")
SETTINGS = (*NUMBERS, *WORDS)  # what a command may set; all else stands in the files
WORD = re.compile(r"[\w.:&|-]{1,100}", re.ASCII)
POLL_SECONDS = 0.2

Run = Callable[["DictConfig"], "dict[str, Any] | None"]


def get_requested_launcher() -> str:
    """Return the launcher of the plan's seeds; processes that train together heed none, for they are begun already."""
    if distributed.is_distributed():
        os.environ.pop(LAUNCHER_VARIABLE, None)
    return os.environ.get(LAUNCHER_VARIABLE, HERE)


def check_launcher(name: object) -> None:
    """Raise UserError where there is no launcher of that name, or where what it needs is not installed."""
    if name == HERE:
        return
    if name not in EXTRAS:
        raise UserError(f"no launcher {name!r} in conf/hydra/launcher/; {suggest(name, [HERE, *EXTRAS])}")
    if distributed.is_distributed():
        raise UserError(
            f"hydra/launcher={name} within torchrun: its processes are begun already; leave one of both out"
        )
    extra = EXTRAS[str(name)]
    if find_spec(f"hydra_plugins.hydra_{extra}_launcher") is None:
        raise UserError(f"hydra/launcher={name} is not installed; run pip install -e '.[{extra}]'")
    if name == "slurm" and not (shutil.which("sbatch") and shutil.which("srun")):
        raise UserError("hydra/launcher=slurm: no sbatch and srun here; run it where Slurm is, or take slurm-here")


def check_setting(key: str, value: object) -> str | None:
    """Say what is wrong with a launcher's setting on the command line, or return None."""
    if key not in SETTINGS:
        return f"not to be set here, but in conf/hydra/launcher/; {suggest(key, SETTINGS)}"
    if key in WORDS:
        return None if isinstance(value, str) and WORD.fullmatch(value) else f"got {value!r}; give a plain name"
    least = 0 if "gpus" in key else 1
    if isinstance(value, int) and not isinstance(value, bool) and (value >= least or (key, value) == ("n_jobs", -1)):
        return None
    return f"got {value!r}; give a whole number from {least}{', or -1 for all cores' if key == 'n_jobs' else ''}"


def convert_launcher_error(error: Exception) -> UserError | None:
    """Return the line that tells of a launcher that lost its processes, None for an error of another kind."""
    if type(error).__module__.partition(".")[0] not in LIBRARIES:
        return None
    said = [text.strip() for text in str(error).splitlines() if text.strip()] or [type(error).__name__]
    return UserError(
        f"a trial was lost with its process: {format_line(said[0])}; the others' are kept: give the command again"
    )


class SweepAddress(NamedTuple):
    """What a job brings along: the folder of its sweep, and where that was begun."""

    folder: str
    host: str
    process: int


class TrialJob:
    """A trial of a sweep as Hydra calls it; another process gets it as what ``far`` makes of the stage's name."""

    def __init__(
        self, run: Run, check: Callable[[DictConfig], None], far: Callable[[str, SweepAddress], Run], stage: str
    ) -> None:
        self.run, self.check, self.far, self.stage = run, check, far, stage
        self.__module__ = f"pipeline.stages.{stage}"  # by which Hydra names jobs, and so does Slurm

    def __call__(self, cfg: DictConfig) -> dict[str, Any] | None:
        """Run the trial of one config here."""
        return self.run(cfg)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.far, (self.stage, SweepAddress(os.environ[FOLDER], socket.gethostname(), os.getpid()))


@contextmanager
def join_sweep(sent: SweepAddress) -> Iterator[None]:
    """Work for a sweep that another process has begun: end with it where it is the parent, and tell it all."""
    os.environ[FOLDER] = sent.folder
    if (socket.gethostname(), os.getppid()) == (sent.host, sent.process):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
        parent_process.end_with_parent()
    with _told(1, "stdout", Path(sent.folder)), _told(2, "stderr", Path(sent.folder)):
        yield


@contextmanager
def _told(number: int, name: str, folder: Path) -> Iterator[None]:
    """Let what this process and those that it begins write to a standard stream go to a file of the sweep's."""
    stream, kept = getattr(sys, name), os.dup(number)
    place = tempfile.NamedTemporaryFile("w", 1, encoding="utf-8", dir=folder, suffix=f".{name}", delete=False)  # noqa: SIM115
    try:
        with place as file:
            stream.flush()
            os.dup2(file.fileno(), number)
            setattr(sys, name, redaction.RedactedStream(file))
            yield
    finally:
        setattr(sys, name, stream)
        os.dup2(kept, number)
        os.close(kept)


def prepare_launch(sweeper: Any, cells: Iterable[Sequence[str]], trials: int) -> None:
    """Check the words of each cell before any trial is sent, share the cores out, and listen to the trials.

    Raises UserError for a config that no trial could begin with.
    """
    from omegaconf import flag_override

    for words in cells:
        cfg = sweeper.hydra_context.config_loader.load_sweep_config(sweeper.config, list(words))
        with flag_override(cfg, ["readonly", "struct"], False):
            del cfg["hydra"]
        sweeper.launcher.task_function.check(cfg)
    _share(sweeper.launcher, cfg, trials)
    _relays.append(OutputRelay(Path(os.environ[FOLDER])))
    _relays[-1].start()


def _share(launcher: Any, cfg: DictConfig, trials: int) -> None:
    """Say how many trials compute at once and on how many threads; on nodes Slurm and Ray give out the cores."""
    together = cfg.get("processes", 1)
    if type(launcher).__name__ == "JoblibLauncher":
        room = max(
            1, hardware.count_cores() // (together * (cfg.get("threads") or hardware.get_requested_threads() or 1))
        )
        gpus = hardware.count_gpus() // together
        asked = launcher.joblib["n_jobs"]
        at_once = min(trials, *([gpus] if gpus > 1 else []), room if asked < 0 else asked)
        launcher.joblib["n_jobs"] = at_once
    elif type(launcher).__name__ == "LocalLauncher":
        at_once = trials
    else:
        return _keep_to_loopback(launcher)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, hardware.count_cores() // (at_once * together))))


def _keep_to_loopback(launcher: Any) -> None:
    """Let a Ray of this sweep's own listen to this machine alone, as it does by itself where it knows no clusters."""
    if type(launcher).__name__ == "RayLauncher" and launcher.ray_cfg.init.address == "local":
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # read when Ray is first imported


@contextmanager
def relay_output() -> Iterator[None]:
    """Have all that trials elsewhere have said been shown at the end of the block."""
    try:
        yield
    finally:
        while _relays:
            _relays.pop().end()


class OutputRelay(threading.Thread):
    """Shows what the trials of a sweep say, a line at a time, for as long as it runs."""

    def __init__(self, folder: Path) -> None:
        super().__init__(name="relay", daemon=True)
        self._folder, self._over = folder, threading.Event()
        self._shown: dict[Path, int] = {}  # bytes of each file

    def run(self) -> None:
        """Look into the files again and again."""
        while not self._over.wait(POLL_SECONDS):
            self._show()

    def end(self) -> None:
        """Show the rest."""
        self._over.set()
        self.join()
        self._show()

    def _show(self) -> None:
        for name in ("stdout", "stderr"):
            for path in sorted(self._folder.glob(f"*.{name}")):
                with path.open("rb") as file:
                    file.seek(self._shown.get(path, 0))
                    text = file.read()
                whole = text[: text.rfind(b"\n") + 1]
                self._shown[path] = self._shown.get(path, 0) + len(whole)
                if whole:
                    print(whole.decode(errors="replace"), end="", file=getattr(sys, name), flush=True)


_relays: list[OutputRelay] = []  # of the sweep of this process


def is_remote(launcher: Launcher | None) -> bool:
    """Say whether a launcher runs trials in other processes."""
    return launcher is not None and type(launcher).__name__ != "BasicLauncher"
