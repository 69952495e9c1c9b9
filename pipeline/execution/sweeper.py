"""Hydra's own sweeper and loader, but that they compose a cell once, not every seed of it anew.

Of a cell of three seeds Hydra composes eight configurations, each an eighth of a second: one to see whether a file of
conf/ states ``hydra.mode`` (none does), one for the sweep, one of each job to see early whether they can be, and each
job again. A seed decides nothing about what composes, so one is enough where nothing but seeds varies, and one more a
cell where the sweep has several. Hydra has no setting for it, and takes sweepers from its own namespace alone, so three
of its methods are replaced.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.hydra import Hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf

from pipeline.core import paths
from pipeline.execution import launchers

compose_all = Sweeper.validate_batch_is_legal
compose = ConfigLoaderImpl.load_sweep_config
SEED = "seed="
KEPT = paths.CACHE / "hydra" / "multirun.yaml"  # what Hydra keeps of a command: its words may hold a credential
_seeds: set[str] = set()  # of the sweep that runs
_composed: dict[tuple[str, ...], DictConfig] = {}  # the last cell, without a seed


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


def rehearse() -> None:
    """Compose a cell and forget it: what Hydra and OmegaConf keep of that lies ready for the next ones."""
    from hydra import compose as composed
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    from pipeline import plan

    plan.register_resolvers()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        OmegaConf.resolve(composed("evaluate", overrides=["+sweep=seeds", "source=finetune/any"]))
    GlobalHydra.instance().clear()
    plan.load()


def _ahead(sweeper: Sweeper, batch: Sequence[Sequence[str]]) -> None:
    KEPT.unlink(missing_ok=True)
    _seeds.update(word for job in batch for word in job if word.startswith(SEED))
    cells = {_cell(job): job for job in batch}
    launcher = getattr(sweeper, "launcher", None)
    if launchers.is_remote(launcher):
        launchers.prepare_launch(sweeper, cells.values(), len(batch))
    elif len(cells) > 1:
        compose_all(sweeper, list(cells.values()))


def _cell(job: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for word in job if not word.startswith(SEED))


def _once(loader: ConfigLoaderImpl, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
    """Return the configuration of a job: that of its cell, with this job's seed."""
    cell = _cell(sweep_overrides)
    if len(cell) == len(sweep_overrides):
        return compose(loader, master_config, sweep_overrides)
    if cell not in _composed:
        _composed.clear()
        _composed[cell] = _known(loader, master_config, cell)
    config = copy.deepcopy(_composed[cell])  # Hydra writes into what it runs
    words = OverridesParser.create().parse_overrides(sweep_overrides)
    config.seed = next(word.value() for word in words if word.key_or_group == "seed")
    own = [word for word in words if not word.is_hydra_override()]
    config.hydra.overrides.task = [word.input_line for word in own]
    config.hydra.job.override_dirname = get_overrides_dirname(own, **config.hydra.job.config.override_dirname)
    return config


def _known(loader: ConfigLoaderImpl, master_config: DictConfig, cell: tuple[str, ...]) -> DictConfig:
    """Return the configuration of a cell: the sweep's own where nothing but the seed varies."""
    hydra = master_config.hydra
    if cell == tuple(hydra.overrides.task) and not OmegaConf.missing_keys(hydra.runtime.choices):
        return master_config
    return compose(loader, master_config, list(cell))
