"""The results of a plan for readers: a page, a Markdown summary, and a file of numbers."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.scaling import figures, ledger, table
from pipeline.scaling.table import Row, Sheet

TITLE = "How the models of this plan scale"


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


def write(rows: Sequence[Row], out: Path, size: str, dpi: int) -> list[Path]:
    """Write ``index.html``, ``summary.md``, ``results.csv`` and ``figures/`` into ``out``; return the files.

    ``size`` names the field of a row that the figures call size; ``dpi`` is of the PNGs.
    """
    (out / "figures").mkdir()
    drawings = _draw(rows, out / "figures", size, dpi)
    texts = {
        "index.html": _page(rows, drawings),
        "summary.md": _summary(rows, drawings),
        "results.csv": table.as_csv(rows),
    }
    for name, text in texts.items():
        (out / name).write_text(text, encoding="utf-8")
    return [*(out / name for name in texts), *(path for item in drawings for path in (item.png, item.svg))]


def remarks(rows: Sequence[Row]) -> list[str]:
    """Return how the numbers came about, for those who want to judge or repeat them."""
    machines = sorted({row.machine for row in rows if row.machine})
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
        f"Measured on: {'; '.join(machines) or 'nothing yet'}.",
    ]


def _draw(rows: Sequence[Row], folder: Path, size: str, dpi: int) -> list[Drawing]:
    bars = f"Bars: 95% interval over {figures.interval(rows)}. Dashed: always the commonest answer."
    looks = "Colours run from light (less) to dark (more)."
    tasks = ", ".join(table.tasks(rows))
    drawings = []
    for name, make, words in (
        ("score-against-size", figures.score_against_size, "Score against size, a line for each share of the data."),
        ("score-against-data", figures.score_against_data, "Score against training examples, a line for each model."),
    ):
        png, svg = figures.save(make(rows, size), folder / name, dpi)
        alt = f"{words} Panels: {tasks}. The table below holds the same numbers."
        drawings.append(Drawing(png, svg, f"{words} {looks} {bars}", alt))
    return drawings


def _page(rows: Sequence[Row], drawings: list[Drawing]) -> str:
    folder = FileSystemLoader(Path(__file__).parent)
    template = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    return template.get_template("report.html.jinja").render(
        overview=table.overview(rows),
        figures=drawings,
        cells=table.sheets(rows),
        cheaper=ledger.sheets(rows),
        note=ledger.NOTE,
        remarks=remarks(rows),
    )


def _summary(rows: Sequence[Row], drawings: list[Drawing]) -> str:
    parts = [f"# {TITLE}", table.overview(rows)]
    parts += [f"![{item.alt}](figures/{item.png.name})\n\n{item.caption}" for item in drawings]
    parts += ["## Every cell", *_tables(table.sheets(rows))]
    if cheaper := ledger.sheets(rows):
        parts += ["## Made cheaper", ledger.NOTE, *_tables(cheaper)]
    parts += ["## How this was measured", "\n".join(f"- {remark}" for remark in remarks(rows))]
    return "\n\n".join(parts) + "\n"


def _tables(sheets: Sequence[Sheet]) -> list[str]:
    return [text for sheet in sheets for text in (f"### {sheet.title}", table.as_markdown(sheet))]
