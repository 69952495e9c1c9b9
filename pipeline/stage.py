"""The frame that all stages share: a Hydra app whose jobs are trials and whose multirun is a cell.

A stage module holds one function from a config to a result and ends with ``stage.run(function)``.
The frame gives it a fresh folder, keeps its curves, writes its numbers and shows them to MLflow.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import distributed, origins, paths, quiet, warm
from pipeline.errors import UserError
from pipeline.sweep import Sweep

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from pipeline.progress import Progress
    from pipeline.tracking import Identity, Trial


Work = Callable[["DictConfig", Path, "Log"], dict[str, Any]]


def run(work: Work) -> None:
    """Run ``work`` as the Hydra app of the stage that bears its name, and exit."""
    distributed.end_with_launcher()
    warm.call(lambda: _app(work))


def _app(work: Work) -> None:
    import hydra

    from pipeline import plan, sweeper

    stage = work.__name__
    plan.register_resolvers()
    sweeper.compose_seeds_once()

    def job(cfg: DictConfig) -> dict[str, Any] | None:
        return _trial(stage, work, cfg)

    with distributed.joined():
        sweep = Sweep.open() if distributed.leads() and not Sweep.ours() else None
        try:
            hydra.main(version_base="1.3", config_path=str(paths.CONF), config_name=stage)(job)()
        finally:
            complete = sweep.close() if sweep else True
    if not complete:
        raise SystemExit(1)


class Log:
    """What a trial tells while it works: curves, artifacts and progress."""

    def __init__(self, records: Path, title: str, live: Trial) -> None:
        self.title = title
        self.artifacts: list[Path] = []
        self._curves = records / "curves.jsonl"
        self._live = live

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Add one point to each named curve at ``step`` (updates of the model so far)."""
        with self._curves.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        self._live.metrics(step, values)

    def artifact(self, path: Path) -> None:
        """Show a file of the trial's folder in the tracking store as well."""
        self.artifacts.append(path)

    def say(self, text: str) -> None:
        """Print one plain line."""
        print(f"{self.title}: {text}", flush=True)

    def progress(self, total: int, unit: str = "step") -> Progress:
        """Return a bar with rate and time left, or plain lines where there is no terminal."""
        from pipeline.progress import Progress

        return Progress(total, unit, self.title)


def _trial(stage: str, work: Work, cfg: DictConfig) -> dict[str, Any] | None:
    """Run one trial into a fresh folder; a user's mistake is one line, and the other trials go on.

    A trial of several processes is started anew as such; the first of them tells and keeps what it comes to.
    """
    from omegaconf import OmegaConf

    group, begun = distributed.current(), False
    if "processes" in cfg and group.size > 1:
        cfg.processes = group.size  # torchrun's word counts
    if not group.leads:
        _assist(work, cfg, group)
        return None
    title = f"{stage} {cfg.cell} seed {cfg.seed}"
    sweep = Sweep.current()
    try:
        if _divided(stage, cfg):
            return None
        cfg = origins.inherit(cfg)
        OmegaConf.resolve(cfg)
        identity = origins.identify(stage, cfg)
        parent = sweep.parent(identity)
        with quiet.working() if "threads" in cfg else nullcontext():
            begun = group.agree(True)
            result = _work(work, cfg, identity, title, parent)
    except BaseException as error:
        sweep.failed(cfg.cell)
        if not begun:
            group.agree(False)
        if not isinstance(error, UserError):
            raise
        print(f"error: {title}: {error}", file=sys.stderr, flush=True)
        return None
    sweep.finished(identity, cfg.seed)
    return result


def _divided(stage: str, cfg: DictConfig) -> bool:
    """Give the trial its GPUs; where it is to run in several processes, run it there and say so."""
    from hydra.core.hydra_config import HydraConfig

    from pipeline import machine

    if "threads" not in cfg or distributed.started():
        return False  # torchrun has given out the GPUs
    processes = cfg.get("processes", 1)
    if type(processes) is not int or processes < 1:
        raise UserError(f"processes: got {processes!r}; give a whole number from 1")
    machine.claim_gpus(processes)
    if processes > 1:
        machine.set_threads(machine.available_threads(processes) if cfg.threads is None else cfg.threads)  # to tell it
        distributed.launch(processes, f"pipeline.stages.{stage}", HydraConfig.get().overrides.task)
    return processes > 1


def _assist(work: Work, cfg: DictConfig, group: distributed.Group) -> None:
    """Do one process's part of a trial whose records the first process keeps, and say nothing of it."""
    from omegaconf import OmegaConf

    from pipeline import machine, tracking

    if not group.agree(True):
        return  # the first process has told why it does not begin
    with (
        quiet.working(),
        tempfile.TemporaryDirectory() as folder,
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        suppress(UserError),  # the first process tells it
        redirect_stdout(nowhere),
        redirect_stderr(nowhere),
    ):
        cfg = origins.inherit(cfg)
        OmegaConf.resolve(cfg)
        machine.set_threads(cfg.threads)
        work(cfg, Path(folder), Log(Path(folder), "", tracking.Trial(None)))


def _work(work: Work, cfg: DictConfig, identity: Identity, title: str, parent: str | None) -> dict[str, Any]:
    """Do the work of a trial in its folders and before the eyes of the tracking store."""
    from omegaconf import OmegaConf

    from pipeline import machine, tracking

    if "threads" in cfg:
        machine.set_threads(cfg.threads)
    started = time.perf_counter()
    with _folders(identity, cfg.seed) as (out, records):
        live = tracking.open_trial(identity, cfg.seed, parent, records / "resources.jsonl")
        try:
            log = Log(records, title, live)
            result = {"seed": cfg.seed, **work(cfg, out, log)}
            result["trial_seconds"] = time.perf_counter() - started
            OmegaConf.save(cfg, records / "config.yaml")
            shown = [_kept(identity, cfg.seed, path.relative_to(out)) for path in log.artifacts]
            paths.write_json(records / "trial.json", {**result, "artifacts": shown})
            live.finish(result, [*log.artifacts, records / "config.yaml", records / "trial.json"])
        except BaseException as error:
            live.fail(f"{type(error).__name__}: {error}")
            raise
    return result


@contextmanager
def _folders(identity: Identity, seed: int) -> Iterator[tuple[Path, Path]]:
    """Yield a fresh folder for what the trial makes and one for its records; often they are one."""
    records, product = _records(identity, seed), _product(identity)
    with ExitStack() as stack:
        fresh = stack.enter_context(paths.replacing(records))
        yield stack.enter_context(paths.replacing(product)) if product else fresh, fresh


def _records(identity: Identity, seed: int) -> Path:
    return paths.trial(identity.stage, identity.cell, seed, exploration=identity.exploration)


def _product(identity: Identity) -> Path | None:
    return None if identity.exploration else paths.product(identity.stage, identity.cell)


def _kept(identity: Identity, seed: int, name: Path) -> str:
    """Return where in the project a file of a trial's fresh folder comes to lie."""
    return str(((_product(identity) or _records(identity, seed)) / name).relative_to(paths.ROOT))
