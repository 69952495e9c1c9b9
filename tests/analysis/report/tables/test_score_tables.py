import csv
import io
from dataclasses import replace

from pipeline.analysis.report.tables import csv_files, score_tables
from pipeline.analysis.report.tables.table import render_markdown
from pipeline.analysis.results.cell_table import CellRow


def test_the_file_of_numbers_rounds_nothing(rows: list[CellRow]) -> None:
    read = list(csv.DictReader(io.StringIO(csv_files.render_cells(rows))))
    assert [line["cell"] for line in read] == [row.cell for row in rows]
    assert [float(line["score"]) for line in read[:-1]] == [row.score for row in rows[:-1]]
    assert read[-1]["score"] == ""


def test_the_markdown_table_has_a_line_for_each_row(rows: list[CellRow]) -> None:
    (table,) = score_tables.create_tables(rows[:3])
    lines = render_markdown(table).splitlines()
    assert len(lines) == 7
    assert lines[-1].startswith("- p50 ms: median over all cells and seeds that compute the same (3 cells each): ")
    assert {line.count("|") for line in lines[:-2]} == {len(table.headings) + 1}
    assert "| bert-tiny | 4.4M | 0.1 | 330 | 83.7 | [81.4, 85.8] | yes |" in lines[2]


def test_a_title_names_metric_seeds_and_baseline(rows: list[CellRow]) -> None:
    assert (
        score_tables.format_title(rows[:3]) == "mrpc: F1 (%), mean over 3 seeds; baseline (best constant answer): 81.2"
    )
    assert score_tables.format_title([replace(rows[0], seeds=1), rows[1]]).startswith(
        "mrpc: F1 (%), mean over 1 to 3 seeds;"
    )


def test_a_variant_bears_its_own_name(rows: list[CellRow]) -> None:
    variant = replace(rows[0], cell="equal-steps", recipe="equal-steps", section="variants")
    assert score_tables.format_model(variant) == "bert-tiny (equal-steps)"
