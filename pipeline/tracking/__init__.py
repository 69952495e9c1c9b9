"""What MLflow sees: a parent run for each cell, a child run for each seed. No other package imports mlflow.

Files are the truth and MLflow is a view of them, so nothing here may cost a trained model: a store that is away
is one warning line, and ``lab sync`` brings it level with the files later.
``lab ui`` shows the store in a browser.
"""

from pipeline.tracking.mlflow.identity import Identity, Input
from pipeline.tracking.mlflow.links import address
from pipeline.tracking.mlflow.live import (
    Trial,
    close_cell,
    fail_cell,
    open_cell,
    open_trial,
    refresh_views,
    settle,
    tell_cell,
    tell_kept,
)
from pipeline.tracking.mlflow.ownership import close_here
from pipeline.tracking.mlflow.rehearsal import rehearse

__all__ = [
    "Identity", "Input", "Trial", "address", "close_cell", "close_here", "fail_cell", "open_cell", "open_trial",
    "refresh_views", "rehearse", "settle", "tell_cell", "tell_kept",
]  # fmt: skip
