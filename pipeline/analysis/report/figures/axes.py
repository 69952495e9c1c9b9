"""An axis of a panel: its ends, round ticks, and places on it where labels stand without touching."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt

MIN_TICKS = 4
AIR = 0.06  # of the axis at both ends


@dataclass(frozen=True)
class Axis:
    """What runs along a side of a panel; ``ticks`` None leaves them to Vega, ``form`` is d3's format of a number.

    Without a ``title`` the panel's says it.
    """

    title: str
    low: float
    high: float
    log: bool = False
    ticks: tuple[float, ...] | None = None
    form: str = ""
    labels: bool = True
    padding: float = 8  # pixels between the ticks' labels and the title

    def share(self, value: float) -> float:
        """Return where a value stands, 0 at the low end and 1 at the high one."""
        low, high, at = (math.log(number) if self.log else number for number in (self.low, self.high, value))
        return (at - low) / (high - low)

    def at(self, share: float) -> float:
        """Return the value that stands there."""
        low, high = (math.log(number) if self.log else number for number in (self.low, self.high))
        value = low + share * (high - low)
        return math.exp(value) if self.log else value

    def x(self, field: str = "x") -> alt.X:
        """Return the encoding of a field along the lower side."""
        return alt.X(field, type="quantitative", title=self.title or None, scale=self._scale(), axis=self._axis())

    def y(self, field: str = "y") -> alt.Y:
        """Return the encoding of a field along the left side."""
        return alt.Y(field, type="quantitative", title=self.title or None, scale=self._scale(), axis=self._axis())

    def _scale(self) -> alt.Scale:
        kind = {"type": "log"} if self.log else {"zero": False}
        return alt.Scale(domain=[self.low, self.high], nice=False, **kind)

    def _axis(self) -> alt.Axis:
        known: dict[str, Any] = {} if self.ticks is None else {"values": [*self.ticks]}
        known |= {"format": self.form} if self.form else {}
        return alt.Axis(labels=self.labels, titlePadding=self.padding, labelOverlap="greedy", **known)


def logarithmic(title: str, values: Iterable[float], form: str = "~s", air: float = AIR, **more: Any) -> Axis:
    """Return a logarithmic axis around positive values, with round ticks."""
    known = [math.log(value) for value in values]
    room = max(air * (max(known) - min(known)), 0.05)
    low, high = math.exp(min(known) - room), math.exp(max(known) + room)
    return Axis(title, low, high, True, **{"ticks": tuple(round_numbers(low, high)), "form": form, **more})


def linear(title: str, values: Iterable[float]) -> Axis:
    """Return a linear axis around values, two units long around ones that differ by rounding alone."""
    known = [*values]
    span = max(known) - min(known)
    room = AIR * span if span > 1e-9 else 1
    return Axis(title, min(known) - room, max(known) + room)


def round_numbers(low: float, high: float) -> list[float]:
    """Return round numbers between the ends of a logarithmic axis, powers of ten where they are enough.

    Ends that are close to each other get evenly spaced numbers.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for mantissas in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        found = [float(f"{m}e{power}") for power in powers for m in mantissas if low <= m * 10.0**power <= high]
        if len(found) >= MIN_TICKS:
            return found
    power = math.floor(math.log10(high - low))
    for mantissa, exponent in ((5, power), (2, power), (1, power), (5, power - 1), (2, power - 1), (1, power - 1)):
        step = mantissa * 10.0**exponent
        even = range(math.ceil(low / step), math.floor(high / step) + 1)
        if len(even) >= MIN_TICKS:
            break
    return [float(f"{number * mantissa}e{exponent}") for number in even]


def apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Return places as near to the wanted ones (least squares) as keeps ``gap`` between neighbours.

    They lie from 0 to 1 where there is room for all.
    """
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    blocks: list[list[float]] = []  # mean, members: neighbours that touch move as one (pool adjacent violators)
    for rank, index in enumerate(order):
        blocks.append([wanted[index] - gap * rank, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (mean, count), (other, more) = blocks[-2:]
            blocks[-2:] = [[(mean * count + other * more) / (count + more), count + more]]
    spread = [mean for mean, count in blocks for _ in range(int(count))]
    top = max(0.0, 1 - gap * (len(wanted) - 1))
    spread = [min(max(mean, 0.0), top) for mean in spread]  # which bounded least squares comes to (isotonic)
    places = [0.0] * len(wanted)
    for rank, index in enumerate(order):
        places[index] = spread[rank] + gap * rank
    return places
