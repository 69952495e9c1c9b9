"""A figure: Vega-Lite specification, caption, alternative text and numbers; saved as reproducible files."""

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
from pipeline.analysis.report.tables.table import Table

COLUMNS = 2
HOVER_LAYER = "reached"  # name of the layer that reacts to the pointer
SHARED_SCALES = ("color", "shape", "strokeDash", "opacity")
PIXELS_PER_INCH = 96  # as CSS defines it


@dataclass(frozen=True)
class Figure:
    """A Vega-Lite specification with its texts; ``name`` is its file name and its anchor in the page.

    ``alt`` is the alternative text for screen readers; ``numbers`` is the table of what is drawn.
    """

    name: str
    title: str
    caption: str
    alt: str
    spec: dict[str, Any]
    numbers: Table


def merge_layers(charts: Iterable[alt.Chart], title: str | dict[str, str], **size: float) -> dict[str, Any]:
    """Return charts as the layers of one panel, each with its data as JSON text.

    altair's own layering copies and validates everything, which takes half a second per figure. The tests validate
    every figure instead.
    """
    layers = []
    for chart in charts:
        unit = chart.to_dict(validate=False)
        datasets = unit.pop("datasets")
        layer = {name: value for name, value in unit.items() if name not in ("$schema", "config")}
        layers.append({**layer, "data": datasets[unit["data"]["name"]]})
    return {"layer": layers, "title": title, **size}


def merge_panels(panels: list[dict[str, Any]], params: list[dict[str, Any]], columns: int = COLUMNS) -> dict[str, Any]:
    """Return panels as one specification with shared scales of colour, shape and dash, and shared selections.

    Each of ``params`` selects in every panel: in the layers named ``HOVER_LAYER``, or for a parameter bound to a
    legend in the first layer of its field, whose legend Vega-Lite keeps.
    """
    datasets: dict[str, str] = {}
    for layer in (layer for panel in panels for layer in panel["layer"]):
        layer["data"] = {"name": datasets.setdefault(layer["data"], f"data-{len(datasets)}")}
    return {
        "$schema": alt.SCHEMA_URL,
        "concat": panels,
        "columns": min(columns, len(panels)),
        "resolve": {"scale": dict.fromkeys(SHARED_SCALES, "shared")},
        "params": [{**param, "views": _name_views(panels, param)} for param in params],
        "datasets": {name: json.loads(values) for values, name in datasets.items()},
    }


def _name_views(panels: list[dict[str, Any]], param: dict[str, Any]) -> list[str]:
    """Return the name of one layer per panel in which a parameter selects, and name layers without one."""
    views = []
    for number, panel in enumerate(panels):
        layer = next(layer for layer in panel["layer"] if _is_selected(layer, param))
        if layer.get("name", HOVER_LAYER) == HOVER_LAYER:
            layer["name"] = f"{param['name']}-{number}"
        views.append(layer["name"])
    return views


def _is_selected(layer: dict[str, Any], param: dict[str, Any]) -> bool:
    if "bind" not in param:
        return layer.get("name") == HOVER_LAYER
    fields = [layer["encoding"].get(channel, {}).get("field") for channel in ("color", "shape")]
    return param["select"]["fields"][0] in fields


def load_renderer() -> None:
    """Load Vega into vl-convert, which takes half a second, before the first figure is ready."""
    vl_convert.vegalite_to_svg({"mark": "point"})


def save_figure(figure: Figure, folder: Path, dpi: int) -> tuple[Path, Path]:
    """Write the figure on white as SVG and as PNG with ``dpi`` dots per inch; return the two paths."""
    svg, png = folder / f"{figure.name}.svg", folder / f"{figure.name}.png"
    text = vl_convert.vegalite_to_svg(figure.spec, config=theme.create_config(theme.LIGHT, theme.LIGHT.page))
    text = _reset_ids(text)
    svg.write_text(text, encoding="utf-8")
    png.write_bytes(vl_convert.svg_to_png(text, scale=dpi / PIXELS_PER_INCH))
    return svg, png


def _reset_ids(svg: str) -> str:
    """Return an SVG with clips and gradients numbered from 0; Vega numbers them over all figures of a process."""
    numbers: dict[str, str] = {}
    pattern = re.compile(r"(?<=id=\")(clip|gradient_)(\d+)(?=\")|(?<=url\(#)(clip|gradient_)(\d+)(?=\))")

    def replace_id(match: re.Match[str]) -> str:
        return numbers.setdefault(match[0], f"{match[1] or match[3]}{len(numbers)}")

    return pattern.sub(replace_id, svg)
