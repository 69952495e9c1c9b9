"""When a law is not fitted or not held out, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipeline.analysis.laws.forms import ADDITIVE, Form
from pipeline.analysis.laws.law_types import Measured, Question

PLACES = {"train_examples": "amounts of data", "train_flops": "amounts of compute"}  # every other axis is a size
LAWS = {
    "power": "a power law",
    "power with floor": "a power law with a floor",
    "additive": "the additive law",
    "multiplicative": "the multiplicative law",
}
JOINT = 3  # different values of each axis, so that an exponent is not one difference
FRONT = 4  # places of a front, since every one of them was picked for being low


def places(axis: str, count: int) -> str:
    """Return how many places of an axis there are, such as ``3 sizes``."""
    plural = PLACES.get(axis, "sizes")
    if count != 1:
        return f"{count} {plural}"
    first, *rest = plural.split(" ", 1)
    return " ".join(["1", first.removesuffix("s"), *rest])


def of_values(question: Question, points: Sequence[Measured]) -> str | None:
    """Return why the values have no logarithm, None where all have."""
    bad = [(point.cell, value) for point in points for value in point.values if not (0 < value < math.inf)]
    if bad:
        cell, value = bad[0]
        needs = "a law is fitted to logarithms, so values must be above 0 and finite"
        return f"{cell} has {question.target} {value:g}; {needs}"
    bad_at = [point.cell for point in points if not all(0 < place < math.inf for place in point.at)]
    return f"{bad_at[0]} stands at 0 or nowhere on an axis, and a law takes places above 0" if bad_at else None


def to_fit(form: Form, question: Question, points: Sequence[Measured]) -> str | None:
    """Return why a form is not fitted to all places, None where it is: it must be able to be wrong."""
    found = len({point.at for point in points})
    needs = f"{LAWS[form.name]} has {form.size} parameters and takes {form.size + 1} to be tested"
    if len(question.axes) == 1:
        axis = question.axes[0]
        if axis == "train_flops" and found < FRONT:
            return f"{places(axis, found)} on the front of compute, each picked for being low; a law takes {FRONT}"
        return f"{places(axis, found)}; {needs}" if found <= form.size else None
    for axis, count in zip(question.axes, _levels(points), strict=True):
        if count < JOINT:
            return f"{places(axis, count)}; {LAWS[form.name]} takes {JOINT}"
    return f"{found} places; {needs}" if found <= form.size else None


def to_hold_out(form: Form, question: Question, left: Sequence[Measured]) -> str | None:
    """Return why the places that are left do not settle a form, None where they do."""
    found = len({point.at for point in left})
    what = f"{LAWS[form.name]} takes"
    if len(question.axes) == 1:
        return f"{places(question.axes[0], found)} left; {what} {form.size}" if found < form.size else None
    least = JOINT if form is ADDITIVE else JOINT - 1  # the additive law's exponents each see one axis alone
    for axis, count in zip(question.axes, _levels(left), strict=True):
        if count < least:
            return f"{places(axis, count)} left; {what} {least}"
    return f"{found} places left; {what} {form.size}" if found < form.size else None


def _levels(points: Sequence[Measured]) -> list[int]:
    return [len(set(values)) for values in zip(*(point.at for point in points), strict=True)]
