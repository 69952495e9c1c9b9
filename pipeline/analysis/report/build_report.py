"""Build the report of a plan: a page, a Markdown summary, figures, and CSV files of unrounded numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from altair.utils import schemapi

from pipeline.analysis.laws import LawSelection
from pipeline.analysis.recommendation.pareto import ParetoFront
from pipeline.analysis.report import html
from pipeline.analysis.report.figures import (
    law_figure,
    pairwise_figure,
    pareto_figure,
    score_figures,
    step_figure,
    variance_figure,
)
from pipeline.analysis.report.figures.figure import Figure
from pipeline.analysis.report.html import AnswerSection, FigureImage, Link
from pipeline.analysis.report.render_pool import RenderPool
from pipeline.analysis.report.tables import (
    benchmark_tables,
    compression_tables,
    csv_files,
    score_tables,
    step_growth_table,
    training_cost_tables,
)
from pipeline.analysis.report.tables.table import TableSection
from pipeline.analysis.results import notices
from pipeline.analysis.results.cell_table import CellRow
from pipeline.analysis.results.costs import CellCost
from pipeline.analysis.statistics.pairwise_tests import PairwiseTests
from pipeline.analysis.statistics.variance import VarianceAnalysis

TITLE = "How the models of this plan scale"
DEFINITIONS = (
    "significantly different: the difference of two cells, paired over examples, exceeds noise after correction for "
    "all pairs of the task (differences.csv). Overlapping intervals do not show the opposite.",
    "families: pretrained models are trained once and stored, fresh ones are pre-trained again in every run of the "
    "plan, random ones are not pre-trained.",
)


@dataclass(frozen=True)
class ReportContent:
    """The content of a report; everything except the rows is optional.

    ``sections`` are further tables, shown after those of the cells. ``files`` names CSV files that others write into
    the report's folder; ``links`` lead to the runs.
    """

    rows: Sequence[CellRow]
    measured: Sequence[CellCost] = ()
    findings: Sequence[LawSelection] = ()
    variance: Sequence[VarianceAnalysis] = ()
    differences: Sequence[PairwiseTests] = ()
    fronts: Sequence[ParetoFront] = ()
    answers: Sequence[AnswerSection] = ()
    sections: Sequence[TableSection] = ()
    links: Sequence[Link] = ()
    files: Sequence[str] = ()


def write_report(content: ReportContent, out: Path, size: str, dpi: int, pool: RenderPool) -> list[Path]:
    """Write ``index.html``, ``summary.md``, CSV files and ``figures/`` into ``out``; return the paths.

    A plan with a benchmark also has ``costs.csv`` and ``growth.csv``. ``size`` is the field of a row that the figures
    use as model size; ``dpi`` is the resolution of the PNG files.
    """
    (out / "figures").mkdir()
    saved = pool.save_figures(create_figures(content, size), out / "figures", dpi)
    images = [FigureImage(one, svg.read_text(encoding="utf-8")) for one, svg, _ in saved]
    numbers = {"cells.csv": csv_files.render_cells(content.rows)}
    if content.measured:
        numbers["costs.csv"] = csv_files.render_costs(content.measured)
        numbers["growth.csv"] = csv_files.render_growth(content.measured)
    sections = create_sections(content)
    page = html.render_page(
        TITLE,
        score_tables.format_overview(content.rows),
        notices.collect_notices(content.rows, content.measured),
        content.answers,
        images,
        sections,
        create_definitions(content, sections),
        content.links,
        [*numbers, *content.files],
        pool.library.result() if images else "",
    )
    texts = {"index.html": page, "summary.md": _format_summary(content), **numbers}
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    return [*(out / name for name in texts), *(path for _, *paths in saved for path in paths)]


def create_figures(content: ReportContent, size: str) -> Iterator[Figure]:
    """Yield the figures for which there is content, in the order of the page."""
    with schemapi.debug_mode(False):  # otherwise altair validates each part against the whole schema of Vega-Lite
        yield from pareto_figure.create_figures(content.fronts, content.rows)
        yield from score_figures.create_figures(content.rows, size)
        yield from law_figure.create_figures(content.findings, size)
        yield from pairwise_figure.create_figures(content.differences)
        yield from variance_figure.create_figures(content.variance)
        yield from step_figure.create_figures(content.measured)


def create_sections(content: ReportContent) -> list[TableSection]:
    """Return the sections with tables, in the order of the page."""
    compressions = compression_tables.create_tables(content.rows)
    costs = [
        *training_cost_tables.create_tables(content.rows),
        *benchmark_tables.create_tables(content.measured),
        *step_growth_table.create_tables(content.measured),
    ]
    sections = [
        TableSection("cells", "Every cell", score_tables.create_tables(content.rows)),
        *content.sections,
        TableSection("compression", "Compression", compressions, compression_tables.NOTE, sortable=False),
        TableSection("costs", "Costs", costs),
    ]
    return [section for section in sections if section.tables]


def create_definitions(content: ReportContent, sections: Sequence[TableSection]) -> list[str]:
    """Return the meaning of each column that needs one, further definitions, and the machines of the measurements."""
    columns = [column for section in sections for table in section.tables for column in table.columns]
    score_machines = sorted({row.machine for row in content.rows if row.machine})
    cost_machines = sorted({cost.machine for cost in content.measured if cost.machine})
    return [
        *dict.fromkeys(f"{column.title}: {column.help}" for column in columns if column.help),
        *DEFINITIONS,
        f"measured on: {'; '.join(score_machines) or 'nothing yet'}.",
        *([f"costs measured on: {'; '.join(cost_machines)}."] if cost_machines else []),
    ]


def _format_summary(content: ReportContent) -> str:
    """Return the report as a comment for a pull request: the answer of each task and links to the rest."""
    problems = "\n".join(f"- **{line}**" for line in notices.collect_notices(content.rows, content.measured))
    parts = [
        f"# {TITLE}",
        score_tables.format_overview(content.rows),
        *([problems] if problems else []),
        *map(_format_answer, content.answers),
    ]
    files = ", ".join(f"[{name}]({name})" for name in ("index.html", "cells.csv"))
    return "\n\n".join([*parts, f"Figures, tables and statistics: {files}."]) + "\n"


def _format_answer(answer: AnswerSection) -> str:
    warnings = "\n".join(f"- {warning}" for warning in answer.warnings)
    return "\n\n".join([f"**{answer.task}**: {' '.join(answer.sentences)}", *([warnings] if warnings else [])])
