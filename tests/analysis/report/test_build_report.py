import io
import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.analysis.report import build_report, terminal
from pipeline.analysis.report.render_pool import RenderPool
from pipeline.analysis.report.tables import benchmark_tables, compression_tables, score_tables
from pipeline.analysis.report.tables.table import Column, Table, TableSection
from pipeline.analysis.results.cell_table import CellRow
from pipeline.analysis.results.costs import CellCost
from pipeline.system import hardware
from tests.analysis import findings
from tests.analysis.report.test_figures import contrast

SIZE = "parameters_non_embedding"
TORCH = hardware.get_versions()["torch"]
HOSTILE = """</script><script>alert("x")</script><b>'&"""
FIGURES = [
    "fronts-mrpc", "fronts-starter-swap", "score-against-size", "score-against-data", "score-against-compute",
    "laws-of-size", "laws-of-data", "laws-of-compute", "laws-of-size-and-data", "differences", "variance",
    "cost-against-shape",
]  # fmt: skip


class Page(HTMLParser):
    """The elements of a page in order, each with its attributes, and the text directly within it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str], list[str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}, []))

    def handle_data(self, data: str) -> None:
        if self.found:
            self.found[-1][2].append(data)

    def all(self, *tags: str) -> list[tuple[str, dict[str, str], str]]:
        return [(tag, known, "".join(texts).strip()) for tag, known, texts in self.found if tag in tags]


@pytest.fixture(scope="module")
def material(counted: list[CellRow], measured: list[CellCost]) -> build_report.ReportContent:
    return findings.material(findings.made_cheaper(counted), measured)


@pytest.fixture(scope="module")
def written(
    material: build_report.ReportContent, tmp_path_factory: pytest.TempPathFactory, drawing: RenderPool
) -> Path:
    folder = tmp_path_factory.mktemp("report")
    build_report.write_report(material, folder, SIZE, 40, drawing)
    return folder


@pytest.fixture(scope="module")
def page(written: Path) -> Page:
    return Page((written / "index.html").read_text())


def test_the_page_loads_nothing_and_its_policy_forbids_to(page: Page) -> None:
    for _, known, _ in page.found:
        assert known.get("src", "data:").startswith("data:")
        assert not {"srcset", "data", "poster", "background"} & {*known}
    assert page.all("link", "iframe", "object", "embed") == []
    policy = next(known["content"] for _, known, _ in page.all("meta") if "http-equiv" in known)
    assert "default-src 'none'" in policy
    assert "http" not in policy
    style = page.all("style")[0][2]
    assert "url(" not in style
    assert "@import" not in style


def test_the_answer_stands_first_then_figures_tables_and_how_it_was_measured(page: Page) -> None:
    assert [text for _, _, text in page.all("h1", "h2")] == [
        build_report.TITLE, "The answer", "Figures", "Every cell", "Compression", "Costs",
        "How this was measured",
    ]  # fmt: skip
    places = {known["id"] for _, known, _ in page.found if "id" in known}
    links = [known["href"] for _, known, _ in page.all("a")]
    assert {link[1:] for link in links if link.startswith("#")} <= places
    assert [link for link in links if link.startswith("http")] == ["http://127.0.0.1:5000/#/runs/1"]
    assert links[-4:] == ["cells.csv", "costs.csv", "growth.csv", "results.csv"]
    assert [text for _, _, text in page.all("p") if text in ("First.", "Second.", "Third.")][:3] == [
        "First.", "Second.", "Third.",
    ]  # fmt: skip


def test_headings_are_in_order_and_every_table_has_a_caption_and_scopes(page: Page) -> None:
    levels = [int(tag[1]) for tag, _, _ in page.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.all("html")[0][1]["lang"] == "en"
    assert len(page.all("table")) == len(page.all("caption"))
    assert {known.get("scope") for _, known, _ in page.all("th")} == {"col", "row"}
    names = [known["id"] for _, known, _ in page.found if "id" in known]
    assert len(names) == len(set(names))


def test_every_figure_has_a_picture_words_for_it_its_numbers_and_its_specification(
    page: Page, written: Path, material: build_report.ReportContent
) -> None:
    assert [known["id"] for _, known, _ in page.all("figure")] == FIGURES
    stills, lives = page.all("img"), [known for _, known, _ in page.all("div") if known.get("class") == "live"]
    assert [known["alt"] for _, known, _ in stills] == [known["aria-label"] for known in lives]
    assert all(len(known["alt"]) > 80 for _, known, _ in stills)
    assert all(known["role"] == "img" for known in lives)
    specs = [json.loads(text) for _, known, text in page.all("script") if known.get("class") == "spec"]
    assert all("vega-lite" in spec["$schema"] for spec in specs)
    assert len(specs) == len(stills) == len(page.all("details")) - len(material.answers) == 12
    for name in FIGURES:
        assert (written / "figures" / f"{name}.svg").read_text().startswith("<svg")
        assert (written / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("scheme", [0, 1])
def test_words_are_readable_in_both_schemes(page: Page, scheme: int) -> None:
    """WCAG 2.1, 1.4.3: 4.5 to 1 for text, on the page and on every second row."""
    style = page.all("style")[0][2]
    colors = dict(re.findall(r"--(\w+): #(\w{6})", style.split("prefers-color-scheme: dark")[scheme]))
    rgb = {name: tuple(bytes.fromhex(color)) for name, color in colors.items()}
    for words in ("text", "soft", "accent"):
        for ground in ("page", "row"):
            assert contrast(rgb[words], rgb[ground]) >= 4.5, (words, ground)
    used = set(re.findall(r"color: (?:var\(--(\w+)\)|(#\w+))", style))
    assert used <= {("text", ""), ("soft", ""), ("accent", ""), ("page", "")}


def test_every_file_that_is_named_exists_and_is_the_same_each_time(
    material: build_report.ReportContent, written: Path, tmp_path: Path, drawing: RenderPool
) -> None:
    again = [path.relative_to(tmp_path) for path in build_report.write_report(material, tmp_path, SIZE, 40, drawing)]
    figures = [f"figures/{name}.{kind}" for name in FIGURES for kind in ("svg", "png")]
    assert [str(name) for name in again] == [
        "index.html",
        "summary.md",
        "cells.csv",
        "costs.csv",
        "growth.csv",
        *figures,
    ]
    assert all((tmp_path / name).read_bytes() == (written / name).read_bytes() for name in again)


def test_the_summary_is_one_screen_with_the_answers_and_a_link_to_the_rest(
    written: Path, material: build_report.ReportContent
) -> None:
    summary = (written / "summary.md").read_text()
    assert summary == (
        f"# {build_report.TITLE}\n\n{score_tables.format_overview(material.rows)}\n\n"
        "**mrpc**: First. Second. Third.\n\n"
        "**starter-swap**: First. Second. Third.\n\n"
        "Figures, tables and statistics: [index.html](index.html), [cells.csv](cells.csv).\n"
    )
    for name in re.findall(r"\]\((.*?)\)", summary):
        assert (written / name).exists()


def test_the_statistics_behind_an_answer_are_one_click_away(written: Path) -> None:
    html = (written / "index.html").read_text()
    answers = html[html.index('<div class="answer">') : html.index('<section id="figures"')]
    before, details = answers.split('<div class="answer">')[1].split(
        "<details><summary>The statistics behind this answer</summary>"
    )
    assert "<table" not in before
    assert details.count("<table") == 1


def test_costs_have_a_part_of_their_own(written: Path) -> None:
    html = (written / "index.html").read_text()
    costly = Page(html[html.index('<section id="costs"') : html.index('<section id="measured"')])
    assert [text for _, _, text in costly.all("caption")] == [
        "mrpc: F1 (%) and cost of training",
        "starter-swap: accuracy (%) and cost of training",
        "starter-swap: training; time is for 1,000,000 pairs",
        "starter-swap: a step of training in detail, in ms",
        "starter-swap: inference",
        f"starter-swap: {benchmark_tables.MEMORY_TITLE}",
        f"starter-swap: {benchmark_tables.COUNTED_TITLE}",
        "Growth of a training step: exponents of a power law in one side of the shape",
    ]


def test_tables_sort_but_for_ledgers_whose_order_has_a_meaning(
    page: Page, material: build_report.ReportContent
) -> None:
    classes = [known.get("class") for _, known, _ in page.all("table")]
    assert classes.count(None) == len(compression_tables.create_tables(material.rows)) + len(material.answers)


def test_further_tables_stand_between_the_cells_and_what_was_made_cheaper(
    rows: list[CellRow], tmp_path: Path, drawing: RenderPool
) -> None:
    section = TableSection(
        "laws", "The laws", [Table("Exponents", [Column("task", "task")], [{"task": "mrpc"}])], "A note."
    )
    build_report.write_report(
        build_report.ReportContent(findings.made_cheaper(rows), sections=[section]), tmp_path, SIZE, 40, drawing
    )
    titles = ["Every cell", "The laws", "Compression"]
    page = Page((tmp_path / "index.html").read_text())
    assert [text for _, _, text in page.all("h2") if text in titles] == titles
    assert "A note." in [text for _, _, text in page.all("p")]
    assert "Exponents" in [text for _, _, text in page.all("caption")]


def test_records_of_before_anything_was_counted_still_make_a_report(
    rows: list[CellRow], tmp_path: Path, drawing: RenderPool
) -> None:
    before = build_report.ReportContent([replace(row, train_flops=None, train_seconds=None) for row in rows])
    files = [str(path.relative_to(tmp_path)) for path in build_report.write_report(before, tmp_path, SIZE, 40, drawing)]
    assert "cells.csv" in files
    assert not {"costs.csv", "growth.csv", "figures/score-against-compute.png", "figures/cost-against-shape.png"} & {
        *files
    }
    text = (tmp_path / "summary.md").read_text() + (tmp_path / "index.html").read_text()
    assert not [words for words in ("Costs</h2>", "matrix products of a training", "exponent of") if words in text]


def test_a_plan_that_has_not_run_has_a_page_without_figures(
    rows: list[CellRow], tmp_path: Path, drawing: RenderPool
) -> None:
    build_report.write_report(build_report.ReportContent(rows[-1:]), tmp_path, SIZE, 40, drawing)
    page = Page((tmp_path / "index.html").read_text())
    assert [text for _, _, text in page.all("h2")] == ["Every cell", "How this was measured"]
    assert "not run" in [text for _, _, text in page.all("td")]


def test_a_benchmark_that_has_not_run_is_shown_as_a_hole(
    rows: list[CellRow], measured: list[CellCost], tmp_path: Path, drawing: RenderPool
) -> None:
    files = build_report.write_report(build_report.ReportContent(rows, measured[-1:]), tmp_path, SIZE, 40, drawing)
    assert "cost-against-shape.png" not in [path.name for path in files]
    assert '<th scope="row">bert-mini-2-1-bf16-32</th><td>not run</td>' in (tmp_path / "index.html").read_text()


def test_names_are_text_and_neither_markup_nor_script(rows: list[CellRow], tmp_path: Path, drawing: RenderPool) -> None:
    hostile = replace(rows[0], model=HOSTILE, cell=HOSTILE, section="variants")
    shown = [replace(rows[0], model=HOSTILE, cell=HOSTILE), *rows[1:6], hostile]
    build_report.write_report(build_report.ReportContent(shown), tmp_path, SIZE, 40, drawing)
    page = Page((tmp_path / "index.html").read_text())
    assert [known for tag, known, _ in page.found if tag == "b"] == []
    figures = len(page.all("figure"))
    kinds = [known.get("type") for _, known, _ in page.all("script")]
    assert kinds == ["application/json"] * (figures + 1) + ["module"] * 2
    spec = json.loads(page.all("script")[0][2])
    assert HOSTILE in {point.get("cell") for points in spec["datasets"].values() for point in points}


def test_the_terminal_shows_every_cell_with_its_whole_name(rows: list[CellRow], measured: list[CellCost]) -> None:
    text = io.StringIO()
    terminal.print_results(rows, measured, console=Console(file=text))
    lines = text.getvalue().splitlines()
    assert sum("bert-mini-fresh" in line for line in lines) == 6
    assert sum("not run" in line for line in lines) == 2
    assert sum("bert-mini-2-1-bf16-32" in line for line in lines) == 1
    assert max(len(line.rstrip()) for line in lines) <= terminal.PLAIN_WIDTH
    assert score_tables.format_overview(rows) in lines


def test_the_terminal_shows_training_and_leaves_the_other_costs_to_the_report(
    counted: list[CellRow], measured: list[CellCost]
) -> None:
    text = io.StringIO()
    terminal.print_results(counted, measured, console=Console(file=text))
    (title,) = (n for n, line in enumerate(text.getvalue().splitlines()) if "training; time" in line)
    shown = [" ".join(line.split()) for line in text.getvalue().splitlines()[title:]]
    assert shown[2] == "model processes threads precision batch pairs/s of peak efficiency time"
    assert shown[5] == "bert-tiny 2 1 bf16 32 372 22% 93% 44 min 48 s"
    assert "inference" not in text.getvalue()
    assert "cost of training" not in text.getvalue()
