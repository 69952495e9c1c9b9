"""The report as one page that needs nothing but itself: its text, still figures, and the script that brings them alive.

Everything that comes from a plan is escaped by the template, in text, in attributes and in the JSON of the figures; the
page's policy (CSP) forbids it to load anything and to run code from texts.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.analysis.report.figures import theme
from pipeline.analysis.report.figures.figure import Figure
from pipeline.analysis.results.cell_table import Sheet


@dataclass(frozen=True)
class Answer:
    """The answer for a task in a few sentences, the statistics behind it, and warnings about the data behind it."""

    task: str
    sentences: tuple[str, ...]
    details: tuple[Sheet, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Link:
    """Words that lead to an address."""

    text: str
    address: str


@dataclass(frozen=True)
class Part:
    """Tables under one heading; ``name`` is its place in the page. They do not sort where the order has a meaning."""

    name: str
    title: str
    sheets: Sequence[Sheet]
    note: str = ""
    sorts: bool = True


@dataclass(frozen=True)
class Still:
    """A figure and its SVG."""

    figure: Figure
    svg: str

    @property
    def shown(self) -> dict[str, Any]:
        """Return what the template shows, with the SVG as an address that holds it."""
        width, height = re.findall(r'<svg[^>]* width="([\d.]+)" height="([\d.]+)"', self.svg)[0]
        data = f"data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()}"
        named = ("name", "title", "caption", "alt", "spec", "numbers")
        return {**{name: getattr(self.figure, name) for name in named}, "data": data, "width": width, "height": height}


def render(
    title: str,
    overview: str,
    notices: Sequence[str],
    answers: Sequence[Answer],
    stills: Sequence[Still],
    tables: Sequence[Part],
    remarks: Sequence[str],
    links: Sequence[Link],
    files: Sequence[str],
    library: str,
) -> str:
    """Return the page.

    ``notices`` are lines on what is wrong with the records, ``files`` the names of the files of numbers in the same
    folder, ``library`` the script that draws.
    """
    places = [("answer", "The answer")] if answers else []
    places += [("figures", "Figures")] if stills else []
    places += [(part.name, part.title) for part in tables]
    return _environment().get_template("report.html.jinja").render(
        title=title,
        overview=overview,
        notices=notices,
        parts=[*places, ("measured", "How this was measured")],
        answers=answers,
        figures=[still.shown for still in stills],
        tables=tables,
        remarks=remarks,
        links=links,
        numbers=files,
        light=asdict(theme.LIGHT),
        dark=asdict(theme.DARK),
        themes={"light": theme.config(theme.LIGHT), "dark": theme.config(theme.DARK)},
        library=Markup(library),
    )  # fmt: skip


def _environment() -> Environment:
    folder = FileSystemLoader(Path(__file__).parent / "templates")
    made = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    # the order of a specification's keys is that of its legends
    made.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    return made


def library() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script that a page can hold: trusted, it comes with vl-convert."""
    import vl_convert

    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return script.replace("</script", "<\\/script")
