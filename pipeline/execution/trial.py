"""A trial in the frame that all stages share: a Hydra app whose jobs are trials and whose multirun is a cell.

The frame gives a stage's function a fresh folder, keeps its curves, writes its numbers and shows them to MLflow.
"""

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
from pipeline.system import distributed, machine_lock, preload

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.execution.progress_bar import Progress
    from pipeline.tracking import Identity, TrialTracker
    from pipeline.training.checkpoints import Checkpoint


StageFunction = Callable[["DictConfig", Path, "TrialLog"], dict[str, Any]]

END_SECONDS = 1.5  # from Ctrl-C to the end at the latest
STOPPING = "stopping: finished trials and the last checkpoint of this one are kept; the same command goes on from there"


def app(work: StageFunction) -> None:
    """Run ``work`` as the Hydra app of the stage that bears its name, and exit."""
    import hydra

    from pipeline import plan
    from pipeline.execution import overrides, sweeper

    redaction.redact_streams()
    stage = work.__name__
    plan.register_resolvers()
    sweeper.compose_seeds_once()

    refused = False

    def here(cfg: DictConfig) -> dict[str, Any] | None:
        nonlocal refused
        refused = refused or not sound(cfg)
        try:
            return None if refused else _trial(stage, work, cfg)
        except Exception as error:  # torch clears a Ctrl-C while it imports NumPy, and then cannot import it
            if interrupted.is_set():
                raise KeyboardInterrupt from error
            raise

    job = launchers.TrialJob(here, lambda cfg: overrides.check_config(stage, cfg), elsewhere, stage)
    with _interruptible() as interrupted, overrides.check_command(stage) as sound, distributed.init_process_group():
        sweep, complete, ran = (
            Sweep.open() if distributed.is_rank_zero() and not Sweep.is_member() else None,
            True,
            False,
        )
        try:
            with launchers.relay_output():
                hydra.main(version_base="1.3", config_path=str(paths.CONF), config_name=stage)(job)()
            ran = True
        finally:
            if sweep:
                complete = sweep.close(None if ran else sweeper.seeds())
                # The files are whole: what DVC does with them need not wait for the store. A measurement does.
                left = ran and complete and not refused and preload.release_client()
                with machine_lock.lock_shared() if left else nullcontext():
                    sweep.end()
    if not complete:
        raise SystemExit(1)


def elsewhere(stage: str, sent: launchers.SweepAddress) -> launchers.Run:
    """Return what runs the trials of a stage for a sweep that another process has begun."""
    work = getattr(import_module(f"pipeline.stages.{stage}"), stage)

    def job(cfg: DictConfig) -> dict[str, Any] | None:
        with launchers.join_sweep(sent):
            return _trial(stage, work, cfg)

    return job


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Say at the first Ctrl-C what is safe, and end soon, whatever the work or the tracking store is busy with.

    Yields what tells that it came.
    """
    interrupted = threading.Event()

    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        interrupted.set()
        if distributed.is_rank_zero():
            print(STOPPING, file=sys.stderr, flush=True)
        last = threading.Timer(END_SECONDS, os._exit, [INTERRUPTED_STATUS])
        last.daemon = True
        last.start()
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield interrupted
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED_STATUS) from None
    finally:
        signal.signal(signal.SIGINT, before)


class TrialLog:
    """What a trial tells while it works: curves, artifacts and progress."""

    def __init__(self, records: Path, title: str, home: trial_cache.Home, seconds: float) -> None:
        self.records, self.title, self.home = records, title, home
        self.artifacts: list[Path] = []
        self.checkpoints: list[Checkpoint] = []
        self._seconds = seconds

    def log_metrics(self, step: int, values: dict[str, float]) -> None:
        """Add one point to each named curve at ``step`` (updates of the model so far)."""
        with (self.records / "curves.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def open_checkpoint(self, name: str = "training", ends: bool = False) -> Checkpoint:
        """Return where a training of the trial keeps its state; ``ends`` says that other work follows it."""
        from pipeline.training.checkpoints import Checkpoint

        self.checkpoints.append(Checkpoint(self.home.checkpoint(name), self._seconds, ends))
        return self.checkpoints[-1]

    def log_artifact(self, path: Path) -> None:
        """Show a file of the trial's folder in the tracking store as well."""
        self.artifacts.append(path)

    def print_line(self, text: str) -> None:
        """Print one plain line."""
        print(f"{self.title}: {text}", flush=True)

    def open_progress(self, total: int, unit: str = "step") -> Progress:
        """Return a bar with rate and time left, or plain lines where there is no terminal."""
        from pipeline.execution.progress_bar import Progress

        return Progress(total, unit, self.title)


def _trial(stage: str, work: StageFunction, cfg: DictConfig) -> dict[str, Any] | None:
    """Run one trial into a fresh folder; a user's mistake is one line, and the other trials go on.

    A trial of several processes is started anew as such; the first of them tells and keeps what it comes to.
    """
    from omegaconf import OmegaConf

    group, begun = distributed.get_group(), False
    if "processes" in cfg and group.size > 1:
        cfg.processes = group.size  # torchrun's word counts
    if not group.is_rank_zero:
        _assist(work, cfg, group)
        return None
    title = f"{stage} {cfg.cell} seed {cfg.seed}"
    sweep = Sweep.current()

    def begin(needed: bool) -> None:
        nonlocal begun
        begun = True
        group.broadcast(needed)

    try:
        if _divided(stage, cfg):
            return None
        cfg = provenance.merge_source_config(cfg)
        OmegaConf.resolve(cfg)
        identity = provenance.make_identity(stage, cfg)
        parent = sweep.open_cell(identity)
        with _beside_others(cfg, title):
            result = _work(work, cfg, identity, title, parent, begin)
    except BaseException as error:
        sweep.mark_failed(cfg.cell, cfg.seed)
        if not begun:
            group.broadcast(False)
        mistake = error if isinstance(error, UserError) else system_errors.convert_error(error)
        if mistake is None:
            raise
        print(format_error(mistake, f"{title}: "), file=sys.stderr, flush=True)
        return None
    sweep.mark_finished(identity, cfg.seed)
    return result


def _beside_others(cfg: DictConfig, title: str) -> AbstractContextManager[None]:
    """Return the lock of a trial on its cores, so that trials that run at the same time do not compete for them."""
    from pipeline.system import hardware

    if "threads" not in cfg:
        return nullcontext()

    def say(text: str) -> None:
        print(f"{title}: {text}", flush=True)

    return machine_lock.lock_exclusive(say) if hardware.should_run_alone(cfg.threads) else machine_lock.lock_shared(say)


def _divided(stage: str, cfg: DictConfig) -> bool:
    """Give the trial its GPUs; where it is to run in several processes, run it there and say so."""
    from hydra.core.hydra_config import HydraConfig

    from pipeline.system import hardware

    if "threads" not in cfg or distributed.is_distributed():
        return False  # torchrun has given out the GPUs
    processes = cfg.get("processes", 1)
    if type(processes) is not int or processes < 1:
        raise UserError(f"processes: got {processes!r}; give a whole number from 1")
    hardware.claim_gpus(processes)
    if processes > 1:
        hardware.set_threads(
            hardware.get_available_threads(processes) if cfg.threads is None else cfg.threads
        )  # to tell it
        distributed.launch(processes, f"pipeline.stages.{stage}", HydraConfig.get().overrides.task)
    return processes > 1


def _assist(work: StageFunction, cfg: DictConfig, group: distributed.ProcessGroup) -> None:
    """Do one process's part of a trial whose records the first process keeps, and say nothing of it."""
    from omegaconf import OmegaConf

    from pipeline.system import hardware

    if not group.broadcast(True):
        return  # the first process tells why there is nothing to do
    with (
        machine_lock.lock_shared(),
        tempfile.TemporaryDirectory() as folder,
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        suppress(UserError),  # the first process tells it
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
    ):
        cfg = provenance.merge_source_config(cfg)
        OmegaConf.resolve(cfg)
        hardware.set_threads(cfg.threads)
        home = _home(provenance.make_identity(work.__name__, cfg), cfg.seed)
        work(cfg, Path(folder), TrialLog(Path(folder), "", home, cfg.checkpoint_seconds))


def _work(
    work: StageFunction,
    cfg: DictConfig,
    identity: Identity,
    title: str,
    parent: str | None,
    begin: Callable[[bool], None],
) -> dict[str, Any]:
    """Do the work of a trial in its folders and before the eyes of the tracking store, unless it had ended before.

    ``begin`` tells the other processes of the trial whether there is work.
    """
    from pipeline.system import hardware
    from pipeline.tracking import get_tracker

    if "threads" in cfg:
        hardware.set_threads(cfg.threads)

    def waits() -> None:
        print(f"{title}: another process works on it, which is waited for", flush=True)

    with _home(identity, cfg.seed).opened(trial_cache.key(identity.tags["inputs_sha256"], cfg.seed), waits) as home:
        finished = home.finished
        begin(not finished)
        if finished:
            home.restore()
            get_tracker().log_finished_trial(identity, cfg.seed, parent, home.records)
            print(f"{title}: was finished before and kept, so it is not run again", flush=True)
            return home.result()
        with home.fresh() as (out, records):
            live = get_tracker().open_trial(identity, cfg.seed, parent, records)
            try:
                return _worked(work, cfg, out, TrialLog(records, title, home, cfg.checkpoint_seconds), live)
            except BaseException as error:
                live.fail(f"{type(error).__name__}: {error}")
                raise


def _worked(work: StageFunction, cfg: DictConfig, out: Path, log: TrialLog, live: TrialTracker) -> dict[str, Any]:
    """Do the work of a trial, write its records, and show what it came to."""
    from omegaconf import OmegaConf

    started = time.perf_counter() - machine_lock.get_waited_seconds()
    result: dict[str, Any] = redaction.redact_values({"seed": cfg.seed, **work(cfg, out, log)})
    seconds = time.perf_counter() - machine_lock.get_waited_seconds() - started
    result["trial_seconds"] = seconds + sum(each.earlier for each in log.checkpoints)
    config, trial = log.records / "config.yaml", log.records / "trial.json"
    config.write_text(yaml_writer.format_yaml(redaction.redact_values(OmegaConf.to_container(cfg))), encoding="utf-8")
    shown = [str((log.home.out / path.relative_to(out)).relative_to(paths.ROOT)) for path in log.artifacts]
    paths.write_json(trial, {**result, "artifacts": shown})
    live.finish(result, [*log.artifacts, config, trial])
    return result


def _home(identity: Identity, seed: int) -> trial_cache.Home:
    """Return where a trial belongs, and where it is kept until DVC has recorded its cell."""
    records = paths.get_trial_dir(identity.stage, identity.cell, seed, exploration=identity.exploration)
    return trial_cache.Home(
        records, None if identity.exploration else paths.get_product_dir(identity.stage, identity.cell)
    )
