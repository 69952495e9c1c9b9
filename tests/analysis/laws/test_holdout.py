import numpy as np
import pytest
import statsmodels.api as sm

from pipeline.analysis.laws import LawDataset, Observation, fit_laws
from pipeline.analysis.laws.forms import ADDITIVE, BY_AXES, FLOOR, MULTIPLICATIVE
from pipeline.analysis.laws.holdout import Holdout, evaluate_holdout
from tests.analysis.laws import truth
from tests.analysis.laws.truth import Truth

SIZE = LawDataset("task", "loss", ("parameters",), "most data")
JOINT = LawDataset("task", "loss", ("parameters", "train_examples"), "all sizes and data")


def held_out(known: Truth, noise: float, seeds: int, axis: int = 0, seed: int = 0) -> Holdout:
    question = SIZE if len(known.letters) == 1 else JOINT
    points = known.table(noise, seeds, np.random.default_rng(seed))
    found = evaluate_holdout(question, axis, points, BY_AXES[len(known.letters)])
    assert found is not None
    return found


def test_the_largest_places_of_an_axis_are_held_out() -> None:
    known = truth.additive(4, 3)
    points = known.table(0.02, 3, np.random.default_rng(0))
    by_size, by_data = (held_out(known, 0.02, 3, axis) for axis in (0, 1))
    assert (by_size.axis, by_data.axis) == JOINT.axes
    assert by_size.cells == tuple(point.cell for point in points[-3:])
    assert by_data.cells == tuple(point.cell for point in points[2::3])
    assert by_data.truth == tuple(point.mean for point in points[2::3])


def test_a_true_law_predicts_what_is_held_out_within_its_interval_and_better_than_the_baselines() -> None:
    held = held_out(truth.floor(8), 0.005, 3)
    found = held.predictions
    one = found["power with floor"]
    assert one.low[0] <= held.truth[0] <= one.high[0]
    assert found["power with floor"].error < 0.02 < found["line"].error < found["constant"].error


def test_the_error_is_the_mean_over_cells_relative_to_what_was_measured() -> None:
    found = held_out(truth.additive(4, 3), 0.02, 3)
    for one in found.predictions.values():
        misses = np.abs(np.array(one.values) / np.array(found.truth) - 1)
        assert one.error == pytest.approx(misses.mean())


@pytest.mark.parametrize(
    ("baseline", "known"), [("line", truth.floor(5)), ("constant", truth.floor(5)), ("line", truth.additive(4, 4))]
)
def test_a_baseline_of_one_seed_is_the_weighted_least_squares_of_statsmodels(baseline: str, known: Truth) -> None:
    points = known.table(0.03, 1, np.random.default_rng(1))
    largest = max(point.at[0] for point in points)
    left, out = ([point for point in points if (point.at[0] == largest) is last] for last in (False, True))
    y = np.array([point.mean for point in left])
    columns = [
        np.ones((len(part), 1))
        if baseline == "constant"
        else sm.add_constant(np.log([p.at for p in part]), has_constant="add")
        for part in (left, out)
    ]
    fit = sm.WLS(y, columns[0], weights=1 / y**2).fit()
    mean = fit.get_prediction(columns[1])
    spread = np.sqrt(mean.var_pred_mean + fit.mse_resid * mean.predicted_mean**2)
    found = held_out(known, 0.03, 1, seed=1).predictions[baseline]
    assert found.values == pytest.approx(mean.predicted_mean)
    quantile = 1.0 * mean.dist.ppf(0.975, *mean.dist_args)
    assert found.high == pytest.approx(mean.predicted_mean + quantile * spread)
    assert found.low == pytest.approx(mean.predicted_mean - quantile * spread)


def test_held_out_intervals_hold_what_was_measured_as_often_as_they_say() -> None:
    """80 tables of four sizes; what is left has as many places as parameters, so that seeds alone tell the noise."""
    random = np.random.default_rng(9)
    hits = []
    for _ in range(80):
        found = evaluate_holdout(SIZE, 0, truth.floor(4).table(0.02, 3, random), (FLOOR,))
        assert found is not None
        one = found.predictions["power with floor"]
        hits.append(one.low[0] <= found.truth[0] <= one.high[0])
    assert np.mean(hits) == pytest.approx(0.95, abs=0.073)


@pytest.mark.parametrize(("true", "other"), [(ADDITIVE, MULTIPLICATIVE), (MULTIPLICATIVE, ADDITIVE)])
def test_the_law_that_made_a_table_is_chosen_by_its_held_out_error(true: object, other: object) -> None:
    known = truth.additive(5, 5) if true is ADDITIVE else truth.multiplicative(5, 5)
    found = fit_laws(JOINT, known.table(0.005, 3, np.random.default_rng(5)))
    assert found.law is not None
    assert found.law.form == true.name  # type: ignore[attr-defined]
    assert [one.form for one in found.others] == [other.name]  # type: ignore[attr-defined]
    assert found.better_baselines == ()


def test_nothing_is_held_out_of_fewer_than_three_places() -> None:
    points = [Observation("a", (1e5,), (0.5, 0.6)), Observation("b", (1e6,), (0.4, 0.5))]
    assert evaluate_holdout(SIZE, 0, points, BY_AXES[1]) is None


def test_two_amounts_of_data_do_not_settle_the_additive_law() -> None:
    found = held_out(truth.additive(4, 3), 0.02, 3, axis=1)
    assert found.refusals == {"additive": "2 amounts of data left; the additive law takes 3"}
    assert set(found.predictions) == {"multiplicative", "line", "constant"}
