"""How soon a run comes near its final score, measured from the baseline."""

from functools import partial

import numpy as np
import pytest

from pipeline.metrics import registry
from pipeline.training.learning_curves import CurvePoint, compute_baseline, compute_convergence


@pytest.mark.parametrize(
    ("values", "steps"),
    [([0.5, 0.94, 0.95, 1.0], 30), ([0.5, 0.97, 0.5, 1.0], 20), ([0.9, 0.9, 0.9, 0.9], 10), ([0.1, 0.2, 0.3, 0.9], 40)],
)
def test_from_a_baseline_of_zero_the_first_point_with_95_percent_of_the_end_counts(
    values: list[float], steps: int
) -> None:
    curve = [CurvePoint(score, 10 * i, 80 * i, 0.5 * i, 1e6 * i) for i, score in enumerate(values, start=1)]
    assert compute_convergence(curve, [0.95], 0.0) == {
        "steps_to_95pct": steps, "examples_to_95pct": 8 * steps, "seconds_to_95pct": steps / 20,
        "flops_to_95pct": 1e5 * steps,
    }  # fmt: skip


def test_every_fraction_has_its_percentage_in_the_key() -> None:
    curve = [CurvePoint(score, i, i, i) for i, score in enumerate([0.5, 0.9, 0.995, 1.0], start=1)]
    found = compute_convergence(curve, [0.5, 0.9, 0.995, 1], 0.0)
    assert {key: value for key, value in found.items() if key.startswith("steps")} == {
        "steps_to_50pct": 1, "steps_to_90pct": 2, "steps_to_99.5pct": 3, "steps_to_100pct": 4,
    }  # fmt: skip
    assert not [key for key in found if key.startswith("flops")]  # unknown for this family


def test_a_score_at_the_baseline_has_converged_by_nothing() -> None:
    """From 68 to 72, half of the way is 70; half of 72 was reached without learning."""
    curve = [CurvePoint(score, i, i, i) for i, score in enumerate([0.68, 0.69, 0.7, 0.72], start=1)]
    assert compute_convergence(curve, [0.5, 1.0], 0.68) == {
        "steps_to_50pct": 3, "examples_to_50pct": 3, "seconds_to_50pct": 3,
        "steps_to_100pct": 4, "examples_to_100pct": 4, "seconds_to_100pct": 4,
    }  # fmt: skip


@pytest.mark.parametrize(("final", "baseline"), [(0.0, 0.0), (-0.1, 0.0), (0.68, 0.68), (0.6, 0.68)])
def test_a_run_that_ends_at_its_baseline_or_below_has_not_converged(final: float, baseline: float) -> None:
    curve = [CurvePoint(0.9, 10, 80, 0.5, 1e6), CurvePoint(final, 20, 160, 1.0, 2e6)]
    assert set(compute_convergence(curve, [0.9, 0.95], baseline).values()) == {None}


@pytest.mark.parametrize(("metric", "baseline"), [("accuracy", 0.7), ("f1", 0.6 / 1.3), ("matthews_correlation", 0.0)])
def test_the_baseline_of_a_metric_is_its_best_constant_prediction(metric: str, baseline: float) -> None:
    labels = np.array([0] * 7 + [1] * 3)
    judge = partial(registry.judge, metrics=[metric])
    assert compute_baseline(judge, labels, metric) == pytest.approx(baseline)


def test_the_baseline_of_a_regression_is_no_correlation() -> None:
    judge = partial(registry.judge, metrics=["pearson"])
    assert compute_baseline(judge, np.array([1.0, 2.0, 4.0]), "pearson") == 0
