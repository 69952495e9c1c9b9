"""Hold out the largest observations and predict them; baselines are a line and a constant."""

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
    """Predicted values of the held-out cells with 95% intervals of their seed means.

    ``error`` is the mean over cells of |predicted / measured - 1|. Unknown ends are 0 and infinite.
    """

    values: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    error: float


@dataclass(frozen=True)
class Holdout:
    """The cells at the largest value of ``axis``: measured values and all predictions.

    ``refusals`` gives the reason for each form that the remaining observations do not determine. ``chosen_form`` is the
    form selected from the remaining observations alone, None if all are refused.
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
        """Return the error of each form and baseline that made a prediction."""
        return {name: predicted.error for name, predicted in self.predictions.items()}


def evaluate_holdout(
    dataset: LawDataset, axis: int, observations: Sequence[Observation], forms: Sequence[Form]
) -> Holdout | None:
    """Predict the largest observations of an axis; None if fewer than two smaller values remain."""
    left, out = _split_largest(axis, observations)
    if not left:
        return None
    refused = {form.name: why for form in forms if (why := eligibility.check_holdout(form, dataset, left))}
    predicted = {form.name: _predict_by_law(form, dataset, left, out) for form in forms if form.name not in refused}
    predicted |= {baseline: _predict_by_baseline(baseline, left, out) for baseline in BASELINES}
    return Holdout(
        dataset.axes[axis],
        tuple(observation.cell for observation in out),
        tuple(observation.at for observation in out),
        tuple(observation.mean for observation in out),
        predicted,
        refused,
        _select_form_within(dataset, left, [form for form in forms if form.name not in refused]),
    )


def select_form(forms: Sequence[Form], errors: Sequence[Mapping[str, float]]) -> Form:
    """Select the form with the lowest mean error; ties go to the fewest parameters."""
    names = [form.name for form in forms]
    return min(forms, key=lambda form: (_round_error(compute_error(form.name, names, errors)), form.size))


def compute_error(name: str, forms: Sequence[str], errors: Sequence[Mapping[str, float]]) -> float | None:
    """Return the mean error of a form or baseline over comparable hold-outs.

    ``errors`` maps names to errors, one mapping per hold-out. Only hold-outs count in which all forms made a
    prediction; forms that never made one are ignored.
    """
    able = {form for form in forms if any(form in one for one in errors)}
    known = [one[name] for one in errors if able and able <= one.keys() and name in one]
    return sum(known) / len(known) if known else None


def _round_error(error: float | None) -> float:
    """Round to hundredths of a percent, so that forms with the same fitted curve tie."""
    return float("inf") if error is None else round(error, 4)


def _split_largest(axis: int, observations: Sequence[Observation]) -> tuple[list[Observation], list[Observation]]:
    """Split into observations below the largest value of an axis, and those at it.

    The first list is empty if it has fewer than two distinct values.
    """
    largest = max(observation.at[axis] for observation in observations)
    left = [observation for observation in observations if observation.at[axis] < largest]
    out = [observation for observation in observations if observation.at[axis] == largest]
    return (left if len({observation.at[axis] for observation in left}) > 1 else []), out


def _select_form_within(dataset: LawDataset, observations: Sequence[Observation], forms: Sequence[Form]) -> str | None:
    """Select a form by holding out the largest of ``observations``, without intervals."""
    if len(forms) < 2:
        return forms[0].name if forms else None
    errors = []
    for axis in range(len(dataset.axes)):
        left, out = _split_largest(axis, observations)
        able = [form for form in forms if left and not eligibility.check_holdout(form, dataset, left)]
        at = [observation.at for observation in out]
        errors.append(
            {form.name: _compute_relative_error(law.predict_without_intervals(form, left, at), out) for form in able}
        )
    return select_form(forms, errors).name


def _predict_by_law(
    form: Form, dataset: LawDataset, left: Sequence[Observation], out: Sequence[Observation]
) -> HoldoutPrediction:
    fitted = law.fit_law(form, left, law.get_symbols(dataset))
    at = np.array([observation.at for observation in out])
    low, high = fitted.predict_mean_interval(at, [len(observation.values) for observation in out])
    return _build_prediction(fitted.predict(at), low, high, out)


def _predict_by_baseline(baseline: str, left: Sequence[Observation], out: Sequence[Observation]) -> HoldoutPrediction:
    """Predict by a constant or by a straight line in the logarithms of the axes.

    Weighted least squares with the weights of the laws; Student's t intervals with the noise scale of the laws.
    """
    from scipy import stats

    design, wanted = _build_design(baseline, left), np.array([observation.mean for observation in left])
    spread = noise.estimate_seed_noise(left)
    weights = 1 / (wanted * spread.of_means)
    solved = np.linalg.pinv(design * weights[:, None])
    line = solved @ (wanted * weights)
    size = noise.estimate_noise_scale((design @ line - wanted) * weights, np.inf, design.shape[1], spread.degrees)
    new = _build_design(baseline, out)
    values = new @ line
    if not size.degrees:
        return _build_prediction(values, np.zeros(len(out)), np.full(len(out), np.inf), out)
    own = values * spread.compute_mean_spread(np.array([len(observation.values) for observation in out]))
    deviation = size.size * np.sqrt(((new @ solved) ** 2).sum(axis=1) + own**2)
    half = stats.t.ppf(law.INTERVAL_LEVELS[1], size.degrees) * deviation
    return _build_prediction(values, values - half, values + half, out)


def _build_design(baseline: str, observations: Sequence[Observation]) -> Floats:
    logs = np.log(np.array([observation.at for observation in observations]))
    ones = np.ones((len(observations), 1))
    return np.hstack([ones, logs]) if baseline == "line" else ones


def _build_prediction(values: Floats, low: Floats, high: Floats, out: Sequence[Observation]) -> HoldoutPrediction:
    return HoldoutPrediction(
        tuple(values.tolist()), tuple(low.tolist()), tuple(high.tolist()), _compute_relative_error(values, out)
    )


def _compute_relative_error(values: Floats, out: Sequence[Observation]) -> float:
    return float(np.mean([abs(value / observation.mean - 1) for value, observation in zip(values, out, strict=True)]))
