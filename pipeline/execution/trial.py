"""One trial: its output directory, its log, its records, and its run in the tracking store."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import paths, redaction, system_errors, yaml_writer
from pipeline.core.errors import UserError, format_error
from pipeline.core.exits import INTERRUPTED_STATUS
from pipeline.execution import launchers, provenance, trial_cache
from pipeline.execution.cell_run import Sweep
from pipeline.system import distributed, machine_lock

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.execution.progress_bar import Progress
    from pipeline.tracking import Identity, TrialTracker
    from pipeline.training.checkpoints import Checkpoint


StageFunction = Callable[["DictConfig", Path, "TrialLog"], dict[str, Any]]

END_SECONDS = 1.5  # from Ctrl-C to the end of the process
STOPPING = (
    "stopping: finished trials and the last checkpoint of this one are saved; run the same command again to continue"
)


class StageJob:
    """The task function of a stage's Hydra app: runs one trial per call.

    A launcher sends it to other processes by the name of the stage, together with the address of the sweep.
    """

    def __init__(self, function: StageFunction, address: launchers.SweepAddress | None = None) -> None:
        self.function, self.address = function, address
        self.stage = function.__name__
        self.__module__ = f"pipeline.stages.{self.stage}"  # by which Hydra and Slurm name the job
        self.interrupted = threading.Event()
        self.mistake: UserError | None = None  # in the config of a job, after which no other job runs

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return load_remote_job, (self.stage, launchers.SweepAddress.get_current())

    def __call__(self, cfg: DictConfig) -> None:
        """Run the trial of one config, or this process's part of a trial that several processes share."""
        if self.address is None and self._is_refused(cfg):  # a remote job was checked before it was sent
            return
        with self._join_sweep(), self._report_failure(cfg), open_trial(self.stage, cfg) as log:
            if log is not None:
                log.finish(self.function(log.cfg, log.out, log))

    def check_config(self, cfg: DictConfig) -> None:
        """Raise UserError for a config that no trial could start with."""
        from pipeline.execution import overrides

        overrides.check_config(self.stage, cfg)

    def _is_refused(self, cfg: DictConfig) -> bool:
        try:
            self.check_config(cfg)
        except UserError as error:  # Hydra would print a traceback of it
            self.mistake = self.mistake or error
        return self.mistake is not None

    def _join_sweep(self) -> AbstractContextManager[None]:
        return nullcontext() if self.address is None else launchers.join_sweep(self.address)

    @contextmanager
    def _report_failure(self, cfg: DictConfig) -> Iterator[None]:
        """Report a failed trial to the sweep; print a user's mistake in one line, so that other trials still run."""
        try:
            yield
        except BaseException as error:
            if not distributed.get_group().is_rank_zero:
                raise
            Sweep.get_current().mark_failed(cfg.cell, cfg.seed)
            if self.interrupted.is_set() and isinstance(error, Exception):
                # torch clears a Ctrl-C while it imports NumPy, and then fails to import it
                raise KeyboardInterrupt from error
            mistake = error if isinstance(error, UserError) else system_errors.convert_error(error)
            if mistake is None:
                raise
            print(format_error(mistake, f"{_format_title(self.stage, cfg)}: "), file=sys.stderr, flush=True)


def load_remote_job(stage: str, address: launchers.SweepAddress) -> StageJob:
    """Return the job of a stage in a process that a launcher started for the sweep of another process."""
    return StageJob(getattr(import_module(f"pipeline.stages.{stage}"), stage), address)


@contextmanager
def stop_on_interrupt(interrupted: threading.Event) -> Iterator[None]:
    """At the first Ctrl-C, print what is saved, set ``interrupted``, and end the process within ``END_SECONDS``."""

    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        interrupted.set()
        if distributed.is_rank_zero():
            print(STOPPING, file=sys.stderr, flush=True)
        last = threading.Timer(END_SECONDS, os._exit, [INTERRUPTED_STATUS])
        last.daemon = True
        last.start()
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGINT, stop)
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED_STATUS) from None
    finally:
        signal.signal(signal.SIGINT, handler)


class TrialLog:
    """What a stage's function logs: curves, artifacts, checkpoints, lines and progress.

    ``cfg`` is the resolved config of the trial, ``out`` the folder for what the function writes.
    """

    def __init__(
        self,
        cfg: DictConfig,
        out: Path,
        records: Path,
        title: str,
        home: trial_cache.TrialFolders,
        tracker: TrialTracker | None = None,
    ) -> None:
        self.cfg, self.out, self.records, self.title, self.home = cfg, out, records, title, home
        self.tracker = tracker  # None in a process that writes no records
        self.artifacts: list[Path] = []
        self.checkpoints: list[Checkpoint] = []
        self._started = _read_clock()

    def log_metrics(self, step: int, values: dict[str, float]) -> None:
        """Add one point to each named curve at ``step`` (updates of the model so far)."""
        with (self.records / "curves.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def open_checkpoint(self, name: str = "training", ends: bool = False) -> Checkpoint:
        """Return the checkpoint of a training; ``ends`` means that the trial continues after this training."""
        from pipeline.training.checkpoints import Checkpoint

        self.checkpoints.append(Checkpoint(self.home.get_checkpoint(name), self.cfg.checkpoint_seconds, ends))
        return self.checkpoints[-1]

    def log_artifact(self, path: Path) -> None:
        """Add a file of the trial's folder to its run in the tracking store."""
        self.artifacts.append(path)

    def print_line(self, text: str) -> None:
        """Print one line that starts with the name of the trial."""
        print(f"{self.title}: {text}", flush=True)

    def open_progress(self, total: int, unit: str = "step") -> Progress:
        """Return a bar with rate and time left on a terminal, plain lines elsewhere."""
        from pipeline.execution.progress_bar import Progress

        return Progress(total, unit, self.title)

    def finish(self, result: dict[str, Any]) -> None:
        """Write the trial's config and numbers, and log them to the tracking store.

        Of several processes that train together, only rank zero does so.
        """
        from omegaconf import OmegaConf

        if self.tracker is None:
            return
        seconds = _read_clock() - self._started + sum(each.earlier_seconds for each in self.checkpoints)
        result = redaction.redact_values({"seed": self.cfg.seed, **result}) | {"trial_seconds": seconds}
        config, trial = self.records / "config.yaml", self.records / "trial.json"
        content: Any = redaction.redact_values(OmegaConf.to_container(self.cfg))
        config.write_text(yaml_writer.format_yaml(content), encoding="utf-8")
        artifacts = [(self.home.out / path.relative_to(self.out)).relative_to(paths.ROOT) for path in self.artifacts]
        paths.write_json(trial, {**result, "artifacts": [str(path) for path in artifacts]})
        self.tracker.finish(result, [*self.artifacts, config, trial])


def _read_clock() -> float:
    """Return seconds without those that this process waited for cores."""
    return time.perf_counter() - machine_lock.get_waited_seconds()


@contextmanager
def open_trial(stage: str, cfg: DictConfig) -> Iterator[TrialLog | None]:
    """Prepare one trial and yield its log; store what it made when the block succeeds.

    Yields None where nothing is left to do here: an earlier process finished the trial, or several processes run it.
    Of several processes that train together, rank zero writes the files; the others write into a temporary folder.
    """
    group = distributed.get_group()
    if "processes" in cfg and group.size > 1:
        cfg.processes = group.size  # as torchrun started them
    with _assist_trial(stage, cfg, group) if not group.is_rank_zero else _lead_trial(stage, cfg, group) as log:
        yield log


@contextmanager
def _lead_trial(stage: str, cfg: DictConfig, group: distributed.ProcessGroup) -> Iterator[TrialLog | None]:
    """Open a trial as rank zero, whose broadcast starts the other ranks or ends their wait."""
    from omegaconf import OmegaConf

    from pipeline.system import hardware
    from pipeline.tracking import get_tracker

    title, sweep, is_announced = _format_title(stage, cfg), Sweep.get_current(), False
    try:
        if _launch_processes(stage, cfg):
            yield None
            return
        cfg = provenance.merge_source_config(cfg)
        OmegaConf.resolve(cfg)
        identity = provenance.make_identity(stage, cfg)
        parent = sweep.open_cell(identity)
        home, key = _get_folders(identity, cfg.seed), trial_cache.compute_key(identity.tags["inputs_sha256"], cfg.seed)
        with _lock_cores(cfg, title), home.lock(key, f"{title}: waiting for another process that runs this trial"):
            if "threads" in cfg:
                hardware.set_threads(cfg.threads)
            is_finished = home.is_finished()
            group.broadcast(not is_finished)
            is_announced = True
            if is_finished:
                home.restore()
                get_tracker().log_finished_trial(identity, cfg.seed, parent, home.records)
                print(f"{title}: finished by an earlier run, so it does not run again", flush=True)
                yield None
            else:
                with home.replace() as (out, records):
                    tracker = get_tracker().open_trial(identity, cfg.seed, parent, records)
                    try:
                        yield TrialLog(cfg, out, records, title, home, tracker)
                    except BaseException as error:
                        tracker.fail(f"{type(error).__name__}: {error}")
                        raise
    except BaseException:
        if not is_announced:
            group.broadcast(False)
        raise
    sweep.mark_finished(identity, cfg.seed)


@contextmanager
def _assist_trial(stage: str, cfg: DictConfig, group: distributed.ProcessGroup) -> Iterator[TrialLog | None]:
    """Open a trial as a rank that keeps no files and prints nothing."""
    from omegaconf import OmegaConf

    from pipeline.system import hardware

    if not group.broadcast(True):  # rank zero's value counts; it reports why there is nothing to do
        yield None
        return
    with (
        machine_lock.lock_shared(),
        tempfile.TemporaryDirectory() as folder,
        open(os.devnull, "w", encoding="utf-8") as devnull,
        suppress(UserError),  # rank zero reports it
        redirect_stdout(devnull),
        redirect_stderr(devnull),
    ):
        cfg = provenance.merge_source_config(cfg)
        OmegaConf.resolve(cfg)
        hardware.set_threads(cfg.threads)
        home = _get_folders(provenance.make_identity(stage, cfg), cfg.seed)
        yield TrialLog(cfg, Path(folder), Path(folder), "", home)


def _format_title(stage: str, cfg: DictConfig) -> str:
    return f"{stage} {cfg.cell} seed {cfg.seed}"


def _lock_cores(cfg: DictConfig, title: str) -> AbstractContextManager[None]:
    """Return the lock of a trial on its cores, so that trials that run at the same time do not compete for them."""
    from pipeline.system import hardware

    if "threads" not in cfg:
        return nullcontext()

    def report(text: str) -> None:
        print(f"{title}: {text}", flush=True)

    should_run_alone = hardware.should_run_alone(cfg.threads)
    return machine_lock.lock_exclusive(report) if should_run_alone else machine_lock.lock_shared(report)


def _launch_processes(stage: str, cfg: DictConfig) -> bool:
    """Claim the GPUs of a trial; run it where it needs several processes, and return whether it did."""
    from hydra.core.hydra_config import HydraConfig

    from pipeline.system import hardware

    if "threads" not in cfg or distributed.is_distributed():
        return False  # torchrun has assigned the GPUs
    processes = cfg.get("processes", 1)
    if type(processes) is not int or processes < 1:
        raise UserError(f"processes: got {processes!r}; give a whole number from 1")
    hardware.claim_gpus(processes)
    if processes > 1:
        # The record describes this process, so it has as many threads as each of the others.
        hardware.set_threads(hardware.get_available_threads(processes) if cfg.threads is None else cfg.threads)
        distributed.launch(processes, f"pipeline.stages.{stage}", HydraConfig.get().overrides.task)
    return processes > 1


def _get_folders(identity: Identity, seed: int) -> trial_cache.TrialFolders:
    records = paths.get_trial_dir(identity.stage, identity.cell, seed, exploration=identity.exploration)
    product = None if identity.exploration else paths.get_product_dir(identity.stage, identity.cell)
    return trial_cache.TrialFolders(records, product)
