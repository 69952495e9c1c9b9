"""A figure: its specification, what is said of it, its numbers; and its files, the same bytes each time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from pipeline.analysis.report.figures import theme
from pipeline.analysis.results.cell_table import Sheet

COLUMNS = 2
REACHED = "reached"  # the layer that answers to the pointer
SHARED = ("color", "shape", "strokeDash", "opacity")
INCH = 96  # pixels, as CSS defines it


@dataclass(frozen=True)
class Figure:
    """A Vega-Lite specification with its words; ``name`` is its file's and its place in the page.

    ``alt`` says what is seen to those who cannot see it; ``numbers`` holds what is drawn.
    """

    name: str
    title: str
    caption: str
    alt: str
    spec: dict[str, Any]
    numbers: Sheet


def layered(charts: Iterable[alt.Chart], title: str | dict[str, str], **size: float) -> dict[str, Any]:
    """Return single charts as the layers of one panel, each with its data as a text.

    altair's own layering copies everything several times, which takes half a second a figure; it checks against the
    schema, too, which the tests do for every figure.
    """
    layers = []
    for chart in charts:
        unit = chart.to_dict(validate=False)
        held = unit.pop("datasets")
        kept = {name: value for name, value in unit.items() if name not in ("$schema", "config")}
        layers.append({**kept, "data": held[unit["data"]["name"]]})
    return {"layer": layers, "title": title, **size}


def beside(panels: list[dict[str, Any]], params: list[dict[str, Any]], columns: int = COLUMNS) -> dict[str, Any]:
    """Return panels as one specification: scales of colour, shape and dash are one for all, and so is what is selected.

    Each of ``params`` selects in every panel: in the layers named ``REACHED``, or where it is bound to a legend in the
    first layer of its field, whose legend Vega-Lite keeps.
    """
    datasets: dict[str, str] = {}
    for layer in (layer for panel in panels for layer in panel["layer"]):
        layer["data"] = {"name": datasets.setdefault(layer["data"], f"data-{len(datasets)}")}
    return {
        "$schema": alt.SCHEMA_URL,
        "concat": panels,
        "columns": min(columns, len(panels)),
        "resolve": {"scale": dict.fromkeys(SHARED, "shared")},
        "params": [{**param, "views": _views(panels, param)} for param in params],
        "datasets": {name: json.loads(values) for values, name in datasets.items()},
    }


def _views(panels: list[dict[str, Any]], param: dict[str, Any]) -> list[str]:
    """Return the names of the layers, one a panel, in which a parameter selects, named here where they are not yet."""
    views = []
    for place, panel in enumerate(panels):
        layer = next(layer for layer in panel["layer"] if _selects(layer, param))
        if layer.get("name", REACHED) == REACHED:
            layer["name"] = f"{param['name']}-{place}"
        views.append(layer["name"])
    return views


def _selects(layer: dict[str, Any], param: dict[str, Any]) -> bool:
    if "bind" not in param:
        return layer.get("name") == REACHED
    fields = [layer["encoding"].get(channel, {}).get("field") for channel in ("color", "shape")]
    return param["select"]["fields"][0] in fields


def begin() -> None:
    """Let vl-convert bring in Vega, which takes half a second, before there is a figure."""
    vl_convert.vegalite_to_svg({"mark": "point"})


def save(figure: Figure, folder: Path, dpi: int) -> tuple[Path, Path]:
    """Write the figure as SVG and, with so many dots an inch, as PNG, on white; return the two paths."""
    svg, png = folder / f"{figure.name}.svg", folder / f"{figure.name}.png"
    drawn = vl_convert.vegalite_to_svg(figure.spec, config=theme.config(theme.LIGHT, theme.LIGHT.page))
    drawn = _renumbered(drawn)
    svg.write_text(drawn, encoding="utf-8")
    png.write_bytes(vl_convert.svg_to_png(drawn, scale=dpi / INCH))
    return svg, png


def _renumbered(svg: str) -> str:
    """Return an SVG whose clips and gradients are numbered from 0; Vega counts on over all figures of a process."""
    numbers: dict[str, str] = {}
    kept = re.compile(r"(?<=id=\")(clip|gradient_)(\d+)(?=\")|(?<=url\(#)(clip|gradient_)(\d+)(?=\))")

    def renamed(found: re.Match[str]) -> str:
        return numbers.setdefault(found[0], f"{found[1] or found[3]}{len(numbers)}")

    return kept.sub(renamed, svg)
