"""Restore what was deleted in MLflow's UI and is still needed: both experiments, and runs of active processes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from pipeline.tracking.mlflow import ownership

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SUPERSEDED = "superseded"  # the tag of a run that was deleted because another one replaced it
DELETED = "deleted"
# MLflow's error codes after a run or an experiment was deleted, softly or for good.
CODES = ("INVALID_PARAMETER_VALUE", "RESOURCE_DOES_NOT_EXIST")


def may_be_deletion(error: Exception) -> bool:
    """Return whether a deletion may have caused an error; a missing trial is a RuntimeError."""
    return isinstance(error, RuntimeError) or getattr(error, "error_code", None) in CODES


def restore_experiment(client: MlflowClient, experiment: Any) -> None:
    """Restore a deleted experiment with its runs, except those that other runs have replaced, and print a warning."""
    try:
        client.restore_experiment(experiment.experiment_id)
    except Exception:
        if client.get_experiment(experiment.experiment_id).lifecycle_stage == DELETED:
            raise
        return  # another process has just restored it
    for run in search_all(client, experiment.experiment_id, f"tags.{SUPERSEDED} LIKE '%'"):
        client.delete_run(run.info.run_id)
    _print_warning(f"experiment {experiment.name!r} was deleted in MLflow; it is restored with its runs")


def restore_runs(client: MlflowClient, experiment: str) -> None:
    """Restore the deleted runs of an experiment whose process still runs, and print a warning for each."""
    for run in search_all(client, experiment, deleted=True):
        tags = run.data.tags
        if SUPERSEDED not in tags and ownership.is_active(tags.get(ownership.TAG)):
            client.restore_run(run.info.run_id)
            _print_warning(f"run {run.info.run_name!r} was deleted in MLflow while its process runs; it is restored")


def search_all(client: MlflowClient, experiment: str, text: str = "", *, deleted: bool = False) -> list[Any]:
    """Return all active, or all deleted, runs of an experiment that match the filter ``text``."""
    from mlflow.entities import ViewType

    view = ViewType.DELETED_ONLY if deleted else ViewType.ACTIVE_ONLY
    runs: list[Any] = []
    token = ""
    while True:
        page = client.search_runs([experiment], text, view, max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs


def _print_warning(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)
