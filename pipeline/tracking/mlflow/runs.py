"""Runs in the store: the same ones, whether they are told live or read from files."""

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
from pipeline.tracking.mlflow import ownership, restore, run_artifacts, store
from pipeline.tracking.mlflow.identity import Identity, Input

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput, Metric
    from mlflow.tracking import MlflowClient

MAX_TAG = 5000  # characters that every tracking store takes
BATCH = 1000  # the most metrics that one call of MLflow's takes


def create_run(
    client: MlflowClient, identity: Identity, folder: Path, *, name: str, start: int | None = None, **tags: str
) -> str:
    """Create a run with the identity's tags, params and inputs; return its id. ``start`` is in milliseconds.

    It counts as worked on for as long as a process holds ``folder``.
    """
    from mlflow.entities import Param

    experiment = store.experiment(client, exploration=identity.exploration)
    known = {
        "stage": identity.stage,
        "cell": identity.cell,
        "level": "cell",
        **identity.tags,
        **tags,
        ownership.TAG: ownership.named(folder),
    }
    known["exploration"] = "true" if identity.exploration else "false"
    known |= {f"{item.name}_sha256": item.digest for item in identity.inputs}
    if "source" in identity.params:
        known["made_by"] = redact(str(identity.params["source"])).split("/")[-2]  # the stage, to group and filter by
    known["mlflow.source.name"] = f"pipeline.stages.{identity.stage}"
    known["mlflow.source.type"] = "LOCAL"
    if "git_commit" in identity.tags:
        known["mlflow.source.git.commit"] = identity.tags["git_commit"]
    told = {key: redact(str(value)) for key, value in known.items()}
    run: str = client.create_run(experiment, start_time=start, tags=told, run_name=name).info.run_id
    params = identity.params | ({"seed": tags["seed"]} if "seed" in tags else {})
    client.log_batch(run, params=[Param(key, redact(str(value))) for key, value in params.items()])
    _log_inputs(client, run, [_dataset(item) for item in identity.inputs])
    return run


def _log_inputs(client: MlflowClient, run: str, inputs: list[DatasetInput]) -> None:
    """Log what went into a run, once more where another run's process found the same data new at the same moment."""
    from mlflow.exceptions import MlflowException

    try:
        client.log_inputs(run, datasets=inputs)
    except MlflowException as error:
        if "unique constraint" not in str(error).lower():
            raise
        client.log_inputs(run, datasets=inputs)


def create_trial(
    client: MlflowClient, identity: Identity, folder: Path, seed: int, parent: str, start: int | None = None
) -> str:
    """Create the child run of one seed; return its id."""
    tags = {"level": "trial", "seed": str(seed), "mlflow.parentRunId": parent}
    return create_run(client, identity, folder, name=f"{identity.cell} seed {seed}", start=start, **tags)


def finish_trial(
    client: MlflowClient, run: str, summary: dict[str, Any], artifacts: Iterable[Path], end: int | None = None
) -> None:
    """Add the words among a trial's results and its files, and end its run."""
    send(client, run, tags=find_words(summary))
    run_artifacts.attach(client, run, artifacts)
    client.set_terminated(run, "FINISHED", end)


def complete(
    client: MlflowClient, run: str, record: dict[str, Any], artifacts: Iterable[Path], end: int | None = None
) -> None:
    """Fill and end a parent run; it bears the record's digest only when nothing is missing any more.

    Raises RuntimeError where the store has not heard all of a trial: another process could not tell it.
    """
    trials = search(client, f"tags.`mlflow.parentRunId` = '{run}'", exploration=record.get("exploration", False))
    told = sorted(trial.data.tags["seed"] for trial in trials if trial.info.status in ("FINISHED", "RUNNING"))
    whole = all(trial.info.status != "RUNNING" for trial in trials)
    if not whole or told != sorted(str(trial["seed"]) for trial in record["trials"]):
        raise RuntimeError(f"it has not heard every trial of {record['stage']} {record['cell']}")
    run_artifacts.attach(client, run, artifacts)
    send(client, run, as_metrics(0, means(record), time.time()), shared(record["trials"]))
    client.set_terminated(run, "FINISHED", end)
    client.set_tag(run, "record_sha256", digest(record))


def replace_earlier(client: MlflowClient, run: str, record: dict[str, Any], folder: Path) -> None:
    """Retire every other run of a cell of the plan, except those of processes that still run.

    After a kill, two processes may log the same record at the same time. The later run remains then, so that the two do
    not retire each other. Explorations are a history, in which none replaces another.
    """
    if record.get("exploration", False):
        return
    own = client.get_run(run)
    for other in cells(client, record["stage"], record["cell"]):
        worker = other.data.tags.get(ownership.TAG)
        elsewhere = other.info.status == "RUNNING" and worker != ownership.named(folder) and ownership.goes_on(worker)
        if other.info.run_id == run or elsewhere:
            continue
        if other.data.tags.get("record_sha256") == digest(record) and _sort_key(other) > _sort_key(own):
            retire(client, client.get_run(run), f"by {other.info.run_id}")
            return
        retire(client, other, f"by {run}")


def _sort_key(run: Any) -> tuple[int, str]:
    return run.info.start_time, run.info.run_id


def end_dead(client: MlflowClient, identity: Identity | None = None) -> None:
    """End the runs of a cell, or of the plan and all explorations, whose process was killed."""
    wanted = "attributes.status = 'RUNNING'"
    if identity is not None:
        wanted += f" and tags.stage = '{identity.stage}' and tags.cell = '{identity.cell}'"
    for exploration in (False, True) if identity is None else (identity.exploration,):
        for run in search(client, wanted, exploration=exploration):
            if not ownership.goes_on(run.data.tags.get(ownership.TAG)):
                client.set_terminated(run.info.run_id, "KILLED")


def cells(client: MlflowClient, stage: str | None = None, cell: str | None = None) -> list[Any]:
    """Return the active parent runs of the plan's experiment, of one cell or of all."""
    wanted = {"level": "cell", **({"stage": stage, "cell": cell} if stage and cell else {})}
    return search(client, " and ".join(f"tags.{key} = '{value}'" for key, value in wanted.items()))


def search(client: MlflowClient, text: str, *, exploration: bool = False) -> list[Any]:
    """Return every active run of the plan, or of the explorations, that the filter ``text`` lets through."""
    experiment = store.experiment(client, exploration=exploration)
    found = client.search_runs([experiment], text, max_results=1000)
    runs = list(found)
    while found.token:
        found = client.search_runs([experiment], text, max_results=1000, page_token=found.token)
        runs += found
    return runs


def retire(client: MlflowClient, run: Any, why: str) -> None:
    """Mark a parent run superseded, and delete it and its children softly: MLflow can restore them."""
    children = search(client, f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
    for known in [*children, run]:
        if known.info.lifecycle_stage == restore.DELETED:  # another process was quicker
            continue
        if known.info.status == "RUNNING":
            client.set_terminated(known.info.run_id, "KILLED")
        client.set_tag(known.info.run_id, restore.SUPERSEDED, why)
        client.delete_run(known.info.run_id)


def send(client: MlflowClient, run: str, points: Sequence[Metric] = (), tags: dict[str, str] | None = None) -> None:
    """Log points and tags in as few calls as MLflow allows."""
    from mlflow.entities import RunTag

    told = [RunTag(key, redact(value)) for key, value in (tags or {}).items()]
    for first in range(0, max(len(points), len(told[:1])), BATCH):
        client.log_batch(run, metrics=points[first : first + BATCH], tags=told if first == 0 else [])


def as_metrics(step: int, values: dict[str, float], when: float) -> list[Metric]:
    """Return MLflow's form of the finite values; ``when`` is in seconds since the epoch."""
    from mlflow.entities import Metric

    finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
    return [Metric(name, value, int(when * 1000), step) for name, value in finite.items()]


def numbers(summary: dict[str, Any]) -> dict[str, float]:
    """Return the numbers among a trial's results; truth values count as 0 and 1."""
    return {name: float(value) for name, value in summary.items() if isinstance(value, (int, float)) and name != "seed"}


def finals(summary: dict[str, Any], last_steps: dict[str, int], when: float) -> list[Metric]:
    """Return a trial's final numbers: at the end of their curve, or at step 0, which MLflow draws as one bar.

    A millisecond after the curve's last point, because MLflow takes the latest of one step for the run's value.
    """
    later = when + 0.001
    found = numbers(summary)
    return [point for name in found for point in as_metrics(last_steps.get(name, 0), {name: found[name]}, later)]


def means(record: dict[str, Any]) -> dict[str, float]:
    """Return the mean of every number of a cell under its own name, with its deviation, or the interval that it has."""
    found: dict[str, float] = {}
    for name, spread in record["summary"].items():
        found[name] = _short(spread["mean"])
        if spread.get("std"):
            found[f"{name}_std"] = _short(spread["std"])
        if spread.get("ci95_low") is not None:
            found[f"{name}_ci95_low"] = _short(spread["ci95_low"])
            found[f"{name}_ci95_high"] = _short(spread["ci95_high"])
    return found


def shared(trials: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return the words that all trials of a cell have in common, such as its family: to group and colour runs by."""
    words = [find_words(trial) for trial in trials]
    return (
        {name: word for name, word in words[0].items() if all(each.get(name) == word for each in words)}
        if words
        else {}
    )


def find_words(summary: dict[str, Any]) -> dict[str, str]:
    """Return the texts among a trial's results, as tags: warnings become one text, a line each."""
    words = {
        name: value
        for name, value in summary.items()
        if isinstance(value, str) and name not in records.PER_EXAMPLE_KEYS
    }
    if warnings := summary.get("warnings"):
        words["warnings"] = "\n".join(warnings)[:MAX_TAG]
    return words


def _short(value: float) -> float:
    """Return six significant digits, all that a column of MLflow's table has room for; whole numbers stay."""
    return value if value == int(value) else float(f"{value:.6g}")


def digest(record: dict[str, Any]) -> str:
    """Return the SHA-256 of a record, however its file is laid out."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def fail(client: MlflowClient, run: str, reason: str, end: int | None = None) -> None:
    """End a trial's run as failed and say why."""
    client.set_tag(run, "failure", redact(reason)[:500])
    client.set_terminated(run, "FAILED", end)


def fail_cell(client: MlflowClient, run: str) -> None:
    """End a parent run that has no result, and those of its trials that were killed."""
    exploration = client.get_run(run).data.tags["exploration"] == "true"
    for child in search(client, f"tags.`mlflow.parentRunId` = '{run}'", exploration=exploration):
        if child.info.status == "RUNNING":
            client.set_terminated(child.info.run_id, "KILLED")
    client.set_terminated(run, "FAILED")


def _dataset(item: Input) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source = json.dumps({"uri": item.folder})
    known = Dataset(name=item.source, digest=item.digest[:8], source_type="local", source=source)
    return DatasetInput(known, tags=[InputTag("mlflow.data.context", item.name)])
