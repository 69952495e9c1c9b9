"""Tracking of runs: a run per cell with a child run per seed, behind the protocol in ``base.py``.

Files are the source of truth and the tracking store is a view of them. An unreachable store prints one warning, and
``lab sync`` brings it up to date from the files later.
"""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import cast

from pipeline.core.errors import UserError, suggest
from pipeline.tracking.base import Tracker, TrialTracker
from pipeline.tracking.identity import Identity, Input

__all__ = ["Identity", "Input", "Tracker", "TrialTracker", "get_tracker"]

BACKEND = "LAB_TRACKING"  # the environment variable that names the backend: a package in this folder
DEFAULT = "mlflow"


def get_tracker() -> Tracker:
    """Return the tracking backend that ``LAB_TRACKING`` names; MLflow by default.

    Raises UserError for a name without a package ``pipeline/tracking/<name>/``.
    """
    return _create_tracker(os.environ.get(BACKEND) or DEFAULT)


@cache
def _create_tracker(name: str) -> Tracker:
    backends = sorted(path.parent.name for path in Path(__file__).parent.glob("*/__init__.py"))
    if name not in backends:
        raise UserError(f"{BACKEND}: got {name!r}; {suggest(name, backends)}")
    return cast("Tracker", import_module(f"pipeline.tracking.{name}").create_tracker())
