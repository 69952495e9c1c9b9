import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.scaling import report, table, terminal
from pipeline.scaling.table import Row

SIZE = "parameters_non_embedding"


@pytest.fixture(scope="module")
def written(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    report.write(rows, folder, SIZE, 60)
    return folder


def test_the_page_needs_nothing_but_itself(rows: list[Row], written: Path) -> None:
    page = (written / "index.html").read_text()
    assert re.findall(r'(?:src|href)="([^"]{0,10})', page) == ["data:image", "data:image", "results.cs"]
    assert all(len(alt) > 40 for alt in re.findall(r'alt="([^"]*)"', page))
    assert page.count("<tr>") == len(rows) + 2
    assert "prefers-color-scheme: dark" in page


def test_every_file_that_is_named_exists_and_is_the_same_each_time(
    rows: list[Row], written: Path, tmp_path: Path
) -> None:
    again = [path.relative_to(tmp_path) for path in report.write(rows, tmp_path, SIZE, 60)]
    assert [str(name) for name in again] == [
        "index.html",
        "summary.md",
        "results.csv",
        "figures/score-against-size.png",
        "figures/score-against-size.svg",
        "figures/score-against-data.png",
        "figures/score-against-data.svg",
    ]
    assert all((tmp_path / name).read_bytes() == (written / name).read_bytes() for name in again)


def test_the_summary_links_its_figures_and_says_how_it_was_measured(written: Path) -> None:
    summary = (written / "summary.md").read_text()
    for name in re.findall(r"\]\((.*?)\)", summary):
        assert (written / name).exists()
    assert summary.endswith("- Measured on: a processor, cpu, 2 threads, torch 2.13.0.\n")


def test_names_are_text_and_not_markup(rows: list[Row], tmp_path: Path) -> None:
    report.write([replace(rows[0], model="<b>model</b>", cell="x")], tmp_path, SIZE, 60)
    assert "<b>model" not in (tmp_path / "index.html").read_text()


def test_the_terminal_shows_every_cell_with_its_whole_name(rows: list[Row]) -> None:
    text = io.StringIO()
    terminal.show(rows, Console(file=text))
    lines = text.getvalue().splitlines()
    assert sum("bert-mini-fresh" in line for line in lines) == 6
    assert sum("not run" in line for line in lines) == 1
    assert max(len(line.rstrip()) for line in lines) <= terminal.PLAIN_WIDTH
    assert lines[-1] == table.overview(rows)
