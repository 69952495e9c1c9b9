"""How every stage begins.

A stage module holds one function from a config to a result and ends with ``stage.run(function)``. Where the warm parent
takes the command, nothing else happens in this process but waiting: so what the work needs is imported late, here and
in the stages.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pipeline.system import parent_process, preload

if TYPE_CHECKING:
    from pipeline.execution.trial import StageFunction


def run_stage(work: StageFunction) -> None:
    """Run ``work`` as the Hydra app of the stage that bears its name, and exit."""
    if "RANK" in os.environ:
        from pipeline.system import distributed

        distributed.end_with_launcher()
    if "DVC_STAGE" in os.environ and not preload.is_fork():
        parent_process.end_with_parent()
    preload.run_preloaded(lambda: _app(work))


def _app(work: StageFunction) -> None:
    from pipeline.execution import trial

    trial.app(work)
