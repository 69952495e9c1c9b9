"""The unrounded numbers of the report as CSV: cells, costs of the benchmark, and their growth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields

from pipeline.analysis.report.tables.table import Column, Table, render_csv
from pipeline.analysis.results import costs
from pipeline.analysis.results.cell_table import CellRow
from pipeline.analysis.results.costs import SCALARS, CellCost, GrowthPoint

PERCENTILES = ("p50", "p90", "p95", "p99")


def render_cells(rows: Sequence[CellRow]) -> str:
    """Return every field of every row."""
    names = [*(field.name for field in fields(CellRow) if field.name != "several_recipes"), "above_majority"]
    return render_csv(Table("cells", [Column(name, name) for name in names], rows))


def render_costs(measured: Sequence[CellCost]) -> str:
    """Return every number of every benchmarked cell, except those of its growth."""
    columns = [Column(name, name) for name in SCALARS]
    for batch in costs.list_batch_sizes(measured):
        columns += [_create_latency_column(batch, percentile) for percentile in PERCENTILES]
    return render_csv(Table("costs", columns, measured))


def _create_latency_column(batch: int, percentile: str) -> Column:
    def get_latency(cost: CellCost) -> float | None:
        return next((getattr(one, percentile) for one in cost.latencies if one.batch == batch), None)

    key = f"latency_b{batch}_{percentile}_ms"
    return Column(key, key, value=get_latency)


def render_growth(measured: Iterable[CellCost]) -> str:
    """Return every point of every cell's growth."""
    names = ("cell", *(field.name for field in fields(GrowthPoint)))
    points = [{"cell": cost.cell, **vars(point)} for cost in measured for point in cost.growth]
    return render_csv(Table("growth", [Column(name, name) for name in names], points))
