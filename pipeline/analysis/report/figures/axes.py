"""Axes of a panel: limits, round ticks, and label positions without overlap."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

MIN_TICKS = 4
MARGIN = 0.06  # share of the axis at both ends


@dataclass(frozen=True)
class Axis:
    """One axis of a panel; ``ticks`` None lets Vega choose them, ``number_format`` is a d3 format.

    Without a ``title``, the panel's title names the quantity.
    """

    title: str
    low: float
    high: float
    log: bool = False
    ticks: tuple[float, ...] | None = None
    number_format: str = ""
    labels: bool = True
    padding: float = 8  # pixels between tick labels and title

    def get_share(self, value: float) -> float:
        """Return the position of a value, 0 at the low end and 1 at the high end."""
        low, high, at = (math.log(number) if self.log else number for number in (self.low, self.high, value))
        return (at - low) / (high - low)

    def get_value(self, share: float) -> float:
        """Return the value at a position between 0 and 1."""
        low, high = (math.log(number) if self.log else number for number in (self.low, self.high))
        value = low + share * (high - low)
        return math.exp(value) if self.log else value

    def encode_x(self, field: str = "x") -> alt.X:
        """Return the encoding of a field as x."""
        return alt.X(
            field, type="quantitative", title=self.title or None, scale=self._create_scale(), axis=self._create_axis()
        )

    def encode_y(self, field: str = "y") -> alt.Y:
        """Return the encoding of a field as y."""
        return alt.Y(
            field, type="quantitative", title=self.title or None, scale=self._create_scale(), axis=self._create_axis()
        )

    def _create_scale(self) -> alt.Scale:
        kind = {"type": "log"} if self.log else {"zero": False}
        return alt.Scale(domain=[self.low, self.high], nice=False, **kind)

    def _create_axis(self) -> alt.Axis:
        options: dict[str, Any] = {} if self.ticks is None else {"values": [*self.ticks]}
        options |= {"format": self.number_format} if self.number_format else {}
        return alt.Axis(labels=self.labels, titlePadding=self.padding, labelOverlap="greedy", **options)


def create_log_axis(
    title: str, values: Iterable[float], number_format: str = "~s", margin: float = MARGIN, **options: Any
) -> Axis:
    """Return a logarithmic axis around positive values, with round ticks."""
    logs = [math.log(value) for value in values]
    space = max(margin * (max(logs) - min(logs)), 0.05)
    low, high = math.exp(min(logs) - space), math.exp(max(logs) + space)
    defaults = {"ticks": tuple(compute_round_ticks(low, high)), "number_format": number_format}
    return Axis(title, low, high, True, **{**defaults, **options})


def create_linear_axis(title: str, values: Iterable[float]) -> Axis:
    """Return a linear axis around values; two units long if they differ only by rounding."""
    numbers = [*values]
    span = max(numbers) - min(numbers)
    space = MARGIN * span if span > 1e-9 else 1
    return Axis(title, min(numbers) - space, max(numbers) + space)


def compute_round_ticks(low: float, high: float) -> list[float]:
    """Return round numbers between the ends of a logarithmic axis: powers of ten, or finer steps if those are few.

    A short axis gets evenly spaced numbers.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [float(f"{m}e{power}") for power in powers for m in mantissas if low <= m * 10.0**power <= high]
        if len(ticks) >= MIN_TICKS:
            return ticks
    power = math.floor(math.log10(high - low))
    for mantissa, exponent in ((5, power), (2, power), (1, power), (5, power - 1), (2, power - 1), (1, power - 1)):
        step = mantissa * 10.0**exponent
        even = range(math.ceil(low / step), math.floor(high / step) + 1)
        if len(even) >= MIN_TICKS:
            break
    return [float(f"{number * mantissa}e{exponent}") for number in even]


def resolve_overlaps(wanted: Sequence[float], gap: float) -> list[float]:
    """Return the positions nearest to the wanted ones (least squares) with at least ``gap`` between neighbours.

    Positions are between 0 and 1 if there is enough space for all.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    blocks: list[list[float]] = []  # mean, count: neighbours that touch move together (pool adjacent violators)
    for rank, index in enumerate(order):
        blocks.append([wanted[index] - gap * rank, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (mean, count), (other, more) = blocks[-2:]
            blocks[-2:] = [[(mean * count + other * more) / (count + more), count + more]]
    means = [mean for mean, count in blocks for _ in range(int(count))]
    top = max(0.0, 1 - gap * (len(wanted) - 1))
    means = [min(max(mean, 0.0), top) for mean in means]  # the solution of bounded isotonic regression
    positions = [0.0] * len(wanted)
    for rank, index in enumerate(order):
        positions[index] = means[rank] + gap * rank
    return positions
