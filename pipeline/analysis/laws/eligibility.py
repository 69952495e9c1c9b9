"""Reasons why a law cannot be fitted or held out, one sentence each."""

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
MIN_FRONT_OBSERVATIONS = 4  # each was selected for being low


def format_count(axis: str, count: int) -> str:
    """Format the number of distinct values of an axis, such as ``3 sizes``."""
    plural = AXIS_NOUNS.get(axis, "sizes")
    if count != 1:
        return f"{count} {plural}"
    first, *rest = plural.split(" ", 1)
    return " ".join(["1", first.removesuffix("s"), *rest])


def check_values(dataset: LawDataset, observations: Sequence[Observation]) -> str | None:
    """Return why the observations have no logarithm, None if all have one."""
    bad = [
        (observation.cell, value)
        for observation in observations
        for value in observation.values
        if not (0 < value < math.inf)
    ]
    if bad:
        cell, value = bad[0]
        needs = "a law is fitted to logarithms, so values must be above 0 and finite"
        return f"{cell} has {dataset.target} {value:g}; {needs}"
    bad_at = [
        observation.cell for observation in observations if not all(0 < value < math.inf for value in observation.at)
    ]
    return f"{bad_at[0]} is not above 0 on an axis; a law takes values above 0" if bad_at else None


def check_fit(form: Form, dataset: LawDataset, observations: Sequence[Observation]) -> str | None:
    """Return why a form cannot be fitted and tested on the observations, None if it can."""
    count = len({observation.at for observation in observations})
    needs = f"{FORM_NOUNS[form.name]} has {form.size} parameters and takes {form.size + 1} to be tested"
    if len(dataset.axes) == 1:
        axis = dataset.axes[0]
        if axis == "train_flops" and count < MIN_FRONT_OBSERVATIONS:
            return (
                f"{format_count(axis, count)} on the front of compute, "
                f"each picked for being low; a law takes {MIN_FRONT_OBSERVATIONS}"
            )
        return f"{format_count(axis, count)}; {needs}" if count <= form.size else None
    for axis, values in zip(dataset.axes, _count_axis_values(observations), strict=True):
        if values < MIN_AXIS_VALUES:
            return f"{format_count(axis, values)}; {FORM_NOUNS[form.name]} takes {MIN_AXIS_VALUES}"
    return f"{count} observations; {needs}" if count <= form.size else None


def check_holdout(form: Form, dataset: LawDataset, left: Sequence[Observation]) -> str | None:
    """Return why the remaining observations do not determine a form, None if they do."""
    count = len({observation.at for observation in left})
    what = f"{FORM_NOUNS[form.name]} takes"
    if len(dataset.axes) == 1:
        return f"{format_count(dataset.axes[0], count)} left; {what} {form.size}" if count < form.size else None
    least = (
        MIN_AXIS_VALUES if form is ADDITIVE else MIN_AXIS_VALUES - 1
    )  # the additive law's exponents each see one axis alone
    for axis, values in zip(dataset.axes, _count_axis_values(left), strict=True):
        if values < least:
            return f"{format_count(axis, values)} left; {what} {least}"
    return f"{count} observations left; {what} {form.size}" if count < form.size else None


def _count_axis_values(observations: Sequence[Observation]) -> list[int]:
    return [len(set(values)) for values in zip(*(observation.at for observation in observations), strict=True)]
