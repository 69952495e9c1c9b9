"""How every stage begins.

A stage module holds one function from a config to a result and ends with ``stage.run(function)``. Where the warm parent
takes the command, nothing else happens in this process but waiting: so what the work needs is imported late, here and
in the stages.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pipeline import mend, warm

if TYPE_CHECKING:
    from pipeline.trial import Work


def run(work: Work) -> None:
    """Run ``work`` as the Hydra app of the stage that bears its name, and exit."""
    if "RANK" in os.environ:
        from pipeline import distributed

        distributed.end_with_launcher()
    if not warm.is_fork():
        mend.stand_by()
    warm.call(lambda: _app(work))


def _app(work: Work) -> None:
    from pipeline import trial

    trial.app(work)
