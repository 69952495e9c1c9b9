"""The results of a plan for readers: a page, a Markdown summary, and files of numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from altair.utils import schemapi

from pipeline.analysis.laws import Finding, step_growth
from pipeline.analysis.recommendation.pareto import Front
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
from pipeline.analysis.report.html import Answer, Link, Part
from pipeline.analysis.report.render_pool import Studio
from pipeline.analysis.report.tables import benchmark_tables, compression
from pipeline.analysis.results import cell_table, compute, costs, notices
from pipeline.analysis.results.cell_table import Row
from pipeline.analysis.results.costs import Cost
from pipeline.analysis.statistics.pairwise_tests import Differences
from pipeline.analysis.statistics.variance import Variance

TITLE = "How the models of this plan scale"
COMPUTE = (
    "FLOPs of a training: multiplications and additions of matrix products, forward and backward, for the tokens "
    "that are no padding; to 95%: spent when the score on the selection rows had covered 95% of the way from the "
    "baseline to its final value, empty where a seed did not get above the baseline. Means over seeds. M, G, T, P: 10 "
    "to the 6th, 9th, 12th, 15th.",
)
BENCHMARK = (
    "Pairs/s of training: whole steps, of all processes together, tokens without padding; 95% over rounds tells how "
    "steady this machine was, not what another would do. Of peak (utilisation): counted FLOPs a second as a share "
    "of the most that large matrix products reached on the same processes.",
    "Efficiency (strong): the rate as a share of the processes times the rate of one alone with the whole batch; weak: "
    "the same where each process has a batch of that size to itself. Communication: the share of a step that the "
    "exchange of gradients takes, waiting included.",
    "Latency: p50, p95 and p99 of batches of that many examples. Memory by phase: resident, in a process of its own, "
    "Python and its libraries included; in brackets without them.",
)
GROWTH = (
    "Exponents: least squares on logarithms; their interval (Student's t) tells how well a power law holds over these "
    "values. In the limit: what the FLOPs come to as this side alone grows without bound; at these sizes, parts "
    "that do not grow with it, such as embeddings, the start of kernels and the update, keep the exponent below.",
)


@dataclass(frozen=True)
class Material:
    """What a report is made of; everything but the rows may be missing.

    ``parts`` are further tables, after those of the cells; ``files`` names files of numbers that others write beside
    the page; ``links`` lead to the runs.
    """

    rows: Sequence[Row]
    measured: Sequence[Cost] = ()
    findings: Sequence[Finding] = ()
    variance: Sequence[Variance] = ()
    differences: Sequence[Differences] = ()
    fronts: Sequence[Front] = ()
    answers: Sequence[Answer] = ()
    parts: Sequence[Part] = ()
    links: Sequence[Link] = ()
    files: Sequence[str] = field(default=())


def write(material: Material, out: Path, size: str, dpi: int, studio: Studio) -> list[Path]:
    """Write ``index.html``, ``summary.md``, ``cells.csv`` and ``figures/`` into ``out``; return the files.

    Where the plan has a benchmark, its numbers are ``costs.csv`` and ``growth.csv``. ``size`` names the field of a row
    that the figures call size; ``dpi`` is of the PNGs, which ``studio`` draws.
    """
    (out / "figures").mkdir()
    saved = studio.saved(drawn(material, size), out / "figures", dpi)
    numbers = {"cells.csv": cell_table.as_csv(material.rows)}
    if material.measured:
        numbers |= {"costs.csv": costs.as_csv(material.measured), "growth.csv": costs.growth_as_csv(material.measured)}
    stills = [html.Still(one, svg.read_text(encoding="utf-8")) for one, svg, _ in saved]
    overview, said = cell_table.overview(material.rows), remarks(material.rows, material.measured)
    wrong = notices.collect(material.rows, material.measured)
    files, library = [*numbers, *material.files], studio.library.result() if stills else ""
    texts = {
        "index.html": html.render(
            TITLE, overview, wrong, material.answers, stills, tables(material), said, material.links, files, library
        ),
        "summary.md": _summary(material),
        **numbers,
    }
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    return [*(out / name for name in texts), *(path for _, *paths in saved for path in paths)]


def drawn(material: Material, size: str) -> Iterator[Figure]:
    """Yield the figures that the material allows, in the order of the page."""
    with schemapi.debug_mode(False):  # else each part of each is checked against the schema of all of Vega-Lite
        yield from pareto_figure.of_tasks(material.fronts, material.rows)
        yield from score_figures.of_all(material.rows, size)
        yield from law_figure.of_findings(material.findings, size)
        yield from pairwise_figure.of_tasks(material.differences)
        yield from variance_figure.shares(material.variance)
        yield from step_figure.cost_against_shape(material.measured)


def tables(material: Material) -> list[Part]:
    """Return the tables by part, in the order of the page."""
    costly = [
        *compute.sheets(material.rows),
        *benchmark_tables.sheets(material.measured),
        *step_growth.sheets(material.measured),
    ]
    found = [
        Part("cells", "Every cell", cell_table.sheets(material.rows)),
        *material.parts,
        Part("cheaper", "Made cheaper", compression.sheets(material.rows), compression.NOTE, sorts=False),
        Part("costs", "What it costs", costly),
    ]
    return [part for part in found if part.sheets]


def remarks(rows: Sequence[Row], measured: Sequence[Cost]) -> list[str]:
    """Return how the numbers came about, for those who want to judge or repeat them."""
    machines = sorted({row.machine for row in rows if row.machine})
    elsewhere = sorted({cost.machine for cost in measured if cost.machine})
    return [
        "Score: the task's metric on the reported split, which is never used to choose anything; mean over seeds.",
        "95%: interval of the expected score, over new seeds and new examples of the same kind. The spread over seeds "
        "is shrunk towards that of the task's other cells; without a repeated seed there is no interval.",
        "Above baseline: yes if the interval is above the baseline, the best score of one answer for every example; "
        "below the baseline if it is below it; unclear if the baseline is inside the interval.",
        "Significantly different: two cells whose difference, paired over examples, is more than noise once all pairs "
        "of the task are allowed for (differences.csv). Intervals that overlap do not show the opposite.",
        "Families: pretrained models are trained once and kept, fresh ones are pre-trained anew in the plan, random "
        "ones not at all.",
        "Collapsed: trials that gave every example the same answer.",
        "Latency (p50): median of single examples, not padded, over all cells and seeds that compute the same. "
        "Pairs/s: batches of similar length. Stored: bytes of the weights on disk.",
        *(COMPUTE if compute.known(rows) else ()),
        *(BENCHMARK if any(cost.model for cost in measured) else ()),
        *(GROWTH if step_growth.sheets(measured) else ()),
        f"Measured on: {'; '.join(machines) or 'nothing yet'}.",
        *([f"Costs measured on: {'; '.join(elsewhere)}."] if elsewhere else []),
    ]


def _summary(material: Material) -> str:
    """Return the report for a pull request, one screen: the answer of each task and where to find the rest."""
    wrong = "\n".join(f"- **{line}**" for line in notices.collect(material.rows, material.measured))
    parts = [
        f"# {TITLE}",
        cell_table.overview(material.rows),
        *([wrong] if wrong else []),
        *map(_answer, material.answers),
    ]
    files = ", ".join(f"[{name}]({name})" for name in ("index.html", "cells.csv"))
    return "\n\n".join([*parts, f"Figures, tables and statistics: {files}."]) + "\n"


def _answer(answer: Answer) -> str:
    warnings = "\n".join(f"- {warning}" for warning in answer.warnings)
    return "\n\n".join([f"**{answer.task}**: {' '.join(answer.sentences)}", *([warnings] if warnings else [])])
