"""The results of a plan for readers: a page, a Markdown summary, and a file of numbers."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.scaling import compute, costs, figures, growth, ledger, speed, table
from pipeline.scaling.costs import Cost
from pipeline.scaling.table import Row, Sheet

TITLE = "How the models of this plan scale"
COMPUTE = (
    "Operations of a training: multiplications and additions of matrix products, forward and backward, for the tokens "
    "that are no padding; to 95%: spent when the score on the selection rows came to 95% of its final value, empty "
    "where a seed never came there. Means over seeds. M, G, T, P: 10 to the 6th, 9th, 12th, 15th.",
)
BENCHMARK = (
    "Pairs/s of training: whole steps, of all processes together, tokens without padding; 95% over rounds tells how "
    "steady this machine was, not what another would do. Of peak (utilisation): counted operations a second as a share "
    "of the most that large matrix products reached on the same processes.",
    "Efficiency (strong): the rate as a share of the processes times the rate of one alone with the whole batch; weak: "
    "the same where each process has a batch of that size to itself. Communication: the share of a step that the "
    "exchange of gradients takes, waiting included.",
    "Latency: p50, p95 and p99 of batches of that many examples. Memory by phase: resident, in a process of its own, "
    "Python and its libraries included; in brackets without them.",
)
GROWTH = (
    "Exponents: least squares on logarithms; their interval (Student's t) tells how well a power law holds over these "
    "values. In the limit: what the operations come to as this side alone grows without bound; at these sizes, parts "
    "that do not grow with it, such as embeddings, the start of kernels and the update, keep the exponent below.",
)


@dataclass(frozen=True)
class Drawing:
    """A figure's files, its caption, and what it shows for those who cannot see it."""

    png: Path
    svg: Path
    caption: str
    alt: str

    @property
    def data(self) -> str:
        """Return the SVG as an address that holds it."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg.read_bytes()).decode()}"


def write(rows: Sequence[Row], measured: Sequence[Cost], out: Path, size: str, dpi: int) -> list[Path]:
    """Write ``index.html``, ``summary.md``, ``results.csv`` and ``figures/`` into ``out``; return the files.

    Where the plan has a benchmark, its numbers are ``costs.csv`` and ``growth.csv``. ``size`` names the field of a row
    that the figures call size; ``dpi`` is of the PNGs.
    """
    (out / "figures").mkdir()
    drawings = _draw(rows, out / "figures", size, dpi)
    grown = _draw_growth(measured, out / "figures", dpi)
    numbers = {"results.csv": table.as_csv(rows)}
    if measured:
        numbers |= {"costs.csv": costs.as_csv(measured), "growth.csv": costs.growth_as_csv(measured)}
    texts = {
        "index.html": _page(rows, measured, drawings, grown, [*numbers]),
        "summary.md": _summary(rows, measured, drawings, grown),
        **numbers,
    }
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    return [*(out / name for name in texts), *(path for item in [*drawings, *grown] for path in (item.png, item.svg))]


def remarks(rows: Sequence[Row], measured: Sequence[Cost]) -> list[str]:
    """Return how the numbers came about, for those who want to judge or repeat them."""
    machines = sorted({row.machine for row in rows if row.machine})
    elsewhere = sorted({cost.machine for cost in measured if cost.machine})
    return [
        "Score: the task's metric on the reported split, which is never used to choose anything; mean over seeds.",
        "95% over seeds: Student's t interval of that mean. It tells what another training would give.",
        "95% over examples: bootstrap over the reported examples, ends averaged over seeds. It tells what other "
        "examples would give.",
        "Above majority: yes where the score and both intervals lie above always giving the commonest answer of the "
        "training rows; unclear where that lies inside either interval.",
        "Two cells whose intervals overlap are not told apart here, whichever mean is larger.",
        "Families: pretrained models are trained once and kept, fresh ones are pre-trained anew in the plan, random "
        "ones not at all.",
        "Collapsed: trials that gave every example the same answer.",
        "Latency (p50): median of single examples, not padded. Pairs/s: batches of like length. Stored: bytes of the "
        "weights on disk.",
        *(COMPUTE if compute.known(rows) else ()),
        *(BENCHMARK if any(cost.model for cost in measured) else ()),
        *(GROWTH if growth.sheets(measured) else ()),
        f"Measured on: {'; '.join(machines) or 'nothing yet'}.",
        *([f"Costs measured on: {'; '.join(elsewhere)}."] if elsewhere else []),
    ]


def _draw(rows: Sequence[Row], folder: Path, size: str, dpi: int) -> list[Drawing]:
    bars = f"Bars: 95% interval over {figures.interval(rows)}. Dashed: always the commonest answer."
    looks = "Colours run from light (less) to dark (more)."
    tasks = ", ".join(table.tasks(rows))
    makers = [
        ("score-against-size", figures.score_against_size, "Score against size, a line for each share of the data."),
        ("score-against-data", figures.score_against_data, "Score against training examples, a line for each model."),
    ]
    if any(not row.section for row in compute.known(rows)):
        words = "Score against the operations of the training, a line for each model through its shares of the data."
        makers.append(("score-against-compute", figures.score_against_compute, words))
    drawings = []
    for name, make, words in makers:
        png, svg = figures.save(make(rows, size), folder / name, dpi)
        alt = f"{words} Panels: {tasks}. The table below holds the same numbers."
        drawings.append(Drawing(png, svg, f"{words} {looks} {bars}", alt))
    return drawings


def _draw_growth(measured: Sequence[Cost], folder: Path, dpi: int) -> list[Drawing]:
    """Return the figure of growth, none where nothing grew."""
    if not growth.sheets(measured):
        return []
    png, svg = figures.save(growth.cost_against_shape(measured), folder / "cost-against-shape", dpi)
    words = "Seconds and operations of a training step as one side of the shape grows, each relative to its smallest."
    how = "Right of a line: the exponent of its seconds with its 95% interval, and that of its operations."
    bars = "Bars: 95% interval of the seconds over rounds."
    return [Drawing(png, svg, f"{words} {how} {bars}", f"{words} The table below holds the exponents.")]


def _page(
    rows: Sequence[Row], measured: Sequence[Cost], drawings: list[Drawing], grown: list[Drawing], numbers: list[str]
) -> str:
    folder = FileSystemLoader(Path(__file__).parent)
    template = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return template.get_template("report.html.jinja").render(
        overview=table.overview(rows),
        figures=drawings,
        cells=table.sheets(rows),
        cheaper=ledger.sheets(rows),
        note=ledger.NOTE,
        costs=[*compute.sheets(rows), *speed.sheets(measured)],
        grown=grown,
        growth=growth.sheets(measured),
        remarks=remarks(rows, measured),
        numbers=numbers,
    )


def _summary(rows: Sequence[Row], measured: Sequence[Cost], drawings: list[Drawing], grown: list[Drawing]) -> str:
    parts = [f"# {TITLE}", table.overview(rows), *_shown(drawings)]
    parts += ["## Every cell", *_tables(table.sheets(rows))]
    if cheaper := ledger.sheets(rows):
        parts += ["## Made cheaper", ledger.NOTE, *_tables(cheaper)]
    if costly := [*compute.sheets(rows), *speed.sheets(measured)]:
        parts += ["## What it costs", *_tables(costly), *_shown(grown), *_tables(growth.sheets(measured))]
    parts += ["## How this was measured", "\n".join(f"- {remark}" for remark in remarks(rows, measured))]
    return "\n\n".join(parts) + "\n"


def _shown(drawings: Sequence[Drawing]) -> list[str]:
    return [f"![{item.alt}](figures/{item.png.name})\n\n{item.caption}" for item in drawings]


def _tables(sheets: Sequence[Sheet]) -> list[str]:
    return [text for sheet in sheets for text in (f"### {sheet.title}", table.as_markdown(sheet))]
