"""Runs in MLflow: the same calls create, fill, end and retire them, during a trial and from files afterwards."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import records
from pipeline.core.redaction import redact
from pipeline.tracking.identity import Identity, Input
from pipeline.tracking.mlflow import ownership, restore, run_artifacts, store
from pipeline.tracking.trial_files import MetricRow

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric
    from mlflow.tracking import MlflowClient

PARENT = "mlflow.parentRunId"
MAX_TAG_LENGTH = 5000  # characters, accepted by every tracking store
MAX_BATCH = 1000  # metrics in one call of MLflow


def create_run(
    client: MlflowClient, identity: Identity, sweep: Path, *, name: str, start: int | None = None, **tags: str
) -> str:
    """Create a run with the tags, params and inputs of a cell; return its id. ``start`` is in milliseconds.

    The run counts as active while a process holds the lock of the folder ``sweep``.
    """
    from mlflow.entities import Param

    experiment = store.get_experiment_id(client, exploration=identity.exploration)
    all_tags = {
        "stage": identity.stage,
        "cell": identity.cell,
        "level": "cell",
        **identity.tags,
        **tags,
        ownership.TAG: ownership.format_sweep(sweep),
        "exploration": "true" if identity.exploration else "false",
        **{f"{item.name}_sha256": item.digest for item in identity.inputs},
        "mlflow.source.name": f"pipeline.stages.{identity.stage}",
        "mlflow.source.type": "LOCAL",
    }
    if "source" in identity.params:
        all_tags["made_by"] = redact(str(identity.params["source"])).split("/")[-2]  # the stage, to group and filter by
    if "git_commit" in identity.tags:
        all_tags["mlflow.source.git.commit"] = identity.tags["git_commit"]
    redacted = {key: redact(str(value)) for key, value in all_tags.items()}
    run: str = client.create_run(experiment, start_time=start, tags=redacted, run_name=name).info.run_id
    params = identity.params | ({"seed": tags["seed"]} if "seed" in tags else {})
    client.log_batch(run, params=[Param(key, redact(str(value))) for key, value in params.items()])
    _log_inputs(client, run, [_to_dataset(item) for item in identity.inputs])
    return run


def create_trial_run(
    client: MlflowClient, identity: Identity, sweep: Path, seed: int, parent: str, start: int | None = None
) -> str:
    """Create the child run of one seed; return its id."""
    tags = {"level": "trial", "seed": str(seed), PARENT: parent}
    return create_run(client, identity, sweep, name=f"{identity.cell} seed {seed}", start=start, **tags)


def finish_trial(
    client: MlflowClient, run: str, result: dict[str, Any], last_steps: dict[str, int], artifacts: Iterable[Path],
    end: float,
) -> None:  # fmt: skip
    """Log the final numbers, the texts and the files of a trial, and end its run.

    A final number is logged at the last step of its curve, or at step 0, which MLflow draws as one bar. It is logged a
    millisecond later than the curve, because MLflow shows the latest point of a step. ``end`` is in seconds since the
    epoch.
    """
    rows = [MetricRow(last_steps.get(name, 0), end + 0.001, {name: x}) for name, x in get_numbers(result).items()]
    log_batch(client, run, to_metrics(rows), get_texts(result))
    run_artifacts.upload_files(client, run, artifacts)
    client.set_terminated(run, "FINISHED", to_ms(end))


def fail_trial(client: MlflowClient, run: str, reason: str, end: int | None = None) -> None:
    """End the run of a trial as failed, with the reason as a tag."""
    client.set_tag(run, "failure", redact(reason)[:500])
    client.set_terminated(run, "FAILED", end)


def complete_cell(
    client: MlflowClient, run: str, record: dict[str, Any], artifacts: Iterable[Path], end: int | None = None
) -> None:
    """Log means, texts and files of a cell, and end its run. The tag with the digest of the record comes last.

    Raises RuntimeError if a trial is missing in the store, because another process could not log it.
    """
    trials = find_runs(client, f"tags.`{PARENT}` = '{run}'", exploration=record.get("exploration", False))
    seeds = sorted(trial.data.tags["seed"] for trial in trials if trial.info.status in ("FINISHED", "RUNNING"))
    is_complete = all(trial.info.status != "RUNNING" for trial in trials)
    if not is_complete or seeds != sorted(str(trial["seed"]) for trial in record["trials"]):
        raise RuntimeError(f"trials of {record['stage']} {record['cell']} are missing")
    run_artifacts.upload_files(client, run, artifacts)
    row = MetricRow(0, time.time(), compute_cell_metrics(record))
    log_batch(client, run, to_metrics([row]), get_common_texts(record["trials"]))
    client.set_terminated(run, "FINISHED", end)
    client.set_tag(run, "record_sha256", compute_digest(record))


def fail_cell(client: MlflowClient, run: str) -> None:
    """End a parent run that has no result, and those of its trials that were killed."""
    exploration = client.get_run(run).data.tags["exploration"] == "true"
    for child in find_runs(client, f"tags.`{PARENT}` = '{run}'", exploration=exploration):
        if child.info.status == "RUNNING":
            client.set_terminated(child.info.run_id, "KILLED")
    client.set_terminated(run, "FAILED")


def replace_earlier_runs(client: MlflowClient, run: str, record: dict[str, Any], sweep: Path) -> None:
    """Retire every other run of a cell of the plan, except those of processes that still run.

    After a kill, two processes may log the same record at the same time. The later run remains then, so that the two
    do not retire each other. Runs of explorations never replace each other.
    """
    if record.get("exploration", False):
        return
    own = client.get_run(run)
    for other in find_cell_runs(client, record["stage"], record["cell"]):
        owner = other.data.tags.get(ownership.TAG)
        is_foreign = owner != ownership.format_sweep(sweep) and ownership.is_active(owner)
        if other.info.run_id == run or (other.info.status == "RUNNING" and is_foreign):
            continue
        if other.data.tags.get("record_sha256") == compute_digest(record) and _sort_key(other) > _sort_key(own):
            retire_run(client, client.get_run(run), f"by {other.info.run_id}")
            return
        retire_run(client, other, f"by {run}")


def _sort_key(run: Any) -> tuple[int, str]:
    return run.info.start_time, run.info.run_id


def retire_run(client: MlflowClient, run: Any, reason: str) -> None:
    """Mark a parent run and its children as superseded, and delete them softly: MLflow can restore them."""
    children = find_runs(client, f"tags.`{PARENT}` = '{run.info.run_id}'")
    for each in [*children, run]:
        if each.info.lifecycle_stage == restore.DELETED:  # by another process
            continue
        if each.info.status == "RUNNING":
            client.set_terminated(each.info.run_id, "KILLED")
        client.set_tag(each.info.run_id, restore.SUPERSEDED, reason)
        client.delete_run(each.info.run_id)


def end_killed_runs(client: MlflowClient, identity: Identity | None = None) -> None:
    """End the runs of killed processes: those of one cell, or of the plan and all explorations."""
    text = "attributes.status = 'RUNNING'"
    if identity is not None:
        text += f" and tags.stage = '{identity.stage}' and tags.cell = '{identity.cell}'"
    for exploration in (False, True) if identity is None else (identity.exploration,):
        for run in find_runs(client, text, exploration=exploration):
            if not ownership.is_active(run.data.tags.get(ownership.TAG)):
                client.set_terminated(run.info.run_id, "KILLED")


def find_cell_runs(client: MlflowClient, stage: str | None = None, cell: str | None = None) -> list[Any]:
    """Return the parent runs of the plan's experiment that are not deleted, of one cell or of all."""
    tags = {"level": "cell", **({"stage": stage, "cell": cell} if stage and cell else {})}
    return find_runs(client, " and ".join(f"tags.{key} = '{value}'" for key, value in tags.items()))


def find_runs(client: MlflowClient, text: str, *, exploration: bool = False) -> list[Any]:
    """Return the runs of the plan, or of the explorations, that match the filter ``text`` and are not deleted."""
    experiment = store.get_experiment_id(client, exploration=exploration)
    return restore.search_all(client, experiment, text)


def log_batch(
    client: MlflowClient, run: str, points: Sequence[Metric] = (), tags: dict[str, str] | None = None
) -> None:
    """Log points and tags in as few calls as MLflow allows."""
    from mlflow.entities import RunTag

    run_tags = [RunTag(key, redact(value)) for key, value in (tags or {}).items()]
    for first in range(0, max(len(points), len(run_tags[:1])), MAX_BATCH):
        client.log_batch(run, metrics=points[first : first + MAX_BATCH], tags=run_tags if first == 0 else [])


def to_metrics(rows: Iterable[MetricRow]) -> list[Metric]:
    """Convert the finite values of rows to MLflow's form."""
    from mlflow.entities import Metric

    return [
        Metric(name, float(value), to_ms(row.time), row.step)
        for row in rows
        for name, value in row.values.items()
        if math.isfinite(value)
    ]


def to_ms(seconds: float) -> int:
    """Convert seconds to MLflow's milliseconds."""
    return int(seconds * 1000)


def get_numbers(result: dict[str, Any]) -> dict[str, float]:
    """Return the numbers of a trial's results; truth values count as 0 and 1."""
    return {name: float(value) for name, value in result.items() if isinstance(value, (int, float)) and name != "seed"}


def get_texts(result: dict[str, Any]) -> dict[str, str]:
    """Return the texts of a trial's results, as tags: warnings become one text, a line each."""
    texts = {
        name: text for name, text in result.items() if isinstance(text, str) and name not in records.PER_EXAMPLE_KEYS
    }
    if warnings := result.get("warnings"):
        texts["warnings"] = "\n".join(warnings)[:MAX_TAG_LENGTH]
    return texts


def get_common_texts(trials: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return the texts that are the same in all trials of a cell, such as its family: to group and colour runs by."""
    first, *others = [get_texts(trial) for trial in trials] or [{}]
    return {name: text for name, text in first.items() if all(other.get(name) == text for other in others)}


def compute_cell_metrics(record: dict[str, Any]) -> dict[str, float]:
    """Return the mean of every number of a cell, with its standard deviation or its interval, if it has one."""
    suffixes = {"mean": "", "std": "_std", "ci95_low": "_ci95_low", "ci95_high": "_ci95_high"}
    return {
        f"{name}{suffix}": _round(spread[key])
        for name, spread in record["summary"].items()
        for key, suffix in suffixes.items()
        if spread.get(key) is not None and (key != "std" or spread[key])
    }


def _round(value: float) -> float:
    """Round to six significant digits, the width of a column in MLflow's table; keep whole numbers."""
    return value if value == int(value) else float(f"{value:.6g}")


def compute_digest(record: dict[str, Any]) -> str:
    """Return the SHA-256 of a record, independent of the layout of its file."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _to_dataset(item: Input) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"uri": item.folder})
    dataset = Dataset(name=item.source, digest=item.digest[:8], source_type="local", source=source)
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", item.name)])


def _log_inputs(client: MlflowClient, run: str, inputs: list[DatasetInput]) -> None:
    """Log the inputs of a run; try again if another process has inserted the same dataset in the meantime."""
    from mlflow.exceptions import MlflowException

    try:
        client.log_inputs(run, datasets=inputs)
    except MlflowException as error:
        if "unique constraint" not in str(error).lower():
            raise
        client.log_inputs(run, datasets=inputs)
