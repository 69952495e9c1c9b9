"""The largest places held out and predicted from the others, beside a straight line and a constant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.analysis.laws import eligibility, law, noise
from pipeline.analysis.laws.forms import Form
from pipeline.analysis.laws.law_types import Floats, LawDataset, Observation

BASELINES = ("line", "constant")


@dataclass(frozen=True)
class HoldoutPrediction:
    """What was predicted of each held-out cell, and the 95% interval of what its seeds' mean would then be.

    ``error`` is the mean over cells of |predicted / measured - 1|. Ends are 0 and infinite where nothing tells them.
    """

    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    error: float


@dataclass(frozen=True)
class Holdout:
    """The cells at the largest value of ``axis``, what they measured, and what each form and baseline predicted.

    ``refused`` gives for each other form why the places that are left do not settle it. ``chosen`` is the form that
    these places alone would have chosen, None where all are refused.
    """

    axis: str
    cells: tuple[str, ...]
    at: tuple[tuple[float, ...], ...]
    truth: tuple[float, ...]
    predictions: Mapping[str, HoldoutPrediction]
    refusals: Mapping[str, str] = field(default_factory=dict)
    chosen_form: str | None = None

    @property
    def errors(self) -> dict[str, float]:
        """Return the error of each form and baseline that predicted these cells."""
        return {name: predicted.error for name, predicted in self.predictions.items()}


def evaluate_holdout(
    question: LawDataset, axis: int, points: Sequence[Observation], forms: Sequence[Form]
) -> Holdout | None:
    """Return how well the forms predict the largest places of an axis, None where two other places do not remain."""
    left, out = _split_largest(axis, points)
    if not left:
        return None
    refused = {form.name: why for form in forms if (why := eligibility.check_holdout(form, question, left))}
    predicted = {form.name: _predict_by_law(form, question, left, out) for form in forms if form.name not in refused}
    predicted |= {baseline: _predict_by_baseline(baseline, left, out) for baseline in BASELINES}
    return Holdout(
        question.axes[axis],
        tuple(point.cell for point in out),
        tuple(point.at for point in out),
        tuple(point.mean for point in out),
        predicted,
        refused,
        _select_form_within(question, left, [form for form in forms if form.name not in refused]),
    )


def select_form(forms: Sequence[Form], errors: Sequence[Mapping[str, float]]) -> Form:
    """Return the form with the least mean error over hold-outs; among equals the one with fewest parameters."""
    names = [form.name for form in forms]
    return min(forms, key=lambda form: (_round_error(compute_error(form.name, names, errors)), form.size))


def compute_error(name: str, forms: Sequence[str], errors: Sequence[Mapping[str, float]]) -> float | None:
    """Return the mean error of a form or baseline over the hold-outs in which all forms took part.

    ``errors`` holds one mapping from names to errors for each hold-out. A form that took part in none does not count.
    """
    able = {form for form in forms if any(form in one for one in errors)}
    known = [one[name] for one in errors if able and able <= one.keys() and name in one]
    return sum(known) / len(known) if known else None


def _round_error(error: float | None) -> float:
    """Round an error to hundredths of a percent, so that two forms that fitted the same curve tie."""
    return float("inf") if error is None else round(error, 4)


def _split_largest(axis: int, points: Sequence[Observation]) -> tuple[list[Observation], list[Observation]]:
    """Return the places below the largest of an axis, none where they are at fewer than two others, and the largest."""
    largest = max(point.at[axis] for point in points)
    left = [point for point in points if point.at[axis] < largest]
    out = [point for point in points if point.at[axis] == largest]
    return (left if len({point.at[axis] for point in left}) > 1 else []), out


def _select_form_within(question: LawDataset, points: Sequence[Observation], forms: Sequence[Form]) -> str | None:
    """Return the form that ``points`` alone choose by holding out the largest of them, without intervals."""
    if len(forms) < 2:
        return forms[0].name if forms else None
    errors = []
    for axis in range(len(question.axes)):
        left, out = _split_largest(axis, points)
        able = [form for form in forms if left and not eligibility.check_holdout(form, question, left)]
        at = [point.at for point in out]
        errors.append(
            {form.name: _compute_relative_error(law.predict_without_intervals(form, left, at), out) for form in able}
        )
    return select_form(forms, errors).name


def _predict_by_law(
    form: Form, question: LawDataset, left: Sequence[Observation], out: Sequence[Observation]
) -> HoldoutPrediction:
    fitted = law.fit_law(form, left, law.get_symbols(question))
    at = np.array([point.at for point in out])
    low, high = fitted.predict_mean_interval(at, [len(point.values) for point in out])
    return _build_prediction(fitted.predict(at), low, high, out)


def _predict_by_baseline(baseline: str, left: Sequence[Observation], out: Sequence[Observation]) -> HoldoutPrediction:
    """Return what a constant, or the value itself as a straight line in the logarithms of the axes, predicts.

    Weighted least squares with the laws' weights; intervals by Student's t, with the laws' scale of the noise.
    """
    from scipy import stats

    design, wanted = _build_design(baseline, left), np.array([point.mean for point in left])
    spread = noise.estimate_seed_noise(left)
    weights = 1 / (wanted * spread.of_means)
    solved = np.linalg.pinv(design * weights[:, None])
    line = solved @ (wanted * weights)
    size = noise.estimate_noise_scale((design @ line - wanted) * weights, np.inf, design.shape[1], spread.degrees)
    new = _build_design(baseline, out)
    values = new @ line
    if not size.degrees:
        return _build_prediction(values, np.zeros(len(out)), np.full(len(out), np.inf), out)
    own = values * spread.compute_mean_spread(np.array([len(point.values) for point in out]))
    deviation = size.size * np.sqrt(((new @ solved) ** 2).sum(axis=1) + own**2)
    half = stats.t.ppf(law.INTERVAL_LEVELS[1], size.degrees) * deviation
    return _build_prediction(values, values - half, values + half, out)


def _build_design(baseline: str, points: Sequence[Observation]) -> Floats:
    logs = np.log(np.array([point.at for point in points]))
    ones = np.ones((len(points), 1))
    return np.hstack([ones, logs]) if baseline == "line" else ones


def _build_prediction(values: Floats, low: Floats, high: Floats, out: Sequence[Observation]) -> HoldoutPrediction:
    return HoldoutPrediction(
        tuple(values.tolist()), tuple(low.tolist()), tuple(high.tolist()), _compute_relative_error(values, out)
    )


def _compute_relative_error(values: Floats, out: Sequence[Observation]) -> float:
    return float(np.mean([abs(value / point.mean - 1) for value, point in zip(values, out, strict=True)]))
