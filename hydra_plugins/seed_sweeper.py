"""Hydra plugin: a basic sweeper that composes a cell once instead of once per seed.

For a cell of three seeds Hydra composes three configs to validate the sweep and three more to run it, each in 0.1 s.
They differ in the seed alone, and no choice of conf/ depends on the seed.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

SEED = "seed="

Overrides = Sequence[str]


class SeedSweeper(BasicSweeper):
    """Sweeper of all stages (conf/hydra/sweeper/seeds.yaml)."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Give the launcher a config loader that shares the composition of a cell."""
        loader = SeedConfigLoader(hydra_context.config_loader.get_search_path())
        context = HydraContext(config_loader=loader, callbacks=hydra_context.callbacks)
        super().setup(hydra_context=context, task_function=task_function, config=config)
        self.seeds: set[str] = set()

    def validate_batch_is_legal(self, batch: Sequence[Overrides]) -> None:
        """Compose one job of each cell before the first trial, where there are several cells or remote trials.

        Raises UserError for a config that a remote trial would reject.
        """
        from pipeline.execution import cell_run, launchers  # the preload server may drop these modules after an edit

        # Hydra has just written the command's overrides, which may hold a credential.
        assert self.config is not None
        Path(self.config.hydra.sweep.dir, "multirun.yaml").unlink(missing_ok=True)
        self.seeds.update(word for job in batch for word in job if word.startswith(SEED))
        if cell_run.FOLDER in os.environ:
            cell_run.Sweep.get_current().write_seed_count(max(1, len(self.seeds)))
        cells = {_remove_seed(job): job for job in batch}
        if launchers.is_remote(self.launcher):
            launchers.prepare_launch(self, cells.values(), len(batch))
        elif len(cells) > 1:
            super().validate_batch_is_legal(list(cells.values()))


class SeedConfigLoader(ConfigLoaderImpl):
    """Hydra's config loader, but jobs that differ in the seed alone share one composition."""

    def __init__(self, config_search_path: object) -> None:
        super().__init__(config_search_path)  # type: ignore[arg-type]
        self.composed: dict[tuple[str, ...], DictConfig] = {}  # the last cell, without its seed

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """Return the config of a job: the config of its cell with the seed of the job."""
        cell = _remove_seed(sweep_overrides)
        if len(cell) == len(sweep_overrides):
            return super().load_sweep_config(master_config, sweep_overrides)
        if cell not in self.composed:
            self.composed = {cell: self._compose_cell(master_config, cell)}
        config = copy.deepcopy(self.composed[cell])  # Hydra writes into the config of a job
        overrides = OverridesParser.create().parse_overrides(sweep_overrides)
        config.seed = next(each.value() for each in overrides if each.key_or_group == "seed")
        task = [each for each in overrides if not each.is_hydra_override()]
        config.hydra.overrides.task = [each.input_line for each in task]
        config.hydra.job.override_dirname = get_overrides_dirname(task, **config.hydra.job.config.override_dirname)
        return config

    def _compose_cell(self, master_config: DictConfig, cell: tuple[str, ...]) -> DictConfig:
        """Return the config of a cell: the sweep's own where the sweep varies nothing but the seed."""
        hydra = master_config.hydra
        if cell == tuple(hydra.overrides.task) and not OmegaConf.missing_keys(hydra.runtime.choices):
            return master_config
        return super().load_sweep_config(master_config, list(cell))


def _remove_seed(job: Overrides) -> tuple[str, ...]:
    return tuple(word for word in job if not word.startswith(SEED))
