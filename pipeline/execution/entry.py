"""Entry point of every stage: run its function as a Hydra app whose jobs are trials and whose multirun is a cell.

A stage module holds one function from a config to a result and ends with ``entry.run_stage(function)``. A process that
hands its command to the preload server only waits, so imports that the work needs are inside the functions.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pipeline.core import paths, redaction
from pipeline.system import parent_process, preload

if TYPE_CHECKING:
    from pipeline.execution.trial import StageFunction


def run_stage(function: StageFunction) -> None:
    """Run a stage as the Hydra app with its name.

    Raises SystemExit where a config is refused, a trial fails or the user interrupts it.
    """
    if "RANK" in os.environ:
        from pipeline.system import distributed

        distributed.end_with_launcher()
    if "DVC_STAGE" in os.environ and not preload.is_fork():
        parent_process.end_with_parent()
    preload.run_in_server()

    import hydra

    from pipeline import plan
    from pipeline.execution import cell_run, launchers, overrides, trial
    from pipeline.system import distributed

    redaction.redact_streams()
    plan.register_resolvers()
    job = trial.StageJob(function)
    with (
        trial.stop_on_interrupt(job.interrupted), overrides.check_command(job.stage), distributed.init_process_group(),
        cell_run.open_sweep(), launchers.relay_output(),
    ):  # fmt: skip
        hydra.main(version_base="1.3", config_path=str(paths.CONF), config_name=job.stage)(job)()
        if job.mistake:
            raise job.mistake
