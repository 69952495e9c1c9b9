"""The report as one self-contained HTML page: text, static figures, and a script that makes them interactive.

The template escapes everything that comes from a plan, in text, attributes and the JSON of the figures. The page's
content security policy (CSP) forbids loading any resource and running code from text.
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
from pipeline.analysis.report.tables.table import Table, TableSection


@dataclass(frozen=True)
class AnswerSection:
    """The answer for a task: its sentences, the tables of statistics behind it, and warnings about its data."""

    task: str
    sentences: tuple[str, ...]
    tables: tuple[Table, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Link:
    """The text and the address of a hyperlink."""

    text: str
    address: str


@dataclass(frozen=True)
class FigureImage:
    """A figure with its SVG."""

    figure: Figure
    svg: str

    def get_template_values(self) -> dict[str, Any]:
        """Return the values that the template needs, with the SVG as a data URI."""
        width, height = re.findall(r'<svg[^>]* width="([\d.]+)" height="([\d.]+)"', self.svg)[0]
        data = f"data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()}"
        names = ("name", "title", "caption", "alt", "spec", "numbers")
        return {**{name: getattr(self.figure, name) for name in names}, "data": data, "width": width, "height": height}


def render_page(
    title: str,
    overview: str,
    notices: Sequence[str],
    answers: Sequence[AnswerSection],
    images: Sequence[FigureImage],
    sections: Sequence[TableSection],
    definitions: Sequence[str],
    links: Sequence[Link],
    files: Sequence[str],
    library: str,
) -> str:
    """Return the page.

    ``notices`` describe problems with the records, ``definitions`` how the numbers were measured. ``files`` names the
    CSV files in the same folder; ``library`` is the JavaScript that draws figures.
    """
    contents = [("answer", "The answer")] if answers else []
    contents += [("figures", "Figures")] if images else []
    contents += [(section.name, section.title) for section in sections]
    return _create_environment().get_template("report.html.jinja").render(
        title=title,
        overview=overview,
        notices=notices,
        contents=[*contents, ("measured", "How this was measured")],
        answers=answers,
        figures=[image.get_template_values() for image in images],
        sections=sections,
        definitions=definitions,
        links=links,
        files=files,
        light=asdict(theme.LIGHT),
        dark=asdict(theme.DARK),
        themes={"light": theme.create_config(theme.LIGHT), "dark": theme.create_config(theme.DARK)},
        library=Markup(library),
    )  # fmt: skip


def _create_environment() -> Environment:
    folder = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(loader=folder, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    # the order of keys in a specification is the order of its legends
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False, "separators": (",", ":")}
    return environment


def load_library() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script to embed in a page; vl-convert ships it."""
    import vl_convert

    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return script.replace("</script", "<\\/script")
