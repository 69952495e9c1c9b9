"""Tables of the benchmark: training, one step in detail, inference, memory, and counted FLOPs and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pipeline.analysis.report import formatting
from pipeline.analysis.report.tables import warning_marks
from pipeline.analysis.report.tables.table import Column, Table
from pipeline.analysis.results import costs
from pipeline.analysis.results.costs import CellCost

PHASES = ("load", "forward", "backward", "update", "inference")
MEMORY_TITLE = "peak memory by phase, in MiB; in brackets, the part above the start of the process"
COUNTED_TITLE = "counted: FLOPs of a pair forward and backward, of a step's update; memory of a process"

RATE_HELP = (
    "training: whole steps of all processes together, without padding; 95% over rounds shows how steady this machine "
    "was, not how another machine would perform."
)
UTILISATION_HELP = (
    "utilisation, counted FLOPs per second as a share of the highest rate of large matrix products on the same "
    "processes."
)
EFFICIENCY_HELP = (
    "the rate as a share of the processes times the rate of one alone with the whole batch (strong scaling); "
    "weak efficiency: the same with a batch of that size per process."
)
COMMUNICATION_HELP = "share of a step spent on the exchange of gradients, including waiting."
MEMORY_HELP = (
    "memory by phase: resident, of a separate process, including Python and its libraries; in brackets without them."
)


def _format_precision(cost: CellCost) -> str | None:
    return f"{cost.precision}, emulated" if cost.precision_emulated else cost.precision


def _format_training_rate(cost: CellCost) -> str:
    return (
        formatting.format_number(cost.train_pairs_per_second)
        if cost.model
        else warning_marks.format_state(cost.missing_reason)
    )


def _create_interval_column(key: str, in_terminal: bool = True) -> Column:
    def format_ends(cost: CellCost) -> str:
        return formatting.format_interval(getattr(cost, f"{key}_low"), getattr(cost, f"{key}_high"))

    return Column(f"{key}_95", "95% over rounds", value=format_ends, in_terminal=in_terminal)


RUN_COLUMNS = (
    Column("model", "model", value=lambda cost: cost.model or cost.cell),
    Column("processes", "processes"),
    Column("threads", "threads"),
    Column("precision", "precision", value=_format_precision),
    Column("batch_size", "batch"),
)
TRAINING_COLUMNS = (
    *RUN_COLUMNS,
    Column("train_pairs_per_second", "pairs/s", help=RATE_HELP, value=_format_training_rate),
    _create_interval_column("train_pairs_per_second", in_terminal=False),
    Column("train_tokens_per_second", "tokens/s", formatting.format_number, in_terminal=False),
    Column("train_utilisation", "of peak", formatting.format_percent, UTILISATION_HELP),
    Column("alone_pairs_per_second", "alone, pairs/s", formatting.format_number, in_terminal=False),
    Column("strong_efficiency", "efficiency", formatting.format_percent, EFFICIENCY_HELP),
    Column("weak_efficiency", "weak efficiency", formatting.format_percent, in_terminal=False),
    Column("train_joules_per_pair", "J/pair", formatting.format_number, in_terminal=False),
    Column("budget_seconds", "time", formatting.format_duration),
    Column("budget_cost", "price", formatting.format_number),
)
STEP_COLUMNS = (
    *RUN_COLUMNS,
    Column("train_step_ms", "step, ms", formatting.format_number),
    Column("train_data_ms", "data", formatting.format_number),
    Column("train_forward_ms", "forward", formatting.format_number),
    Column("train_backward_ms", "backward", formatting.format_number),
    Column("train_update_ms", "update", formatting.format_number),
    Column("communication_share", "communication", formatting.format_percent, COMMUNICATION_HELP),
    Column("peak_flops_per_second", "peak, FLOPs/s", formatting.format_amount),
)
INFERENCE_COLUMNS = (
    *RUN_COLUMNS,
    Column("inference_pairs_per_second", "pairs/s", formatting.format_number),
    _create_interval_column("inference_pairs_per_second"),
    Column("inference_tokens_per_second", "tokens/s", formatting.format_number),
    Column("inference_utilisation", "of peak", formatting.format_percent),
    Column("inference_joules_per_pair", "J/pair", formatting.format_number),
)
COUNTED_COLUMNS = (
    *(column for column in RUN_COLUMNS if column.key != "threads"),
    Column("parameters", "parameters", formatting.format_amount),
    Column("parameters_non_embedding", "not embeddings", formatting.format_amount),
    Column("parameters_trainable", "trained", formatting.format_amount),
    Column("forward_flops", "forward", formatting.format_amount),
    Column("backward_flops", "backward", formatting.format_amount),
    Column("update_flops", "update", formatting.format_amount),
    Column("activation_bytes", "activations, MiB", formatting.format_mib),
    Column("gradient_bytes", "gradients, MiB", formatting.format_mib),
    Column("optimizer_bytes", "optimiser, MiB", formatting.format_mib),
)


def create_training_table(measured: Sequence[CellCost]) -> Table:
    """Return training throughput, parallel efficiency, and time and price of the budget, for every cell."""
    examples = formatting.format_alternatives(cost.budget_examples for cost in measured)
    what = "time is" if all(cost.budget_cost is None for cost in measured) else "time and price are"
    budget = f"; {what} for {examples} pairs" if examples else ""
    return Table(f"{_format_tasks(measured)}training{budget}", TRAINING_COLUMNS, measured).drop_empty_columns()


def create_tables(measured: Sequence[CellCost]) -> list[Table]:
    """Return the tables that have rows, without their empty columns.

    Cells without results are listed in the first table only.
    """
    if not measured:
        return []
    ran, task = [cost for cost in measured if cost.model], _format_tasks(measured)
    inferred = [cost for cost in ran if cost.inference_pairs_per_second is not None]
    with_memory = [cost for cost in ran if cost.load_memory_mib is not None]
    latency = [_create_latency_column(size) for size in costs.list_batch_sizes(inferred)]
    tables = [
        Table(f"{task}a step of training in detail, in ms", STEP_COLUMNS, ran),
        Table(f"{task}inference", (*INFERENCE_COLUMNS, *latency), inferred),
        Table(f"{task}{MEMORY_TITLE}", _create_memory_columns(), with_memory),
        Table(f"{task}{COUNTED_TITLE}", COUNTED_COLUMNS, _select_distinct(ran)),
    ]
    return [create_training_table(measured), *(table.drop_empty_columns() for table in tables if table.rows)]


def _format_tasks(measured: Sequence[CellCost]) -> str:
    tasks = dict.fromkeys(cost.task for cost in measured if cost.task)
    return f"{', '.join(tasks)}: " if tasks else ""


def _select_distinct(ran: Sequence[CellCost]) -> list[CellCost]:
    """Return one cost for each counted setting: the number of threads changes none of its numbers."""
    counted = [cost for cost in ran if cost.parameters is not None]
    by_texts = {tuple(column.format_cell(cost) for column in COUNTED_COLUMNS): cost for cost in reversed(counted)}
    return list(reversed(by_texts.values()))


def _create_latency_column(size: int) -> Column:
    def format_latency(cost: CellCost) -> str:
        latency = next((latency for latency in cost.latencies if latency.batch == size), costs.LatencyPercentiles(size))
        return " / ".join(filter(None, map(formatting.format_number, (latency.p50, latency.p95, latency.p99))))

    return Column(f"latency_b{size}", f"batch {size}: p50 / p95 / p99 ms", value=format_latency)


def _create_memory_columns() -> list[Column]:
    on_gpu = [Column(f"{phase}_gpu_memory_mib", f"{phase}, GPU", formatting.format_number) for phase in PHASES]
    resident = [
        Column(f"{phase}_memory", phase, help="" if number else MEMORY_HELP, value=partial(_format_memory, phase))
        for number, phase in enumerate(PHASES)
    ]
    return [*RUN_COLUMNS, *resident, *on_gpu]


def _format_memory(phase: str, cost: CellCost) -> str:
    peak, added = getattr(cost, f"{phase}_memory_mib"), getattr(cost, f"{phase}_memory_added_mib")
    return (
        formatting.format_number(peak)
        if added is None
        else f"{formatting.format_number(peak)} ({formatting.format_number(added)})"
    )
