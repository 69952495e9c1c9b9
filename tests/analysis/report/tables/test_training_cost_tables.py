from dataclasses import replace

from pipeline.analysis.report.tables import training_cost_tables
from pipeline.analysis.results.cell_table import CellRow

ROW = CellRow(
    "mrpc-tiny-0.5", "mrpc", "tiny", 0.5, "standard", "evaluate@mrpc-tiny-0.5", seeds=3, score_name="f1", score=0.8,
    low=0.79, high=0.81, train_flops=1.234e12, train_seconds=61.27, flops_to_95pct=4.5e11,
    seconds_to_95pct=21.9, examples_to_95pct=1234.4,
)  # fmt: skip


def test_a_line_tells_what_a_score_took() -> None:
    (table,) = training_cost_tables.create_tables([ROW])
    assert table.title == "mrpc: F1 (%) and cost of training"
    assert table.headings == (
        "model", "ratio", "score", "95%", "flops", "seconds", "FLOPs to 95%", "seconds to 95%",
        "examples to 95%",
    )  # fmt: skip
    assert table.format_rows() == [
        ["tiny", "0.5", "80.0", "[79.0, 81.0]", "1.23 T", "61.3", "450 G", "21.9", "1,234"],
    ]  # fmt: skip


def test_what_no_seed_came_to_is_empty_and_a_variant_bears_its_own_name() -> None:
    never = replace(
        ROW, cell="patient", section="variants", flops_to_95pct=None, seconds_to_95pct=None, examples_to_95pct=None
    )
    (table,) = training_cost_tables.create_tables([never])
    assert table.format_rows() == [["tiny (patient)", "0.5", "80.0", "[79.0, 81.0]", "1.23 T", "61.3", "", "", ""]]


def test_rows_without_flops_and_what_is_made_of_a_model_are_left_out() -> None:
    old = replace(ROW, cell="old", train_flops=None)
    pruned = replace(ROW, cell="pruned", section="compress", source="finetune/mrpc-tiny-0.5")
    cola = replace(ROW, cell="cola", task="cola")
    assert training_cost_tables.select_counted([old, ROW, pruned]) == [ROW]
    assert [table.title[:4] for table in training_cost_tables.create_tables([old, ROW, pruned, cola])] == [
        "mrpc",
        "cola",
    ]
    assert training_cost_tables.create_tables([old, pruned]) == []
