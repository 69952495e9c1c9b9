import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.scaling import compute, growth, report, speed, table, terminal
from pipeline.scaling.costs import Cost
from pipeline.scaling.table import Row

SIZE = "parameters_non_embedding"


@pytest.fixture(scope="module")
def written(counted: list[Row], measured: list[Cost], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    report.write(counted, measured, folder, SIZE, 60)
    return folder


def test_the_page_needs_nothing_but_itself(counted: list[Row], measured: list[Cost], written: Path) -> None:
    page = (written / "index.html").read_text()
    files = ["results.csv", "costs.csv", "growth.csv"]
    assert re.findall(r'(?:src|href)="([^"]{0,11})', page) == ["data:image/"] * 4 + [name[:11] for name in files]
    assert all(len(alt) > 40 for alt in re.findall(r'alt="([^"]*)"', page))
    sheets = [*table.sheets(counted), *compute.sheets(counted), *speed.sheets(measured), *growth.sheets(measured)]
    assert page.count("<tr>") == sum(1 + len(sheet.rows) for sheet in sheets)
    assert "prefers-color-scheme: dark" in page


def test_every_file_that_is_named_exists_and_is_the_same_each_time(
    counted: list[Row], measured: list[Cost], written: Path, tmp_path: Path
) -> None:
    again = [path.relative_to(tmp_path) for path in report.write(counted, measured, tmp_path, SIZE, 60)]
    assert [str(name) for name in again] == [
        "index.html",
        "summary.md",
        "results.csv",
        "costs.csv",
        "growth.csv",
        "figures/score-against-size.png",
        "figures/score-against-size.svg",
        "figures/score-against-data.png",
        "figures/score-against-data.svg",
        "figures/score-against-compute.png",
        "figures/score-against-compute.svg",
        "figures/cost-against-shape.png",
        "figures/cost-against-shape.svg",
    ]
    assert all((tmp_path / name).read_bytes() == (written / name).read_bytes() for name in again)


def test_the_summary_links_its_figures_and_says_how_it_was_measured(written: Path) -> None:
    summary = (written / "summary.md").read_text()
    for name in re.findall(r"\]\((.*?)\)", summary):
        assert (written / name).exists()
    assert summary.endswith(
        "- Measured on: a processor, cpu, 2 threads, torch 2.13.0.\n"
        "- Costs measured on: a processor, cpu, torch 2.13.0.\n"
    )


def test_costs_have_a_part_of_their_own(written: Path) -> None:
    summary = (written / "summary.md").read_text()
    costly = summary[summary.index("## What it costs") : summary.index("## How this was measured")]
    assert [line for line in costly.splitlines() if line.startswith(("### ", "![Sec"))] == [
        "### mrpc: F1 (%) and what its training took",
        "### starter-swap: accuracy (%) and what its training took",
        "### starter-swap: training; time is for 1,000,000 pairs",
        "### starter-swap: a step of training in its parts, in ms",
        "### starter-swap: inference",
        f"### starter-swap: {speed.HOLDING}",
        f"### starter-swap: {speed.COUNTING}",
        "![Seconds and operations of a training step as one side of the shape grows, each relative to its smallest. "
        "The table below holds the exponents.](figures/cost-against-shape.png)",
        "### How a training step grows: exponents of a power law in one side of the shape",
    ]
    page = (written / "index.html").read_text()
    assert page.count("<figure>") == 4
    assert page.index("<h2>What it costs</h2>") < page.rindex("<figure>") < page.index("<h2>How this was measured</h2>")


def test_records_of_before_anything_was_counted_still_make_a_report(rows: list[Row], tmp_path: Path) -> None:
    files = [str(path.relative_to(tmp_path)) for path in report.write(rows, [], tmp_path, SIZE, 60)]
    assert "results.csv" in files
    assert not {"costs.csv", "growth.csv", "figures/score-against-compute.png", "figures/cost-against-shape.png"} & {
        *files
    }
    summary = (tmp_path / "summary.md").read_text()
    assert "What it costs" not in summary + (tmp_path / "index.html").read_text()
    assert "Operations of a training" not in summary
    assert "Exponents" not in summary


def test_a_benchmark_that_has_not_run_is_shown_as_a_hole(rows: list[Row], measured: list[Cost], tmp_path: Path) -> None:
    files = report.write(rows, measured[-1:], tmp_path, SIZE, 60)
    assert "cost-against-shape.png" not in [path.name for path in files]
    assert (
        "### training\n\n| model | pairs/s |\n| --- | ---: |\n| bert-mini-2-1-bf16-32 | not run |\n"
        in (tmp_path / "summary.md").read_text()
    )


def test_names_are_text_and_not_markup(rows: list[Row], tmp_path: Path) -> None:
    report.write([replace(rows[0], model="<b>model</b>", cell="x")], [], tmp_path, SIZE, 60)
    assert "<b>model" not in (tmp_path / "index.html").read_text()


def test_the_terminal_shows_every_cell_with_its_whole_name(rows: list[Row], measured: list[Cost]) -> None:
    text = io.StringIO()
    terminal.show(rows, measured, Console(file=text))
    lines = text.getvalue().splitlines()
    assert sum("bert-mini-fresh" in line for line in lines) == 6
    assert sum("not run" in line for line in lines) == 2
    assert sum("bert-mini-2-1-bf16-32" in line for line in lines) == 1
    assert max(len(line.rstrip()) for line in lines) <= terminal.PLAIN_WIDTH
    assert lines[-1] == table.overview(rows)


def test_the_terminal_shows_training_and_leaves_the_other_costs_to_the_report(
    counted: list[Row], measured: list[Cost]
) -> None:
    text = io.StringIO()
    terminal.show(counted, measured, Console(file=text))
    (title,) = (n for n, line in enumerate(text.getvalue().splitlines()) if "training; time" in line)
    shown = [" ".join(line.split()) for line in text.getvalue().splitlines()[title:]]
    assert shown[2] == "model processes threads precision batch pairs/s of peak efficiency time"
    assert shown[5] == "bert-tiny 2 1 bf16 32 372 22% 93% 44 min 48 s"
    assert "inference" not in text.getvalue()
    assert "its training took" not in text.getvalue()
