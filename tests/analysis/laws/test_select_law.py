import numpy as np
import pytest

from pipeline.analysis.laws import LawCell, LawDataset, Observation, fit_laws, fit_task_laws
from pipeline.analysis.laws.datasets import select_front
from tests.analysis.laws import truth

SIZE = LawDataset("task", "loss", ("parameters",), "most data")
DATA = LawDataset("task", "error", ("train_examples",), "largest model")
COMPUTE = LawDataset("task", "loss", ("train_flops",), "front of compute")
JOINT = LawDataset("task", "loss", ("parameters", "train_examples"), "all sizes and data")
FLOOR = "a power law with a floor has 3 parameters and takes 4 to be tested"


def line(count: int, seeds: int = 3, noise: float = 0.01) -> list[Observation]:
    return truth.floor(count).table(noise, seeds, np.random.default_rng(count))


@pytest.mark.parametrize(
    ("question", "count", "refused"),
    [
        (
            SIZE,
            1,
            {
                "power": "1 size; a power law has 2 parameters and takes 3 to be tested",
                "power with floor": f"1 size; {FLOOR}",
            },
        ),
        (SIZE, 3, {"power with floor": f"3 sizes; {FLOOR}"}),
        (DATA, 3, {"power with floor": f"3 amounts of data; {FLOOR}"}),
        (SIZE, 4, {}),
        (
            COMPUTE,
            3,
            dict.fromkeys(
                ("power", "power with floor"),
                "3 amounts of compute on the front of compute, each picked for being low; a law takes 4",
            ),
        ),
    ],
)
def test_too_few_places_are_refused_with_the_reason(question: LawDataset, count: int, refused: dict[str, str]) -> None:
    found = fit_laws(question, line(count))
    assert found.refusals == refused
    assert (found.law is None) == (len(refused) == 2)


@pytest.mark.parametrize(
    ("sizes", "amounts", "additive"),
    [(2, 5, "2 sizes; the additive law takes 3"), (4, 1, "1 amount of data; the additive law takes 3")],
)
def test_too_small_a_grid_is_refused_for_a_joint_law(sizes: int, amounts: int, additive: str) -> None:
    found = fit_laws(JOINT, truth.additive(sizes, amounts).table(0.01, 3, np.random.default_rng(0)))
    assert found.refusals == {"additive": additive, "multiplicative": additive.replace("additive", "multiplicative")}
    assert found.law is None


def test_a_grid_with_holes_needs_more_places_than_parameters() -> None:
    grid = truth.additive(3, 3).table(0.01, 3, np.random.default_rng(0))
    found = fit_laws(JOINT, [grid[place] for place in (0, 1, 4, 6, 8)])
    assert found.refusals == {"additive": "5 observations; the additive law has 5 parameters and takes 6 to be tested"}
    assert found.law is not None
    assert found.law.form == "multiplicative"


@pytest.mark.parametrize("value", [0.0, -0.1, float("nan"), float("inf")])
def test_values_without_a_logarithm_are_refused(value: float) -> None:
    points = [*line(4), Observation("perfect", (9e6,), (0.1, value))]
    why = f"perfect has loss {value:g}; a law is fitted to logarithms, so values must be above 0 and finite"
    found = fit_laws(SIZE, points)
    assert found.refusals == {"power": why, "power with floor": why}
    assert (found.law, found.others, found.holdouts, found.variation_p) == (None, (), (), None)


def test_a_place_at_nought_is_refused() -> None:
    why = "none is not above 0 on an axis; a law takes values above 0"
    assert fit_laws(SIZE, [*line(4), Observation("none", (0.0,), (0.1,))]).refusals["power"] == why


def test_a_question_without_places_is_refused() -> None:
    assert fit_laws(SIZE, []).refusals == dict.fromkeys(("power", "power with floor"), "no observation")


def test_three_sizes_are_held_out_though_the_law_then_only_joins_two() -> None:
    (held,) = fit_laws(SIZE, line(3)).holdouts
    assert set(held.predictions) == {"power", "line", "constant"}
    assert held.refusals == {}


def test_the_law_with_least_held_out_error_is_chosen_and_others_are_kept() -> None:
    found = fit_laws(SIZE, truth.floor(8).table(0.003, 3, np.random.default_rng(1)))
    assert found.law is not None
    assert found.law.form == "power with floor"
    assert [one.form for one in found.others] == ["power"]
    assert found.get_error("power with floor") == found.holdouts[0].predictions["power with floor"].error
    assert found.get_error("power with floor") < found.get_error("power")  # type: ignore[operator]


def test_two_forms_that_predict_the_same_leave_the_one_with_fewest_parameters() -> None:
    """Where the floor is fitted at 0 both are one curve."""
    steep = [Observation(f"{n}", (n,), (n**-0.5 * (2 - 0.1 * np.log(n)),)) for n in (10.0, 100.0, 1e3, 1e4, 1e5)]
    found = fit_laws(SIZE, steep)
    assert found.get_error("power") == pytest.approx(found.get_error("power with floor"), abs=1e-6)
    assert found.law is not None
    assert found.law.form == "power"


def test_a_baseline_that_predicts_better_is_named() -> None:
    up_and_down = [
        Observation(f"{n}", (n,), (value,)) for n, value in ((1.0, 0.6), (2.0, 0.4), (4.0, 0.3), (8.0, 0.44))
    ]
    assert fit_laws(SIZE, up_and_down).better_baselines == ("constant",)


def test_laws_are_compared_on_what_all_of_them_predicted() -> None:
    found = fit_laws(JOINT, truth.additive(4, 3).table(0.02, 3, np.random.default_rng(0)))
    by_size, by_data = found.holdouts
    assert "additive" in by_size.predictions
    assert "additive" not in by_data.predictions
    assert found.get_error("multiplicative") == by_size.predictions["multiplicative"].error


def test_places_that_differ_no_more_than_their_seeds_determine_nothing() -> None:
    random = np.random.default_rng(1)
    flat = [Observation(f"{n}", at, tuple(random.normal(0.5, 0.02, 3))) for n, at in enumerate(truth.line(5))]
    found = fit_laws(SIZE, flat)
    assert found.variation_p is not None
    assert found.variation_p > 0.05
    assert found.law is not None
    assert not any(one.determined for known in (found.law, *found.others) for one in known.parameters)


def cells(families: tuple[str, ...] = ("pretrained",)) -> list[LawCell]:
    """Four sizes by three amounts of data in each family; fresh ones are ten times worse."""
    known, random = truth.additive(4, 3), np.random.default_rng(0)
    return [
        LawCell(
            f"{family}-{n:.0f}-{d:.0f}",
            family,
            {"parameters": 2 * n, "parameters_non_embedding": n},
            d,
            6 * n * d,
            tuple((10 if family == "fresh" else 1) * np.array(known.measure((n, d), 0.01, 3, random))),
            known.measure((n, d), 0.02, 3, random) if family == "pretrained" else (),
        )
        for family in families
        for n, d in known.places
    ]


def test_a_task_is_asked_about_sizes_data_compute_and_both_together() -> None:
    found = fit_task_laws("swap", cells())
    loss = [one for one in found if one.dataset.target == "loss"]
    error = [one for one in found if one.dataset.target == "error"]
    assert [(one.dataset.axes, one.dataset.condition, len(one.observations)) for one in loss] == [
        (("parameters_non_embedding",), "most data", 4),
        (("parameters",), "most data", 4),
        (("train_examples",), "largest model", 3),
        (("train_flops",), "front of compute", len(loss[3].observations)),
        (("parameters_non_embedding", "train_examples"), "all sizes and data", 12),
    ]
    assert [one.dataset.axes for one in error] == [one.dataset.axes for one in loss]
    assert {one.dataset.task for one in found} == {"swap"}
    assert {point.at[0] for point in loss[1].observations} == {2 * point.at[0] for point in loss[0].observations}


def test_a_law_is_one_of_pretrained_models_alone() -> None:
    mixed, alone = fit_task_laws("swap", cells(("pretrained", "fresh"))), fit_task_laws("swap", cells())
    assert [one.observations for one in mixed] == [one.observations for one in alone]


def test_cells_without_a_number_are_left_out_of_its_question() -> None:
    known = cells()
    holes = [LawCell(one.cell, one.family, one.sizes, one.examples, None, (), one.errors) for one in known]
    found = fit_task_laws("swap", holes)
    assert [len(one.observations) for one in found[:5]] == [0] * 5
    assert found[8].refusals["power"] == "no observation"
    assert len(found[9].observations) == 12


def test_a_task_without_results_refuses_every_question() -> None:
    assert all(one.law is None for one in fit_task_laws("swap", []))


def test_the_front_keeps_what_no_cheaper_place_beats() -> None:
    table = {10.0: 0.6, 20.0: 0.65, 30.0: 0.5, 30.5: 0.5, 40.0: 0.4, 50.0: 0.45}
    points = [Observation(f"{at:g}", (at,), (value,)) for at, value in reversed(table.items())]
    by_hand = [
        point for point in points
        if all(other.mean > point.mean for other in points if other.at[0] < point.at[0])
    ]  # fmt: skip
    assert [point.cell for point in select_front(points)] == ["10", "30", "40"]
    assert set(select_front(points)) == set(by_hand)


def test_of_two_places_of_one_cost_the_front_keeps_the_lower() -> None:
    points = [Observation("high", (10.0,), (0.6,)), Observation("low", (10.0,), (0.5,))]
    assert [point.cell for point in select_front(points)] == ["low"]


def test_places_that_are_all_the_same_determine_nothing() -> None:
    """As models do that all give one answer: the misses are rounding, and a law of them would look certain."""
    collapsed = [Observation(f"c{place}", (10.0**place,), (0.19,) * 3) for place in range(4)]
    found = fit_laws(SIZE, collapsed)
    assert found.law is not None
    assert not any(one.determined for law in (found.law, *found.others) for one in law.parameters)


@pytest.mark.parametrize("values", [(1.0, 0.4, 1.0), (1.2, 0.01, 0.6)])
def test_three_places_far_from_any_law_have_intervals_without_overflow(values: tuple[float, ...]) -> None:
    """One degree of freedom: some draws of the noise are thousands of times as large as what was measured."""
    wild = [Observation(f"c{place}", (10.0**place,), (value, value * 1.1)) for place, value in enumerate(values)]
    found = fit_laws(SIZE, wild)
    assert found.law is not None
    assert all(np.isfinite(end).all() for end in found.law.predict_band([[1.0], [1000.0]]))
    assert all(np.isfinite(end).all() for end in found.law.predict_mean_interval([[1.0], [1000.0]], [2, 2]))
    assert not any(one.determined for one in found.law.parameters)


def test_the_nested_error_is_of_the_form_that_the_other_places_choose() -> None:
    """Four sizes choose the floor by the largest; the other three know only the power law."""
    found = fit_laws(SIZE, truth.floor(4).table(0.003, 3, np.random.default_rng(1)))
    assert found.law is not None
    assert (found.law.form, [held.chosen_form for held in found.holdouts]) == ("power with floor", ["power"])
    assert found.nested_error == found.get_error("power") > found.get_error("power with floor")  # type: ignore[operator]


def test_the_nested_error_is_that_of_the_law_where_there_is_no_choice() -> None:
    found = fit_laws(SIZE, line(3))
    assert found.nested_error == found.get_error("power")


def test_the_nested_error_of_a_joint_law_averages_the_same_hold_outs_as_the_others() -> None:
    found = fit_laws(JOINT, truth.additive(5, 5).table(0.005, 3, np.random.default_rng(5)))
    errors = [held.errors[held.chosen_form] for held in found.holdouts if held.chosen_form]
    assert len(errors) == 2
    assert found.nested_error == pytest.approx(np.mean(errors))


def test_without_places_to_hold_out_there_is_no_nested_error() -> None:
    assert fit_laws(SIZE, []).nested_error is None
    two = [Observation(f"{n}", (n, d), (0.5,)) for n, d in ((1.0, 1.0), (2.0, 2.0))]
    assert fit_laws(JOINT, two).nested_error is None


def test_a_choice_among_noise_reports_too_small_an_error_unless_it_is_nested() -> None:
    """The largest size is measured again: the reported error must be as large, on average, as the error then."""
    random, known = np.random.default_rng(2), truth.power(5)
    reported, nested, again = [], [], []
    for _ in range(60):
        found = fit_laws(SIZE, known.table(0.1, 1, random))
        (held,) = found.holdouts
        (new,) = known.measure(held.at[0], 0.1, 1, random)
        assert found.law is not None
        reported.append(found.get_error(found.law.form))
        nested.append(found.nested_error)
        again.append(abs(held.predictions[held.chosen_form or ""].values[0] / new - 1))
    assert np.mean(reported) < 0.9 * np.mean(again)
    assert np.mean(nested) == pytest.approx(np.mean(again), rel=0.25)
