"""When a law is not fitted or not held out, in one sentence."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipeline.analysis.laws.forms import ADDITIVE, Form
from pipeline.analysis.laws.law_types import LawDataset, Observation

AXIS_NOUNS = {"train_examples": "amounts of data", "train_flops": "amounts of compute"}  # every other axis is a size
FORM_NOUNS = {
    "power": "a power law",
    "power with floor": "a power law with a floor",
    "additive": "the additive law",
    "multiplicative": "the multiplicative law",
}
MIN_AXIS_VALUES = 3  # different values of each axis, so that an exponent is not one difference
MIN_FRONT_OBSERVATIONS = 4  # places of a front, since every one of them was picked for being low


def format_count(axis: str, count: int) -> str:
    """Return how many places of an axis there are, such as ``3 sizes``."""
    plural = AXIS_NOUNS.get(axis, "sizes")
    if count != 1:
        return f"{count} {plural}"
    first, *rest = plural.split(" ", 1)
    return " ".join(["1", first.removesuffix("s"), *rest])


def check_values(question: LawDataset, points: Sequence[Observation]) -> str | None:
    """Return why the values have no logarithm, None where all have."""
    bad = [(point.cell, value) for point in points for value in point.values if not (0 < value < math.inf)]
    if bad:
        cell, value = bad[0]
        needs = "a law is fitted to logarithms, so values must be above 0 and finite"
        return f"{cell} has {question.target} {value:g}; {needs}"
    bad_at = [point.cell for point in points if not all(0 < place < math.inf for place in point.at)]
    return f"{bad_at[0]} stands at 0 or nowhere on an axis, and a law takes places above 0" if bad_at else None


def check_fit(form: Form, question: LawDataset, points: Sequence[Observation]) -> str | None:
    """Return why a form is not fitted to all places, None where it is: it must be able to be wrong."""
    found = len({point.at for point in points})
    needs = f"{FORM_NOUNS[form.name]} has {form.size} parameters and takes {form.size + 1} to be tested"
    if len(question.axes) == 1:
        axis = question.axes[0]
        if axis == "train_flops" and found < MIN_FRONT_OBSERVATIONS:
            return (
                f"{format_count(axis, found)} on the front of compute, "
                f"each picked for being low; a law takes {MIN_FRONT_OBSERVATIONS}"
            )
        return f"{format_count(axis, found)}; {needs}" if found <= form.size else None
    for axis, count in zip(question.axes, _count_axis_values(points), strict=True):
        if count < MIN_AXIS_VALUES:
            return f"{format_count(axis, count)}; {FORM_NOUNS[form.name]} takes {MIN_AXIS_VALUES}"
    return f"{found} places; {needs}" if found <= form.size else None


def check_holdout(form: Form, question: LawDataset, left: Sequence[Observation]) -> str | None:
    """Return why the places that are left do not settle a form, None where they do."""
    found = len({point.at for point in left})
    what = f"{FORM_NOUNS[form.name]} takes"
    if len(question.axes) == 1:
        return f"{format_count(question.axes[0], found)} left; {what} {form.size}" if found < form.size else None
    least = (
        MIN_AXIS_VALUES if form is ADDITIVE else MIN_AXIS_VALUES - 1
    )  # the additive law's exponents each see one axis alone
    for axis, count in zip(question.axes, _count_axis_values(left), strict=True):
        if count < least:
            return f"{format_count(axis, count)} left; {what} {least}"
    return f"{found} places left; {what} {form.size}" if found < form.size else None


def _count_axis_values(points: Sequence[Observation]) -> list[int]:
    return [len(set(values)) for values in zip(*(point.at for point in points), strict=True)]
