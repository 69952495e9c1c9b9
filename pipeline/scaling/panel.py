"""One task's panel of a figure: its lines with intervals, its baseline, and labels that do not overlap."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.colors import to_hex, to_rgb
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from pipeline.scaling import texts
from pipeline.scaling.table import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# How a family is told apart from others of the same size: line and marker, filled or hollow.
LOOKS: dict[str, tuple[Any, str, bool]] = {
    "pretrained": ("-", "o", True),
    "fresh": ("--", "D", False),
    "random": (":", "s", False),
}
BASELINE = "#666666"
GAP_BETWEEN_LINES, GAP_BETWEEN_MODELS = 0.052, 0.06  # least distance of labels, as a share of the panel


@dataclass(frozen=True)
class Line:
    """Points of one line, its look and what stands at its end."""

    rows: list[Row]
    label: str  # empty where marker and legend say enough
    color: str
    family: str
    shift: float  # factor on x, so that intervals at the same x stand beside each other


def draw(axes: Axes, of_task: list[Row], across: str, lines: list[Line], kind: str) -> None:
    """Draw one task's lines over the field ``across``; ``kind`` says what the bars span, ``seeds`` or ``examples``."""
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    for line in lines:
        _line(axes, line, across, kind)
    first = of_task[0]
    axes.set_title(first.task)
    axes.set_ylabel(texts.metric(first.score_name))
    axes.set_xlim(_around(value(row, across) for row in of_task))
    axes.margins(y=0.06)
    ends = [
        (value(line.rows[-1], across) * line.shift, 100 * value(line.rows[-1], "score"), line.label, line.color)
        for line in lines
        if line.label
    ]
    if first.majority_score is not None:
        axes.axhline(100 * first.majority_score, color=BASELINE, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        ends.append((axes.get_xlim()[1], 100 * first.majority_score, "commonest answer", BASELINE))
    axes.set_ylim(axes.get_ylim())  # the labels must not move it
    label_ends(axes, ends)


def _line(axes: Axes, line: Line, across: str, kind: str) -> None:
    """Draw a line through the means and the interval of each."""
    style, marker, filled = LOOKS[line.family]
    x = [value(row, across) * line.shift for row in line.rows]
    y = [100 * value(row, "score") for row in line.rows]
    ends = ("ci95_low", "ci95_high") if kind == "seeds" else ("bootstrap_low", "bootstrap_high")
    low, high = ([100 * value(row, end) for row in line.rows] for end in ends)
    axes.vlines(x, low, high, color=line.color, linewidth=1.2, alpha=0.7)
    axes.plot(
        x, y, linestyle=style, marker=marker, color=line.color, linewidth=1.6, markersize=5.5,
        markerfacecolor=line.color if filled else "white",
    )  # fmt: skip


def _around(values: Iterable[float]) -> tuple[float, float]:
    """Return the ends of a logarithmic axis with some air on both sides."""
    known = [math.log(value) for value in values]
    air = max(0.07 * (max(known) - min(known)), 0.3)
    return math.exp(min(known) - air), math.exp(max(known) + air)


def label_ends(axes: Axes, ends: list[tuple[float, float, str, str]], gap: float = GAP_BETWEEN_LINES) -> None:
    """Name what ends at (x, y) right of the panel, the names pushed apart where the ends are close."""
    heights = [axes.transLimits.transform(axes.transScale.transform((x, y)))[1] for x, y, _, _ in ends]
    places = _apart(heights, gap)
    for (x, y, label, color), place in zip(ends, places, strict=True):
        axes.annotate(
            label, (x, y), (1.04, place), textcoords="axes fraction", color=_dark(color), va="center", fontsize=8,
            arrowprops={
                "arrowstyle": "-", "color": color, "linewidth": 0.7, "linestyle": ":", "shrinkA": 0, "shrinkB": 4,
                "relpos": (0, 0.5),
            },
        )  # fmt: skip


def _apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Return places as near to the wanted ones (least squares) as keeps ``gap`` between neighbours."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    blocks: list[list[float]] = []  # mean, members: neighbours that touch move as one (pool adjacent violators)
    for rank, index in enumerate(order):
        blocks.append([wanted[index] - gap * rank, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (mean, count), (other, more) = blocks[-2:]
            blocks[-2:] = [[(mean * count + other * more) / (count + more), count + more]]
    spread = [mean for mean, count in blocks for _ in range(int(count))]
    places = [0.0] * len(wanted)
    for rank, index in enumerate(order):
        places[index] = spread[rank] + gap * rank
    return places


def explain_families(figure: Figure, families: list[str]) -> None:
    """Add a legend of markers where there is more than one family."""
    if len(families) < 2:
        return
    handles = []
    for family in families:
        style, marker, filled = LOOKS[family]
        face = BASELINE if filled else "white"
        look = {"linestyle": style, "marker": marker, "color": BASELINE, "markerfacecolor": face}
        handles.append(Line2D([], [], label=family, **look))
    figure.legend(handles=handles, loc="outside upper right", ncols=len(families), frameon=False, handlelength=3)


def name_models(axes: Axes, of_task: list[Row], size: str) -> None:
    """Put each model's name and size under its place; one name for models of the same size, pre-trained ones first."""
    names: dict[float, list[str]] = {}
    for row in sorted(of_task, key=lambda row: (value(row, size), list(LOOKS).index(row.family))):
        known = names.setdefault(value(row, size), [])
        if row.model not in known and (row.family == "pretrained" or not known):
            known.append(row.model)
    axes.set_xticks(list(names), [""] * len(names))
    left, right = (math.log(end) for end in axes.get_xlim())
    places = _apart([(math.log(number) - left) / (right - left) for number in names], GAP_BETWEEN_MODELS)
    line = {"arrowstyle": "-", "color": "#888888", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0, "relpos": (1, 1)}
    for (number, known), place in zip(names.items(), places, strict=True):
        axes.annotate(
            f"{', '.join(known)}  {texts.count(round(number))}", (number, 0), (place, -0.06), fontsize=8, rotation=40,
            xycoords=axes.get_xaxis_transform(), textcoords="axes fraction", ha="right", va="top",
            rotation_mode="anchor", arrowprops=line,
        )  # fmt: skip


def families(rows: Iterable[Row]) -> list[str]:
    """Return the families among the rows, the ordinary one first."""
    present = {row.family for row in rows}
    return [family for family in LOOKS if family in present]


def value(row: Row, name: str) -> float:
    """Return a field of a row that has results."""
    return float(getattr(row, name))


def ordered(count: int) -> list[str]:
    """Return colours from light to dark: more is darker, for readers of every colour vision (viridis)."""
    return [to_hex(mpl.colormaps["viridis"](0.75 - 0.72 * index / max(1, count - 1))) for index in range(count)]


def _dark(color: str) -> str:
    """Return a shade of ``color`` in which text is readable on white."""
    red, green, blue = to_rgb(color)
    return to_hex((0.72 * red, 0.72 * green, 0.72 * blue))
