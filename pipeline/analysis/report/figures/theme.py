"""Colours and fonts of figures and page in a light and a dark scheme; specifications contain no colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

# vl-convert ships Liberation Sans, so text has the same width everywhere; Arial and Helvetica have the same metrics.
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
SIZE = 11  # pixels


@dataclass(frozen=True)
class Scheme:
    """Colours of one scheme; ``shades`` is the range of viridis used, from less to more."""

    page: str
    text: str
    soft: str
    line: str
    row: str
    accent: str
    shades: tuple[float, float]
    less: str
    more: str
    even: str


# viridis is perceptually uniform and safe for colour blindness; the end that fades into the page is cut off
LIGHT = Scheme(
    page="#ffffff", text="#1b1f24", soft="#57606a", line="#d8dee4", row="#f6f8fa", accent="#0a5cad",
    shades=(0.6, 0.02), less="#b35806", more="#2d5ea8", even="#f3f3f3",
)  # fmt: skip
DARK = Scheme(
    page="#0d1117", text="#e6edf3", soft="#9da7b1", line="#30363d", row="#161b22", accent="#79b8ff",
    shades=(0.4, 0.98), less="#f0a35e", more="#7fb2f0", even="#21262d",
)  # fmt: skip


def create_config(scheme: Scheme, background: str = "transparent") -> dict[str, Any]:
    """Return the Vega-Lite configuration of a scheme; hollow marks are filled with ``page``."""
    text = {"labelColor": scheme.soft, "titleColor": scheme.text, "labelFontSize": SIZE, "titleFontSize": SIZE}
    baseline = {"stroke": scheme.soft, "strokeWidth": 1, "strokeDash": [4, 3]}
    return {
        "background": background,
        "aria": False,  # the page describes the whole figure, and its table holds the numbers
        "params": [{"name": name, "value": getattr(scheme, name)} for name in ("page", "text", "soft", "accent")],
        "font": FONT,
        "padding": 6,
        "range": {
            "ordinal": {"scheme": "viridis", "extent": [*scheme.shades]},
            "ramp": {"scheme": "viridis", "extent": [*scheme.shades]},
            "diverging": {"scheme": [scheme.less, scheme.even, scheme.more]},
        },
        "view": {"stroke": None},
        "title": {
            "anchor": "start", "frame": "group", "color": scheme.text, "fontSize": 13, "offset": 10,
            "subtitleColor": scheme.soft, "subtitleFontSize": SIZE, "subtitlePadding": 5,
        },
        "axis": {
            **text, "gridColor": scheme.line, "gridOpacity": 0.7, "domainColor": scheme.soft,
            "tickColor": scheme.soft, "titleFontWeight": "normal", "titlePadding": 8, "labelPadding": 4,
        },
        "legend": {
            **text, "labelColor": scheme.text, "titleFontWeight": "normal", "orient": "top", "direction": "horizontal",
            "symbolBaseFillColor": scheme.soft, "symbolBaseStrokeColor": scheme.soft, "titleOrient": "left",
            "columnPadding": 14, "symbolSize": 60, "labelLimit": 240, "offset": 14,
            "layout": {"top": {"margin": 26}},
        },
        "line": {"strokeWidth": 2, "color": scheme.soft},
        "rule": {"color": scheme.soft},
        "text": {"color": scheme.text, "fontSize": SIZE},
        "point": {"strokeWidth": 1.6, "color": scheme.soft},
        "style": {
            "baseline": baseline,
            "leader": {"strokeWidth": 0.8, "strokeDash": [1, 2]},
            "band": {"fillOpacity": 0.16},
        },
    }  # fmt: skip
