"""The tables of the benchmark: training, a step in its parts, asking, memory, and what is known by counting."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.analysis.report import formatting
from pipeline.analysis.results import cell_table, costs
from pipeline.analysis.results.cell_table import Sheet
from pipeline.analysis.results.costs import Cost

RAN = ("model", "processes", "threads", "precision", "batch")
TRAINING = (
    "pairs/s",
    "95% over rounds",
    "tokens/s",
    "of peak",
    "alone, pairs/s",
    "efficiency",
    "weak efficiency",
    "J/pair",
    "time",
    "price",
)
STEP = ("step, ms", "data", "forward", "backward", "update", "communication", "peak, FLOPs/s")
ASKING = ("pairs/s", "95% over rounds", "tokens/s", "of peak", "J/pair")
PHASES = ("load", "forward", "backward", "update", "inference")
COUNTED = (
    "model",
    "processes",
    "precision",
    "batch",
    "parameters",
    "not embeddings",
    "trained",
    "forward",
    "backward",
    "update",
    "activations, MiB",
    "gradients, MiB",
    "optimiser, MiB",
)
HOLDING = "peak memory by phase, in MiB; in brackets, what of it the process did not hold at first"
COUNTING = "by counting: FLOPs of a pair forward and backward, of a step's update; memory of a process"


def training(measured: Sequence[Cost]) -> Sheet:
    """Return how fast each cell trains, what more processes gain, and what the budget costs at that rate."""
    examples = formatting.alternatives(cost.budget_examples for cost in measured)
    what = "time is" if all(cost.budget_cost is None for cost in measured) else "time and price are"
    budget = f"; {what} for {examples} pairs" if examples else ""
    return _sheet(f"{_task(measured)}training{budget}", (*RAN, *TRAINING), [_training(cost) for cost in measured])


def sheets(measured: Sequence[Cost]) -> list[Sheet]:
    """Return the tables of what has run, without those in which nothing stands; columns without numbers are left out.

    Cells that have not run stand in the first one.
    """
    if not measured:
        return []
    ran, task = [cost for cost in measured if cost.model], _task(measured)
    asked = [cost for cost in ran if cost.inference_pairs_per_second is not None]
    held = [cost for cost in ran if cost.load_memory_mib is not None]
    sizes = costs.batches(asked)
    latency = tuple(f"batch {size}: p50 / p95 / p99 ms" for size in sizes)
    on_gpu = tuple(f"{phase}, GPU" for phase in PHASES)
    counted = dict.fromkeys(_counted(cost) for cost in ran if cost.parameters is not None)  # threads change none of it
    found = [
        training(measured),
        _sheet(f"{task}a step of training in its parts, in ms", (*RAN, *STEP), [[*_ran(c), *_step(c)] for c in ran]),
        _sheet(f"{task}inference", (*RAN, *ASKING, *latency), [[*_ran(c), *_asking(c, sizes)] for c in asked]),
        _sheet(f"{task}{HOLDING}", (*RAN, *PHASES, *on_gpu), [[*_ran(c), *_memory(c)] for c in held]),
        _sheet(f"{task}{COUNTING}", COUNTED, [[*line] for line in counted]),
    ]
    return [sheet for sheet in found if sheet.rows]


def _sheet(title: str, headings: tuple[str, ...], rows: list[list[str]]) -> Sheet:
    """Return a table without the columns in which nothing stands."""
    kept = [number for number, _ in enumerate(headings) if any(row[number] for row in rows)]
    return Sheet(title, tuple(headings[number] for number in kept), [[row[number] for number in kept] for row in rows])


def _task(measured: Sequence[Cost]) -> str:
    tasks = dict.fromkeys(cost.task for cost in measured if cost.task)
    return f"{', '.join(tasks)}: " if tasks else ""


def _ran(cost: Cost) -> list[str]:
    precision = f"{cost.precision}, emulated" if cost.precision_emulated else str(cost.precision)
    return [str(cost.model), str(cost.processes), str(cost.threads), precision, str(cost.batch_size)]


def _training(cost: Cost) -> list[str]:
    if not cost.model:
        return [cost.cell, *[""] * (len(RAN) - 1), cell_table.state(cost.hole), *[""] * (len(TRAINING) - 1)]
    return [
        *_ran(cost),
        formatting.digits(cost.train_pairs_per_second),
        formatting.interval(cost.train_pairs_per_second_low, cost.train_pairs_per_second_high),
        formatting.digits(cost.train_tokens_per_second),
        formatting.percent(cost.train_utilisation),
        formatting.digits(cost.alone_pairs_per_second),
        formatting.percent(cost.strong_efficiency),
        formatting.percent(cost.weak_efficiency),
        formatting.digits(cost.train_joules_per_pair),
        formatting.duration(cost.budget_seconds),
        formatting.digits(cost.budget_cost),
    ]


def _step(cost: Cost) -> list[str]:
    parts = (
        cost.train_step_ms,
        cost.train_data_ms,
        cost.train_forward_ms,
        cost.train_backward_ms,
        cost.train_update_ms,
    )
    share, peak = cost.communication_share, cost.peak_flops_per_second
    return [*map(formatting.digits, parts), formatting.percent(share), formatting.amount(peak)]


def _asking(cost: Cost, sizes: Sequence[int]) -> list[str]:
    by_size = {latency.batch: latency for latency in cost.latencies}
    taken = [by_size.get(size, costs.Latency(size)) for size in sizes]
    return [
        formatting.digits(cost.inference_pairs_per_second),
        formatting.interval(cost.inference_pairs_per_second_low, cost.inference_pairs_per_second_high),
        formatting.digits(cost.inference_tokens_per_second),
        formatting.percent(cost.inference_utilisation),
        formatting.digits(cost.inference_joules_per_pair),
        *(" / ".join(filter(None, map(formatting.digits, (one.p50, one.p95, one.p99)))) for one in taken),
    ]


def _memory(cost: Cost) -> list[str]:
    peaks = [getattr(cost, f"{phase}_memory_mib") for phase in PHASES]
    added = [getattr(cost, f"{phase}_memory_added_mib") for phase in PHASES]
    resident = [
        formatting.digits(peak) if more is None else f"{formatting.digits(peak)} ({formatting.digits(more)})"
        for peak, more in zip(peaks, added, strict=True)
    ]
    return [*resident, *(formatting.digits(getattr(cost, f"{phase}_gpu_memory_mib")) for phase in PHASES)]


def _counted(cost: Cost) -> tuple[str, ...]:
    flops = (cost.forward_flops, cost.backward_flops, cost.update_flops)
    sizes = (cost.activation_bytes, cost.gradient_bytes, cost.optimizer_bytes)
    parameters = (cost.parameters, cost.parameters_non_embedding, cost.parameters_trainable)
    return (
        *(str(word) for word in (cost.model, cost.processes, cost.precision, cost.batch_size)),
        *(formatting.amount(number) for number in parameters),
        *(formatting.amount(number) for number in flops),
        *(formatting.mebibytes(size) for size in sizes),
    )
