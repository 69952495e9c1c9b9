from dataclasses import replace

import pytest

from pipeline.analysis.report.tables import benchmark_tables
from pipeline.analysis.report.tables.table import Table
from pipeline.analysis.results.costs import CellCost


def by_title(measured: list[CellCost]) -> dict[str, Table]:
    return {table.title: table for table in benchmark_tables.create_tables(measured)}


def test_training_tells_what_more_processes_gain_and_shows_a_hole(measured: list[CellCost]) -> None:
    table = by_title(measured)["starter-swap: training; time is for 1,000,000 pairs"]
    assert table.headings == (
        "model", "processes", "threads", "precision", "batch", "pairs/s", "95% over rounds", "tokens/s", "of peak",
        "alone, pairs/s", "efficiency", "weak efficiency", "time",
    )  # fmt: skip
    # 372 of 2 x 200 pairs a second is 93%, 388 of them 97%; a million at 372 a second take 2,688 s
    assert table.format_rows()[1] == [
        "bert-tiny", "2", "1", "bf16", "32", "372", "[365, 380]", "11,904", "22%", "200", "93%", "97%", "44 min 48 s",
    ]  # fmt: skip
    assert table.format_rows()[0][5:9] == ["800", "[776, 816]", "25,600", "24%"]
    assert table.format_rows()[0][9:12] == ["", "", ""]
    assert table.format_rows()[3] == ["bert-mini-2-1-bf16-32", "", "", "", "", "not run", *[""] * 7]


def test_an_emulated_precision_is_named_in_every_table_of_rates(measured: list[CellCost]) -> None:
    training, step, inference, *_ = benchmark_tables.create_tables([replace(measured[0], precision_emulated=True)])
    assert [table.format_rows()[0][3] for table in (training, step, inference)] == ["bf16, emulated"] * 3


def test_price_and_joules_are_shown_where_somebody_knows_them(measured: list[CellCost]) -> None:
    known = replace(measured[0], budget_cost=1.25, train_joules_per_pair=0.032, inference_joules_per_pair=0.0071)
    training, _step, inference, *_ = benchmark_tables.create_tables([known])
    assert training.title == "starter-swap: training; time and price are for 1,000,000 pairs"
    assert training.headings[-3:] == ("J/pair", "time", "price")
    assert training.format_rows()[0][-3:] == ["0.032", "20 min 50 s", "1.25"]
    assert inference.format_rows()[0][inference.headings.index("J/pair")] == "0.0071"


def test_a_step_is_shown_in_its_parts(measured: list[CellCost]) -> None:
    table = by_title(measured)["starter-swap: a step of training in detail, in ms"]
    assert table.headings[5:] == (
        "step, ms",
        "data",
        "forward",
        "backward",
        "update",
        "communication",
        "peak, FLOPs/s",
    )
    assert table.format_rows()[1][5:] == ["86.0", "0.21", "25.5", "48.7", "11.6", "4.8%", "506 G"]
    assert [row[0] for row in table.format_rows()] == ["bert-tiny", "bert-tiny", "bert-mini"]


def test_inference_has_the_percentiles_of_every_batch_size(measured: list[CellCost]) -> None:
    bigger = replace(measured[2], latencies=measured[2].latencies[:1])
    table = by_title([measured[0], measured[1], bigger])["starter-swap: inference"]
    assert table.headings[-3:] == tuple(f"batch {size}: p50 / p95 / p99 ms" for size in (1, 8, 32))
    assert table.format_rows()[0] == [
        "bert-tiny", "1", "1", "bf16", "32", "3,200", "[3,120, 3,280]", "102,400", "32%", "0.62 / 0.82 / 1.25",
        "3.30 / 4.32 / 6.60", "10.0 / 13.1 / 20.0",
    ]  # fmt: skip
    assert [row[0] for row in table.format_rows()] == ["bert-tiny", "bert-mini"]
    assert table.format_rows()[1][-2:] == ["", ""]


def test_memory_and_what_is_counted_stand_in_tables_of_their_own(measured: list[CellCost]) -> None:
    tables = by_title(measured)
    memory = tables[f"starter-swap: {benchmark_tables.MEMORY_TITLE}"]
    assert memory.headings[5:] == ("load", "forward", "backward", "update", "inference")
    assert memory.format_rows()[0][5:] == ["412 (20.1)", "432 (39.7)", "466 (73.8)", "502 (109)", "429 (36.5)"]
    counted = tables[f"starter-swap: {benchmark_tables.COUNTED_TITLE}"]
    # 24 d t h^2 + 4 d t^2 h for d = 2, t = 32, h = 128
    forward = 24 * 2 * 32 * 128**2 + 4 * 2 * 32**2 * 128
    assert counted.format_rows()[0] == [
        "bert-tiny", "1", "bf16", "32", "4.40 M", "393 k", "4.40 M", f"{forward / 1e6:.1f} M",
        f"{2 * forward / 1e6:.1f} M", "52.8 M", "3.00", "17.5", "35.0",
    ]  # fmt: skip


def test_memory_of_a_gpu_stands_beside_the_processs_own(measured: list[CellCost]) -> None:
    known = replace(measured[0], load_gpu_memory_mib=16.8, inference_gpu_memory_mib=21.4, load_memory_added_mib=None)
    table = by_title([known])[f"starter-swap: {benchmark_tables.MEMORY_TITLE}"]
    assert table.headings[-2:] == ("load, GPU", "inference, GPU")
    assert table.format_rows()[0][-2:] == ["16.8", "21.4"]
    assert table.format_rows()[0][5] == "412"


def test_what_threads_do_not_change_stands_once(measured: list[CellCost]) -> None:
    twice = [measured[0], replace(measured[0], cell="bert-tiny-1-2-bf16-32", threads=2)]
    assert [len(table.format_rows()) for table in benchmark_tables.create_tables(twice)] == [2, 2, 2, 2, 1]


@pytest.mark.parametrize("count", [0, 1])
def test_a_plan_whose_benchmark_is_empty_or_has_not_run_has_no_more_tables_than_it_has_to_say(
    count: int, measured: list[CellCost]
) -> None:
    found = benchmark_tables.create_tables(measured[-1:] * count)
    assert [table.title for table in found] == ["training"][:count]
    assert [table.format_rows() for table in found] == [[["bert-mini-2-1-bf16-32", "not run"]]][:count]
