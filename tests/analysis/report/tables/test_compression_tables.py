from dataclasses import replace

from pipeline.analysis.report.tables import compression_tables, score_tables
from pipeline.analysis.report.tables.table import render_markdown
from pipeline.analysis.results.cell_table import CellRow

START = CellRow(
    "mrpc-big-1.0", "mrpc", "big", 1.0, "standard", "evaluate@mrpc-big-1.0", seeds=3, score_name="f1", score=0.8,
    low=0.79, high=0.81, parameters=1_000_000, parameters_nonzero=1_000_000, storage_bytes=4_000_000,
    inference_flops=2e8, latency_p50_ms=4.0, inference_memory_added_mib=500.0,
)  # fmt: skip
TAUGHT = replace(
    START, cell="taught", model="small", section="distill", source="finetune/mrpc-big-1.0", method="logits", score=0.78,
    parameters=500_000, alone_score=0.75, gain=0.03, gain_low=0.01, gain_high=0.05,
)  # fmt: skip
NARROW = replace(
    START, cell="narrow", section="compress", source="distill/taught", method="width", parameters=250_000,
    parameters_nonzero=125_000, changed="half of the neurons", storage_bytes=1_000_000, inference_flops=5e7,
    latency_p50_ms=5.0, inference_memory_added_mib=450.0,
)  # fmt: skip
HEADS = CellRow(
    "fewer-heads", "mrpc", "big", 1.0, "standard", "evaluate-compress@fewer-heads", section="compress",
    source="finetune/mrpc-big-1.0", method="heads",
)  # fmt: skip
OTHER = replace(START, cell="mrpc-small-1.0", model="small")


def test_a_ledger_lists_each_step_below_its_source_with_the_ratio_to_the_start() -> None:
    table, _ = compression_tables.create_tables([OTHER, START, HEADS, NARROW, TAUGHT])
    assert table.title == "mrpc: big, ratio 1, F1 (%); the ratio to the start in brackets"
    assert table.format_rows() == [
        ["mrpc-big-1.0", "80.0", "[79.0, 81.0]", "1.0M (1.00)", "1.0M (1.00)", "4.00 MB (1.00)", "200.0M (1.00)",
         "4.00 (1.00)", "500 (1.00)"],
        ["\u00a0\u00a0fewer-heads (heads)", "not run", *[""] * 7],
        ["\u00a0\u00a0taught (logits)", "78.0", "[79.0, 81.0]", "0.5M (0.50)", "1.0M (1.00)", "4.00 MB (1.00)",
         "200.0M (1.00)", "4.00 (1.00)", "500 (1.00)"],
        ["\u00a0\u00a0\u00a0\u00a0narrow (width)", "80.0", "[79.0, 81.0]", "0.2M (0.25)", "0.1M (0.12)",
         "1.00 MB (0.25)", "50.0M (0.25)", "5.00 (1.25)", "450 (0.90)"],
    ]  # fmt: skip
    assert {len(row) for row in table.format_rows()} == {len(table.headings)}
    assert table.notes == ("narrow: half of the neurons",)
    assert render_markdown(table).endswith("|\n\n- narrow: half of the neurons")


def test_a_teachers_gain_is_one_row_with_its_interval() -> None:
    _, gains = compression_tables.create_tables([START, TAUGHT])
    assert gains.title == "mrpc: F1 (%), gain of students from their teachers"
    assert gains.format_rows() == [
        ["taught: small (logits)", "finetune/mrpc-big-1.0", "75.0", "78.0", "+3.0", "[1.0, 5.0]"]
    ]


def test_a_plan_without_steps_has_no_ledger() -> None:
    assert compression_tables.create_tables([START, OTHER]) == []


def test_what_was_made_of_a_model_is_no_row_of_the_grid() -> None:
    (table,) = score_tables.create_tables([START, TAUGHT, NARROW])
    assert [row[0] for row in table.format_rows()] == ["big"]
