"""Table of the exponents with which a training step grows: measured, counted, and in the limit."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.analysis.laws import step_growth
from pipeline.analysis.laws.step_growth import LIMIT_EXPONENTS, GrowthCurve
from pipeline.analysis.report.tables.table import Column, Table
from pipeline.analysis.results.costs import AXES, CellCost

TITLE = "Growth of a training step: exponents of a power law in one side of the shape"
EXPONENT_HELP = (
    "least squares on logarithms; the 95% interval (Student's t) measures how well a power law fits these values."
)
LIMIT_HELP = (
    "exponent of the FLOPs as this side alone grows without bound. At these sizes, parts that do not grow with it "
    "(embeddings, kernel launches, the update) keep the exponent lower."
)


def _format_interval(curve: GrowthCurve) -> str:
    _, low, high = curve.seconds_exponent
    return f"[{low:.2f}, {high:.2f}]"


COLUMNS = (
    Column("label", "model"),
    Column("axis", "axis"),
    Column("from", "from", "{:,g}".format, value=lambda curve: curve.values[0]),
    Column("to", "to", "{:,g}".format, value=lambda curve: curve.values[-1]),
    Column(
        "seconds",
        "exponent of seconds",
        "{:.2f}".format,
        EXPONENT_HELP,
        value=lambda curve: curve.seconds_exponent[0],
    ),
    Column("interval", "95%", value=_format_interval),
    Column(
        "flops", "exponent of FLOPs", "{:.2f}".format,
        value=lambda curve: step_growth.fit_exponent(curve.values, curve.flops)[0] if curve.flops else None,
    ),
    Column("limit", "in the limit", help=LIMIT_HELP, value=lambda curve: LIMIT_EXPONENTS[curve.axis]),
)  # fmt: skip


def create_tables(costs: Sequence[CellCost]) -> list[Table]:
    """Return the table of exponents, none where no axis was measured at enough values."""
    curves = [curve for axis in AXES for curve in step_growth.build_curves(costs, axis)]
    return [Table(TITLE, COLUMNS, curves)] if curves else []
