"""Cells that compute the same share one latency."""

from dataclasses import replace
from statistics import fmean

import pytest

from pipeline.analysis.recommendation import latency_pool
from pipeline.analysis.results.cell_table import CellCoordinates, CellRow

DENSE = {"inference_flops": 26e6, "training_flops": 78e6, "activation_bytes": 5e5}
INT8 = {"inference_flops": 26e6}
GRID = CellCoordinates("dense", "t", "3x96", 1.0, "standard", "evaluate@dense")
MADE = replace(GRID, section="compress", source="finetune/dense")


def key(point: CellCoordinates = GRID, numbers: dict[str, float] = DENSE, machine: str = "m") -> str:
    return latency_pool.compute_key(point, numbers, machine)


@pytest.mark.parametrize("method", ["magnitude", "two-four", "share-feed-forward"])
def test_zeros_and_shared_weights_compute_what_their_source_computes(method: str) -> None:
    assert key(replace(MADE, cell=method, method=method)) == key()


def test_another_share_of_the_data_computes_the_same() -> None:
    assert key(replace(GRID, ratio=0.3, cell="less")) == key()


def test_other_flops_another_model_machine_or_task_do_not_compute_the_same() -> None:
    others = [
        key(numbers={**DENSE, "inference_flops": 22e6}), key(replace(GRID, model="2x96")), key(machine="other"),
        key(replace(GRID, task="u")), key(replace(MADE, method="int8-weight-only"), INT8),
        key(replace(MADE, method="int8-dynamic"), INT8),
    ]  # fmt: skip
    assert len({key(), *others}) == 1 + len(others)


def test_a_cell_whose_flops_are_unknown_is_not_pooled() -> None:
    assert key(numbers={}) == ""
    assert latency_pool.pool(["", ""], [(1.0, 2.0), (3.0,)]) == [(1.0, 2.0), (3.0,)]


def test_the_mean_of_pooled_latencies_is_the_median_over_cells_and_seeds() -> None:
    """One measurement on a busy machine moves a mean of six from 2.0 to 4.6, the median by little."""
    sparse, dense, other = latency_pool.pool(["a", "a", "b"], [(1.9, 2.0, 2.1), (2.0, 2.2, 17.4), (5.0,)])
    assert sparse == dense
    assert len(dense) == 6
    assert fmean(dense) == pytest.approx(2.05)
    assert min(dense) > 0
    assert other == (5.0,)


def test_rows_share_the_pooled_latency_and_their_table_says_so() -> None:
    own = [(3.1, 3.2, 3.3), (2.1, 2.2, 2.3), (9.0,)]
    rows = [
        CellRow(**vars(GRID), computation=name, latency_p50_ms=fmean(values), latency_p50_seeds_ms=values)
        for name, values in zip("aab", own, strict=True)
    ]
    pooled = latency_pool.pool_rows(rows)
    assert [row.latency_p50_ms for row in pooled] == [pytest.approx(2.7), pytest.approx(2.7), 9.0]
    assert [row.latency_p50_seeds_ms for row in pooled] == own
    assert latency_pool.format_note(pooled) == (
        "p50 ms: median over all cells and seeds that compute the same (2 cells each): data, zeros and shared weights "
        "do not change it."
    )
    assert latency_pool.format_note(pooled[2:]) == ""
