from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from pipeline.analysis.laws import Law, Observation, law
from pipeline.analysis.laws.forms import ADDITIVE, FLOOR, POWER
from tests.analysis.laws import truth
from tests.analysis.laws.truth import Truth

KNOWN = [truth.power(5), truth.floor(6), truth.additive(5, 4), truth.multiplicative(4, 4)]


def fitted(known: Truth, noise: float, seeds: int, seed: int = 0) -> Law:
    return law.fit_law(known.form, known.table(noise, seeds, np.random.default_rng(seed)), known.letters)


def held(found: Law, known: Truth) -> list[bool]:
    return [one.low <= true <= one.high for one, true in zip(found.parameters, known.parameters, strict=True)]


@pytest.mark.parametrize("parameters", [truth.HOFFMANN, truth.BESIROGLU])
def test_published_coefficients_are_recovered_within_their_intervals_over_a_range_of_noise(
    parameters: tuple[float, ...],
) -> None:
    """Three tables of 64 places at each noise: of 45 intervals of 95%, seven that miss would be too many by far."""
    known = truth.published(parameters, 8, 8)
    random = np.random.default_rng(7)
    hits: list[bool] = []
    for noise in (0.001, 0.005, 0.02):
        for _ in range(3):
            found = law.fit_law(known.form, known.table(noise, 1, random), known.letters)
            hits += held(found, known)
            exponents = [found.parameters[place].value for place in (2, 4)]
            assert exponents == pytest.approx([parameters[2], parameters[4]], abs=4 * noise)
    assert found.formula == "E + A / N^α + B / D^β"
    assert [one.name for one in found.parameters] == ["E", "A", "α", "B", "β"]
    assert hits.count(False) < 7


@pytest.mark.parametrize("known", KNOWN)
def test_without_noise_the_truth_is_found_in_natural_units(known: Truth) -> None:
    found = fitted(known, 0, seeds=1)
    assert [one.value for one in found.parameters] == pytest.approx(known.parameters, rel=1e-3)
    assert found.predict(known.places) == pytest.approx([known.value(at) for at in known.places], rel=1e-6)


@pytest.mark.parametrize(("known", "seeds"), [(truth.power(3), 3), (truth.floor(4), 3), (truth.floor(8), 1)])
def test_intervals_hold_the_truth_as_often_as_they_say(known: Truth, seeds: int) -> None:
    """60 tables: 95%, give or take three standard errors of the share; benchmarks/law_coverage.py does more."""
    random = np.random.default_rng(4)
    beyond = [4 * known.places[-1][0]]
    hits = []
    for _ in range(60):
        found = law.fit_law(known.form, known.table(0.02, seeds, random), known.letters)
        low, high = found.predict_band([beyond])
        new_low, new_high = found.predict_mean_interval([beyond], [seeds])
        new = np.mean(known.measure(beyond, 0.02, seeds, random))
        hits.append([*held(found, known), low[0] <= known.value(beyond) <= high[0], new_low[0] <= new <= new_high[0]])
    assert np.mean(hits, axis=0) == pytest.approx(0.95, abs=0.085)


def test_the_intervals_of_a_straight_line_in_logarithms_are_those_of_student() -> None:
    random = np.random.default_rng(3)
    points = truth.power(8).table(0.004, 1, random)
    found = law.fit_law(POWER, points, ("N",))
    x, y = np.log([point.at[0] for point in points]), np.log([point.mean for point in points])
    line = stats.linregress(x, y)
    half = stats.t.ppf(0.975, 6) * line.stderr
    assert -found.parameters[1].value == pytest.approx(line.slope, rel=0.02)
    assert -found.parameters[1].low == pytest.approx(line.slope + half, rel=0.05)
    assert -found.parameters[1].high == pytest.approx(line.slope - half, rel=0.05)
    left = y - line.intercept - line.slope * x
    at = x.mean() + 2
    mean = np.sqrt((left @ left) / 6 * (1 / 8 + 4 / ((x - x.mean()) ** 2).sum()))
    low, high = found.predict_band([[np.exp(at)]])
    assert np.log(high[0] / low[0]) == pytest.approx(2 * stats.t.ppf(0.975, 6) * mean, rel=0.1)


@pytest.mark.parametrize("known", KNOWN)
def test_the_unit_of_size_scales_the_coefficient_and_nothing_else(known: Truth) -> None:
    points = known.table(0.01, 3, np.random.default_rng(2))
    in_thousands = [replace(point, at=(point.at[0] / 1000, *point.at[1:])) for point in points]
    found, other = (law.fit_law(known.form, table, known.letters) for table in (points, in_thousands))
    of, scaled = ({one.name: one for one in one_law.parameters} for one_law in (found, other))
    for name in of.keys() - {"A"}:
        assert (scaled[name].value, scaled[name].low, scaled[name].high) == pytest.approx(
            (of[name].value, of[name].low, of[name].high), rel=1e-3
        )
    assert scaled["A"].value == pytest.approx(of["A"].value / 1000 ** of["α"].value, rel=1e-3)
    moved = [(at[0] / 1000, *at[1:]) for at in known.places]
    assert np.array(other.predict_band(moved)) == pytest.approx(np.array(found.predict_band(known.places)), rel=1e-3)


def test_the_unit_of_the_value_scales_coefficients_and_no_exponent() -> None:
    points = truth.floor(5).table(0.02, 3, np.random.default_rng(2))
    tenfold = [replace(point, values=tuple(10 * value for value in point.values)) for point in points]
    found, other = (law.fit_law(FLOOR, table, ("N",)) for table in (points, tenfold))
    factors = [10, 10, 1]
    for one, more, factor in zip(found.parameters, other.parameters, factors, strict=True):
        assert (more.value, more.low, more.high) == pytest.approx(
            (factor * one.value, factor * one.low, factor * one.high), rel=1e-3
        )


def test_the_same_places_give_the_same_law_to_the_last_digit() -> None:
    first, second = (fitted(truth.additive(4, 3), 0.02, 3) for _ in range(2))
    assert first == second
    assert first.param_samples.tobytes() == second.param_samples.tobytes()


def test_one_gross_outlier_among_many_places_does_not_lead_the_law_away() -> None:
    known = truth.published(truth.HOFFMANN, 8, 8)
    points = known.table(0.005, 1, np.random.default_rng(6))
    points[20] = replace(points[20], values=(3 * points[20].values[0],))
    assert all(held(law.fit_law(ADDITIVE, points, ("N", "D")), known))


def test_a_wide_clean_table_determines_every_parameter() -> None:
    found = fitted(truth.published(truth.HOFFMANN), 0.002, seeds=1)
    assert all(one.determined for one in found.parameters)


def test_a_floor_far_below_three_decades_is_undetermined_and_the_exponent_is_not() -> None:
    known = Truth(FLOOR, (0.0005, 100.0, 0.5), truth.line(6, 1e4, 1e7))
    of = {one.name: one for one in fitted(known, 0.03, seeds=3).parameters}
    assert (of["E"].low, of["E"].determined) == (0, False)
    assert of["α"].determined


def test_a_flat_table_determines_no_exponent() -> None:
    random = np.random.default_rng(8)
    flat = [Observation(f"{n}", at, tuple(random.normal(0.5, 0.01, 3))) for n, at in enumerate(truth.line(5))]
    for form in (POWER, FLOOR):
        exponent = law.fit_law(form, flat, ("N",)).parameters[-1]
        assert exponent.low == pytest.approx(0, abs=0.02)
        assert not exponent.determined


def test_as_many_parameters_as_places_of_one_seed_tell_no_interval() -> None:
    found = fitted(truth.power(2), 0.01, seeds=1)
    assert [(one.low, one.high, one.determined) for one in found.parameters] == [(0, np.inf, False), (0, 5, False)]
    assert [end.tolist() for end in found.predict_band([[1e5], [1e6]])] == [[0, 0], [np.inf, np.inf]]
    assert [end.tolist() for end in found.predict_mean_interval([[1e5]], [1])] == [[0], [np.inf]]
    assert found.compute_slope([1e6], 0)[1:] == (-np.inf, 0)


@pytest.mark.parametrize("known", KNOWN)
def test_one_more_unit_buys_what_the_prediction_falls_by(known: Truth) -> None:
    found = fitted(known, 0.02, seeds=3)
    at = known.places[-1]
    for axis in range(len(at)):
        more, less = ([*at[:axis], at[axis] * factor, *at[axis + 1 :]] for factor in (1.0001, 0.9999))
        slope, low, high = found.compute_slope(at, axis)
        rise = found.predict([more])[0] - found.predict([less])[0]
        assert slope == pytest.approx(rise / (0.0002 * at[axis]), rel=1e-4)
        assert low <= slope <= high <= 0


def test_a_law_that_misses_its_places_says_how_unlikely_that_is() -> None:
    bent = Truth(FLOOR, (0.3, 4e4, 1.0), truth.line(6))
    points = bent.table(0.005, 3, np.random.default_rng(0))
    straight, right = (law.fit_law(form, points, ("N",)).agreement for form in (POWER, FLOOR))
    assert straight is not None
    assert right is not None
    assert straight < 1e-6
    assert right > 0.05


def test_a_new_mean_of_more_seeds_is_told_closer() -> None:
    found = fitted(truth.floor(6), 0.05, seeds=3)
    at = [[8e6], [8e6]]
    low, high = found.predict_mean_interval(at, [1, 9])
    band_low, band_high = found.predict_band(at)
    assert high[0] - low[0] > 1.3 * (high[1] - low[1])
    assert high[1] - low[1] > band_high[1] - band_low[1]
