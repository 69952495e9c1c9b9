from pipeline.analysis.report.tables.table import Column, Table, render_csv, render_markdown, render_terminal

COLUMNS = [
    Column("cell", "cell"),
    Column("score", "score", lambda score: f"{100 * score:.1f}"),
    Column("seeds", "seeds", value=lambda row: row["seeds"] or None, in_terminal=False),
]
TABLE = Table(
    "Scores", COLUMNS, [{"cell": "a", "score": 0.8125, "seeds": (0, 1)}, {"cell": "b", "score": None, "seeds": ()}],
    notes=("b: not run",), warnings=("w1: a duplicate",),
)  # fmt: skip


def test_a_cell_is_formatted_and_a_missing_value_is_empty() -> None:
    assert TABLE.headings == ("cell", "score", "seeds")
    assert TABLE.format_rows() == [["a", "81.2", "(0, 1)"], ["b", "", ""]]


def test_markdown_lists_warnings_before_notes() -> None:
    assert render_markdown(TABLE) == (
        "| cell | score | seeds |\n| --- | ---: | ---: |\n| a | 81.2 | (0, 1) |\n| b |  |  |\n"
        "\n- w1: a duplicate\n- b: not run"
    )


def test_csv_contains_unrounded_values_under_their_keys() -> None:
    assert render_csv(TABLE) == "cell,score,seeds\na,0.8125,0 1\nb,,\n"


def test_the_terminal_omits_the_columns_that_do_not_fit() -> None:
    assert [column.header for column in render_terminal(TABLE).columns] == ["cell", "score"]


def test_columns_that_are_empty_in_every_row_are_dropped() -> None:
    assert Table("", COLUMNS, TABLE.rows[1:]).drop_empty_columns().headings == ("cell",)
