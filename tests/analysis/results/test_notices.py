"""What is wrong with the records behind a report, and how it is shown."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from pipeline.analysis.report import build_report, terminal
from pipeline.analysis.report.tables import compression_tables, score_tables
from pipeline.analysis.report.tables.table import render_markdown
from pipeline.analysis.results import notices
from pipeline.analysis.results.cell_table import CellRow
from pipeline.analysis.results.costs import CellCost

LEAK = "12 of 400 report rows are train rows as well."
CUT = "31% of report rows are truncated."
INSTALLED = {"torch": "2.13.0+cpu", "transformers": "5.23.0"}


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices.hardware, "get_versions", lambda: INSTALLED)


def row(cell: str, **fields: object) -> CellRow:
    found = CellRow(
        cell, "mrpc", "bert-tiny", 1.0, "standard", f"evaluate@{cell}", score=0.8, score_name="f1", seeds=3,
        majority_score=0.75, low=0.78, high=0.82, **INSTALLED,
    )  # fmt: skip
    return replace(found, **fields)  # type: ignore[arg-type]


def print_terminal(rows: list[CellRow]) -> str:
    text = io.StringIO()
    terminal.print_results(rows, (), console=Console(file=text))
    return text.getvalue()


def test_records_that_do_not_count_are_listed_by_reason_with_the_first_of_each() -> None:
    seeds = "made with seeds 0, 1, but the plan has seeds 0, 1, 2"
    rows = [
        row("a", missing_reason=seeds),
        row("b", missing_reason=seeds),
        row("c", missing_reason="distill/t has no results"),
        row("d", missing_reason="not run"),
    ]
    timed = CellCost("e", "benchmark@e", missing_reason="made with task mrpc, but the plan has rte")
    assert notices.collect_notices(rows, [timed]) == [
        f"metrics/evaluate/a.json and 1 more: {seeds}; run `dvc repro`",
        "metrics/evaluate/c.json: distill/t has no results; run `dvc repro`",
        "metrics/benchmark/e.json: made with task mrpc, but the plan has rte; run `dvc repro`",
    ]


def test_more_reasons_than_fit_are_counted() -> None:
    rows = [row(str(number), missing_reason=f"finetune/{number} has no results") for number in range(7)]
    found = notices.collect_notices(rows)
    assert len(found) == 6
    assert found[-1] == "2 more records do not count; run `dvc repro`"


def test_cells_of_other_versions_are_listed_with_what_to_run() -> None:
    old = {"torch": "2.12.0+cpu", "transformers": "5.20.0"}
    rows = [row("a"), row("b", **old), row("c", **old), row("d", torch="2.12.0 / 2.13.0", transformers="5.23.0")]
    assert notices.collect_notices([*rows, row("e", torch=None, transformers=None)]) == [
        "2 of 4 cells were made with torch 2.12.0, transformers 5.20.0, but torch 2.13.0, transformers 5.23.0 is "
        "installed, so scores and times may differ; the first is b; run `dvc repro -f evaluate@b`",
        "1 of 4 cells were made with torch 2.12.0 / 2.13.0, transformers 5.23.0, but torch 2.13.0, transformers 5.23.0 "
        "is installed, so scores and times may differ; the first is d; run `dvc repro -f evaluate@d`",
    ]


def test_another_build_of_the_same_version_is_no_other_version() -> None:
    assert notices.collect_notices([row("a", torch="2.13.0+cu130"), row("b", torch="2.13.0", transformers=None)]) == []


def test_a_score_below_the_baseline_is_reported_as_such_in_table_and_overview() -> None:
    rows = [row("a"), row("b", score=0.7, low=0.69, high=0.71), row("c", low=0.7)]
    (table,) = score_tables.create_tables(rows)
    column = table.headings.index("above baseline")
    assert [cells[column] for cells in table.format_rows()] == ["yes", "below the baseline", "unclear"]
    assert score_tables.format_overview(rows) == (
        "3 of 3 cells have results; 1 cell is below the baseline; 1 cell is not clearly above the baseline."
    )
    assert "below the baseline" in print_terminal(rows)


def test_warnings_are_marked_at_the_score_and_listed_below_the_table() -> None:
    rows = [row("a", warnings=(LEAK,)), row("b", warnings=(LEAK, CUT)), row("c")]
    (table,) = score_tables.create_tables(rows)
    assert [cells[4] for cells in table.format_rows()] == ["80.0 (w1)", "80.0 (w1, w2)", "80.0"]
    assert table.warnings == (f"w1: {LEAK}", f"w2: {CUT}")
    assert render_markdown(table).endswith(f"\n\n- w1: {LEAK}\n- w2: {CUT}")
    assert score_tables.format_overview(rows) == "3 of 3 cells have results; 2 cells have warnings about the data."
    shown = print_terminal(rows)
    assert "80.0 (w1, w2)" in shown
    assert f"  w1: {LEAK}\n  w2: {CUT}\n" in shown


def test_warnings_of_students_and_compressions_are_marked_in_their_tables() -> None:
    start = row("a")
    taught = row(
        "t", section="distill", source=start.producer, method="logits", warnings=(CUT,), alone_score=0.7, gain=0.1
    )
    chain, gains = compression_tables.create_tables([start, taught])
    assert [cells[1] for cells in chain.format_rows()] == ["80.0", "80.0 (w1)"]
    assert gains.format_rows()[0][3] == "80.0 (w1)"
    assert chain.warnings == gains.warnings == (f"w1: {CUT}",)


def test_a_warning_that_looks_like_markup_is_printed_as_it_is() -> None:
    assert "  w1: [bold]a[/bold] <b>\n" in print_terminal([row("a", warnings=("[bold]a[/bold] <b>",))])


def test_the_summary_shows_notices_and_the_warnings_of_the_answer() -> None:
    rows = [row("a", warnings=(LEAK,)), row("b", score=None, missing_reason="finetune/b has no results")]
    answer = build_report.AnswerSection("mrpc", ("First.",), warnings=(f"Warning (bert-tiny): {LEAK}",))
    summary = build_report._format_summary(build_report.ReportContent(rows, answers=[answer]))
    assert "- **metrics/evaluate/b.json: finetune/b has no results; run `dvc repro`**" in summary
    assert f"**mrpc**: First.\n\n- Warning (bert-tiny): {LEAK}" in summary
    assert "1 cell has warnings about the data" in summary
