import numpy as np
import pytest

from pipeline.analysis.laws.forms import ADDITIVE, BY_AXES, FLOOR, MULTIPLICATIVE, POWER, Form
from tests.analysis.laws.truth import Truth

FORMS = (POWER, FLOOR, ADDITIVE, MULTIPLICATIVE)
STEP = 1e-6


def example(form: Form) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    return random.uniform(0.2, 1.5, (3, form.size)), random.normal(0, 1.5, (5, len(form.exponents)))


@pytest.mark.parametrize(
    ("form", "formula"),
    [
        (POWER, "A / N^α"),
        (FLOOR, "E + A / N^α"),
        (ADDITIVE, "E + A / N^α + B / D^β"),
        (MULTIPLICATIVE, "E + A / (N^α D^β)"),
    ],
)
def test_a_form_is_written_as_in_its_paper(form: Form, formula: str) -> None:
    assert form.format_formula(("N", "D")[: len(form.exponents)]) == formula


@pytest.mark.parametrize("form", FORMS)
def test_values_are_those_of_the_formula_by_hand(form: Form) -> None:
    theta, logs = example(form)
    by_hand = [
        [Truth(form, tuple(one[place] for place in form.get_display_order()), ()).value(np.exp(at)) for at in logs]
        for one in theta
    ]
    assert form.compute_values(theta, logs) == pytest.approx(np.array(by_hand))


@pytest.mark.parametrize("form", FORMS)
def test_derivatives_are_those_of_finite_differences(form: Form) -> None:
    theta, logs = example(form)
    values, derivatives = form.compute_derivatives(theta, logs)
    assert values == pytest.approx(form.compute_values(theta, logs))
    for place in range(form.size):
        step = STEP * np.eye(form.size)[place]
        difference = (form.compute_values(theta + step, logs) - form.compute_values(theta - step, logs)) / (2 * STEP)
        assert derivatives[:, :, place] == pytest.approx(difference, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_slopes_are_those_of_finite_differences(form: Form) -> None:
    theta, logs = example(form)
    for axis in range(len(form.exponents)):
        step = STEP * np.eye(len(form.exponents))[axis]
        difference = (form.compute_values(theta, logs + step) - form.compute_values(theta, logs - step)) / (2 * STEP)
        assert form.compute_slopes(theta, logs, axis) == pytest.approx(difference, rel=1e-6, abs=1e-9)


def test_every_form_has_one_exponent_for_each_axis() -> None:
    assert all(len(form.exponents) == axes for axes, forms in BY_AXES.items() for form in forms)
