"""Latency pooled over the cells of a task that compute the same, so that the load of the machine decides nothing.

Zeros in dense weights and weights that layers share change neither the FLOPs nor their order, and neither do the
data and the seed of a training. Such cells have one true latency; what their measurements differ by is noise.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.analysis.results.cell_table import CellCoordinates, CellRow

COUNTED = ("inference_flops", "training_flops", "activation_bytes")  # equal where the computation is


def compute_key(point: CellCoordinates, numbers: Mapping[str, Any], machine: str) -> str:
    """Return a text that is the same for cells that compute the same on the same machine; empty where unknown.

    ``numbers`` are those of a trial's record. Weights that cannot be trained further, such as int8, have no training
    FLOPs; they have kernels of their own, so the method of the compression is part of their key.
    """
    if numbers.get("inference_flops") is None:
        return ""
    counted = [numbers.get(name) for name in COUNTED]
    method = point.method if None in counted and point.section == "compress" else None
    return "|".join(str(part) for part in (point.task, point.model, method, *counted, machine))


def pool(keys: Sequence[str], values: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    """Return for each cell all numbers of the cells with its key, scaled so that their mean is their median.

    ``values`` holds a cell's own numbers, one a seed. The median, because a busy machine makes some numbers many times
    too large; scaled, because costs are means everywhere else. A cell without a key or numbers keeps what it has.
    """
    groups: dict[str, list[float]] = defaultdict(list)
    for key, own in zip(keys, values, strict=True):
        groups[key].extend(own)
    return [_scale_to_median(groups[key]) if key and own else tuple(own) for key, own in zip(keys, values, strict=True)]


def _scale_to_median(values: Sequence[float]) -> tuple[float, ...]:
    mean = fmean(values)
    return tuple(value * median(values) / mean for value in values) if mean else tuple(values)


def pool_rows(rows: Sequence[CellRow]) -> list[CellRow]:
    """Return rows whose latency is the median over all cells and seeds that compute the same."""
    keys = [row.computation for row in rows]
    pooled = pool(keys, [row.latency_p50_seeds_ms for row in rows])
    measured = [key for key, row in zip(keys, rows, strict=True) if row.latency_p50_seeds_ms]
    return [
        replace(row, latency_p50_ms=fmean(values), latency_cells=measured.count(key) if key else 1) if values else row
        for row, key, values in zip(rows, keys, pooled, strict=True)
    ]


def format_note(rows: Sequence[CellRow]) -> str:
    """Return the note of a table some of whose latencies are pooled, empty where none is."""
    counts = [row.latency_cells for row in rows if row.latency_cells > 1]
    if not counts:
        return ""
    cells = f"{min(counts)} to {max(counts)}" if min(counts) < max(counts) else str(counts[0])
    return (
        f"p50 ms: median over all cells and seeds that compute the same ({cells} cells each): data, "
        "zeros and shared weights do not change it."
    )
