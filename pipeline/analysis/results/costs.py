"""Costs of training and inference as measured by the benchmark, one row per cell."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pipeline.core import records
from pipeline.core.errors import UserError, suggest

AXES = ("depth", "width", "length", "batch")
LATENCY = re.compile(r"latency_b(\d+)_(p\d\d)_ms")


@dataclass(frozen=True)
class LatencyPercentiles:
    """Latency percentiles in milliseconds of one batch size."""

    batch: int
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True)
class GrowthPoint:
    """A measured training step with one axis of the shape, or the batch, at ``value``."""

    axis: str
    value: float
    seconds: float
    seconds_low: float | None = None
    seconds_high: float | None = None
    flops: float | None = None
    activation_bytes: float | None = None


@dataclass(frozen=True)
class CellCost:
    """A cell's costs under the keys of its record (docs/metrics.md); None, or nothing, where it measured none.

    A cell without results has no ``model``; ``missing_reason`` is the reason. ``machine`` is what the rates depend on
    besides the other fields.
    """

    cell: str
    address: str
    model: str | None = None
    task: str | None = None
    machine: str | None = None
    torch: str | None = None
    transformers: str | None = None
    missing_reason: str | None = None
    parameters: float | None = None
    parameters_non_embedding: float | None = None
    parameters_trainable: float | None = None
    forward_flops: float | None = None
    backward_flops: float | None = None
    update_flops: float | None = None
    activation_bytes: float | None = None
    gradient_bytes: float | None = None
    optimizer_bytes: float | None = None
    processes: int | None = None
    threads: int | None = None
    precision: str | None = None
    precision_emulated: bool | None = None
    batch_size: int | None = None
    device: str | None = None
    train_pairs_per_second: float | None = None
    train_pairs_per_second_low: float | None = None
    train_pairs_per_second_high: float | None = None
    train_tokens_per_second: float | None = None
    train_step_ms: float | None = None
    train_data_ms: float | None = None
    train_forward_ms: float | None = None
    train_backward_ms: float | None = None
    train_update_ms: float | None = None
    train_utilisation: float | None = None
    peak_flops_per_second: float | None = None
    train_joules_per_pair: float | None = None
    alone_pairs_per_second: float | None = None
    strong_efficiency: float | None = None
    weak_pairs_per_second: float | None = None
    weak_efficiency: float | None = None
    communication_share: float | None = None
    budget_examples: float | None = None
    budget_seconds: float | None = None
    budget_process_hours: float | None = None
    budget_cost: float | None = None
    inference_pairs_per_second: float | None = None
    inference_pairs_per_second_low: float | None = None
    inference_pairs_per_second_high: float | None = None
    inference_tokens_per_second: float | None = None
    inference_utilisation: float | None = None
    inference_joules_per_pair: float | None = None
    load_memory_mib: float | None = None
    forward_memory_mib: float | None = None
    backward_memory_mib: float | None = None
    update_memory_mib: float | None = None
    inference_memory_mib: float | None = None
    load_memory_added_mib: float | None = None
    forward_memory_added_mib: float | None = None
    backward_memory_added_mib: float | None = None
    update_memory_added_mib: float | None = None
    inference_memory_added_mib: float | None = None
    load_gpu_memory_mib: float | None = None
    forward_gpu_memory_mib: float | None = None
    backward_gpu_memory_mib: float | None = None
    update_gpu_memory_mib: float | None = None
    inference_gpu_memory_mib: float | None = None
    latencies: tuple[LatencyPercentiles, ...] = ()
    growth: tuple[GrowthPoint, ...] = ()


NEEDED = ("processes", "threads", "precision", "batch_size")
LISTS = ("latencies", "growth")
SCALARS = tuple(column.name for column in fields(CellCost) if column.name not in LISTS)


def read_costs(cells: Iterable[tuple[str, str]], folder: Path, planned: records.Planned) -> list[CellCost]:
    """Return the costs of each (cell, address) from its record in ``folder``.

    A record that does not count (``records.missing_reason``) leaves a hole with the reason. Raises UserError if a
    record is damaged, has another layout, lacks a key that a row needs, or grows along an unknown axis.
    """
    return [_read_cost(cell, address, folder / f"{cell}.json", planned) for cell, address in cells]


def _read_cost(cell: str, address: str, path: Path, planned: records.Planned) -> CellCost:
    if reason := records.missing_reason(path, planned):
        return CellCost(cell, address, missing_reason=reason)
    record = records.read_record(path, NEEDED)
    (trial,) = record["trials"]
    known = record["machine"]
    named = {
        "cell": cell,
        "address": address,
        "model": record["model"],
        "task": record["task"],
        "machine": f"{known['processor']}, {known['device']}, torch {known['torch']}",
        "missing_reason": None,
        **records.read_versions([record]),
    }
    growth = tuple(GrowthPoint(**point) for point in trial.get("growth", ()))
    if unknown := next((point.axis for point in growth if point.axis not in AXES), None):
        raise UserError(f"metrics/benchmark/{path.name}: growth: got {unknown!r}; {suggest(unknown, AXES)}")
    numbers = {name: trial.get(name) for name in SCALARS if name not in named}
    return CellCost(**named, **numbers, latencies=_collect_latencies(trial), growth=growth)


def _collect_latencies(trial: dict[str, Any]) -> tuple[LatencyPercentiles, ...]:
    """Return the latencies of a trial, the smallest batch first."""
    by_batch: dict[int, dict[str, float]] = {}
    for key, value in trial.items():
        if match := LATENCY.fullmatch(key):
            by_batch.setdefault(int(match[1]), {})[match[2]] = value
    return tuple(LatencyPercentiles(batch, **by_batch[batch]) for batch in sorted(by_batch))


def list_batch_sizes(costs: Iterable[CellCost]) -> list[int]:
    """Return the batch sizes whose latency somebody measured."""
    return sorted({latency.batch for cost in costs for latency in cost.latencies})
