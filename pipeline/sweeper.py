"""Hydra's own sweeper and loader, but that they compose a cell once, not every seed of it anew.

Of a cell of three seeds Hydra composes eight configurations, each an eighth of a second: one to see whether a file of
conf/ states ``hydra.mode`` (none does), one for the sweep, one of each job to see early whether they can be, and each
job again. A seed decides nothing about what composes, so two are enough: the sweep's and the cell's. Hydra has no
setting for it, and takes sweepers from its own namespace alone, so three of its methods are replaced.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig

from pipeline import launchers, paths

compose_all = Sweeper.validate_batch_is_legal
compose = ConfigLoaderImpl.load_sweep_config
SEED = "seed="
KEPT = paths.CACHE / "hydra" / "multirun.yaml"  # what Hydra keeps of a command: its words may hold a credential
_seeds: set[str] = set()  # of the sweep that runs
_composed: dict[tuple[str, ...], tuple[str, DictConfig]] = {}  # the last cell: the seed it was composed with


def compose_seeds_once() -> None:
    """Let the sweeps of this process compose each cell once, ahead of all jobs where there are several cells.

    What trials elsewhere could not begin with is found before any is sent.
    """
    Sweeper.validate_batch_is_legal = _ahead  # type: ignore[method-assign, assignment]
    ConfigLoaderImpl.load_sweep_config = _once  # type: ignore[method-assign, assignment]
    Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]


def seeds() -> int:
    """Return how many seeds each cell has of the sweep that this process has run, 1 where it ran none."""
    return max(1, len(_seeds))


def _ahead(sweeper: Sweeper, batch: Sequence[Sequence[str]]) -> None:
    KEPT.unlink(missing_ok=True)
    _seeds.update(word for job in batch for word in job if word.startswith(SEED))
    cells = {_cell(job): job for job in batch}
    launcher = getattr(sweeper, "launcher", None)
    if launchers.sends(launcher):
        launchers.prepare(sweeper, cells.values(), len(batch))
    elif len(cells) > 1:
        compose_all(sweeper, list(cells.values()))


def _cell(job: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for word in job if not word.startswith(SEED))


def _once(loader: ConfigLoaderImpl, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
    """Return the configuration of a job: of a cell composed before, that one with this job's seed."""
    seed = next((word for word in sweep_overrides if word.startswith(SEED)), None)
    if seed is None:
        return compose(loader, master_config, sweep_overrides)
    cell = _cell(sweep_overrides)
    if cell not in _composed:
        _composed.clear()
        _composed[cell] = seed, compose(loader, master_config, sweep_overrides)
    before, known = _composed[cell]
    config = copy.deepcopy(known)  # Hydra writes into what it runs
    config.seed = OverridesParser.create().parse_override(seed).value()
    own = {seed, *known.hydra.overrides.task}
    config.hydra.overrides.task = [word for word in sweep_overrides if word in own]
    config.hydra.job.override_dirname = known.hydra.job.override_dirname.replace(before, seed)
    return config
