import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.analysis.report.tables import csv_files
from pipeline.analysis.results import costs
from pipeline.analysis.results.costs import CellCost, LatencyPercentiles
from pipeline.core import records
from pipeline.core.errors import UserError
from tests.analysis import made

CELL = "bert-tiny-1-1-bf16-32"


def read(folder: Path, record: dict[str, Any]) -> CellCost:
    folder = folder / "metrics" / "benchmark"
    folder.mkdir(parents=True, exist_ok=True)
    cell = record["cell"]
    (folder / f"{cell}.json").write_text(json.dumps(records.sign(record)))
    (cost,) = costs.read_costs([(cell, f"benchmark@{cell}")], folder, made.planned([record]))
    return cost


def test_a_row_holds_what_its_record_says(tmp_path: Path) -> None:
    record = made.alone()
    (trial,) = record["trials"]
    cost = read(tmp_path, record)
    assert (cost.cell, cost.model, cost.task) == (CELL, "bert-tiny", "starter-swap")
    told = {name: value for name, value in trial.items() if name in costs.SCALARS}
    assert {name: getattr(cost, name) for name in told} == told
    assert set(trial) - set(told) == {"seed", "growth", *(name for name in trial if name.startswith("latency_b"))}
    assert [latency.batch for latency in cost.latencies] == [1, 8, 32]
    assert cost.latencies[1].p99 == trial["latency_b8_p99_ms"]
    assert [vars(point) for point in cost.growth] == trial["growth"]
    assert cost.machine == f"a processor, cpu, torch {cost.torch}"
    assert (cost.torch, cost.transformers) == (made.MACHINE["torch"], made.MACHINE["transformers"])


def test_what_was_not_measured_is_nothing(tmp_path: Path) -> None:
    cost = read(tmp_path, made.several())
    assert cost.train_pairs_per_second == 372.0
    assert (cost.inference_pairs_per_second, cost.load_memory_mib, cost.budget_cost) == (None, None, None)
    assert (cost.latencies, cost.growth) == ((), ())


def test_latencies_of_any_batch_size_are_found_the_smallest_first(tmp_path: Path) -> None:
    record = made.several()
    record["trials"][0] |= {"latency_b128_p50_ms": 9.0, "latency_b4_p95_ms": 2.0, "latency_b4_p50_ms": 1.0}
    assert read(tmp_path, record).latencies == (
        LatencyPercentiles(4, p50=1.0, p95=2.0),
        LatencyPercentiles(128, p50=9.0),
    )


def test_cells_are_exactly_those_asked_for_in_their_order_and_a_missing_record_is_a_hole(tmp_path: Path) -> None:
    folder = tmp_path / "benchmark"
    folder.mkdir()
    for record in (ran := (made.alone(), made.several())):
        (folder / f"{record['cell']}.json").write_text(json.dumps(records.sign(record)))
    cells = ["bert-tiny-2-1-bf16-32", "bert-tiny-4-1-bf16-32"]
    found = costs.read_costs([(cell, f"benchmark@{cell}") for cell in cells], folder, made.planned(ran))
    assert [cost.cell for cost in found] == cells
    assert found[1] == CellCost("bert-tiny-4-1-bf16-32", "benchmark@bert-tiny-4-1-bf16-32", missing_reason="not run")


def test_a_record_that_lacks_a_key_is_told_from_a_hole(tmp_path: Path) -> None:
    record = made.alone()
    del record["trials"][0]["threads"], record["trials"][0]["precision"]
    with pytest.raises(UserError) as caught:
        read(tmp_path, record)
    assert str(caught.value) == (
        "metrics/benchmark/bert-tiny-1-1-bf16-32.json: seed 0: no threads, precision, which the comparison "
        "needs; remove it, then run `dvc repro`"
    )


def test_growth_along_an_axis_that_nobody_draws_is_refused(tmp_path: Path) -> None:
    record = made.alone()
    record["trials"][0]["growth"][3]["axis"] = "widht"
    with pytest.raises(UserError) as caught:
        read(tmp_path, record)
    assert str(caught.value) == (
        "metrics/benchmark/bert-tiny-1-1-bf16-32.json: growth: got 'widht'; did you mean 'width'? "
        "(allowed: batch, depth, length, width)"
    )


def test_the_files_of_numbers_round_nothing(measured: list[CellCost]) -> None:
    lines = list(csv.DictReader(io.StringIO(csv_files.render_costs(measured))))
    assert [line["cell"] for line in lines] == [cost.cell for cost in measured]
    assert float(lines[0]["train_pairs_per_second"]) == measured[0].train_pairs_per_second
    assert float(lines[0]["latency_b32_p90_ms"]) == measured[0].latencies[2].p90
    assert (lines[1]["latency_b32_p90_ms"], lines[-1]["model"]) == ("", "")
    points = list(csv.DictReader(io.StringIO(csv_files.render_growth(measured))))
    assert len(points) == 2 * 16
    assert [float(point["seconds"]) for point in points[:16]] == [point.seconds for point in measured[0].growth]
    assert points[-1]["cell"] == "bert-mini-1-1-bf16-32"
