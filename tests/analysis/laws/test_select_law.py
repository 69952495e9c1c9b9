import numpy as np
import pytest

from pipeline.analysis.laws import Cell, Measured, Question, of_task, study
from pipeline.analysis.laws.datasets import front
from tests.analysis.laws import truth

SIZE = Question("task", "loss", ("parameters",), "most data")
DATA = Question("task", "error", ("train_examples",), "largest model")
COMPUTE = Question("task", "loss", ("train_flops",), "front of compute")
JOINT = Question("task", "loss", ("parameters", "train_examples"), "all sizes and data")
FLOOR = "a power law with a floor has 3 parameters and takes 4 to be tested"


def line(count: int, seeds: int = 3, noise: float = 0.01) -> list[Measured]:
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
def test_too_few_places_are_refused_with_the_reason(question: Question, count: int, refused: dict[str, str]) -> None:
    found = study(question, line(count))
    assert found.refused == refused
    assert (found.law is None) == (len(refused) == 2)


@pytest.mark.parametrize(
    ("sizes", "amounts", "additive"),
    [(2, 5, "2 sizes; the additive law takes 3"), (4, 1, "1 amount of data; the additive law takes 3")],
)
def test_too_small_a_grid_is_refused_for_a_joint_law(sizes: int, amounts: int, additive: str) -> None:
    found = study(JOINT, truth.additive(sizes, amounts).table(0.01, 3, np.random.default_rng(0)))
    assert found.refused == {"additive": additive, "multiplicative": additive.replace("additive", "multiplicative")}
    assert found.law is None


def test_a_grid_with_holes_needs_more_places_than_parameters() -> None:
    grid = truth.additive(3, 3).table(0.01, 3, np.random.default_rng(0))
    found = study(JOINT, [grid[place] for place in (0, 1, 4, 6, 8)])
    assert found.refused == {"additive": "5 places; the additive law has 5 parameters and takes 6 to be tested"}
    assert found.law is not None
    assert found.law.form == "multiplicative"


@pytest.mark.parametrize("value", [0.0, -0.1, float("nan"), float("inf")])
def test_values_without_a_logarithm_are_refused(value: float) -> None:
    points = [*line(4), Measured("perfect", (9e6,), (0.1, value))]
    why = f"perfect has loss {value:g}; a law is fitted to logarithms, so values must be above 0 and finite"
    found = study(SIZE, points)
    assert found.refused == {"power": why, "power with floor": why}
    assert (found.law, found.others, found.held_out, found.varies) == (None, (), (), None)


def test_a_place_at_nought_is_refused() -> None:
    why = "none stands at 0 or nowhere on an axis, and a law takes places above 0"
    assert study(SIZE, [*line(4), Measured("none", (0.0,), (0.1,))]).refused["power"] == why


def test_a_question_without_places_is_refused() -> None:
    assert study(SIZE, []).refused == dict.fromkeys(("power", "power with floor"), "no place is measured")


def test_three_sizes_are_held_out_though_the_law_then_only_joins_two() -> None:
    (held,) = study(SIZE, line(3)).held_out
    assert set(held.predicted) == {"power", "line", "constant"}
    assert held.refused == {}


def test_the_law_with_least_held_out_error_is_chosen_and_others_are_kept() -> None:
    found = study(SIZE, truth.floor(8).table(0.003, 3, np.random.default_rng(1)))
    assert found.law is not None
    assert found.law.form == "power with floor"
    assert [one.form for one in found.others] == ["power"]
    assert found.error("power with floor") == found.held_out[0].predicted["power with floor"].error
    assert found.error("power with floor") < found.error("power")  # type: ignore[operator]


def test_two_forms_that_predict_the_same_leave_the_one_with_fewest_parameters() -> None:
    """Where the floor is fitted at 0 both are one curve."""
    steep = [Measured(f"{n}", (n,), (n**-0.5 * (2 - 0.1 * np.log(n)),)) for n in (10.0, 100.0, 1e3, 1e4, 1e5)]
    found = study(SIZE, steep)
    assert found.error("power") == pytest.approx(found.error("power with floor"), abs=1e-6)
    assert found.law is not None
    assert found.law.form == "power"


def test_a_baseline_that_predicts_better_is_named() -> None:
    up_and_down = [Measured(f"{n}", (n,), (value,)) for n, value in ((1.0, 0.6), (2.0, 0.4), (4.0, 0.3), (8.0, 0.44))]
    assert study(SIZE, up_and_down).beaten_by == ("constant",)


def test_laws_are_compared_on_what_all_of_them_predicted() -> None:
    found = study(JOINT, truth.additive(4, 3).table(0.02, 3, np.random.default_rng(0)))
    by_size, by_data = found.held_out
    assert "additive" in by_size.predicted
    assert "additive" not in by_data.predicted
    assert found.error("multiplicative") == by_size.predicted["multiplicative"].error


def test_places_that_differ_no_more_than_their_seeds_determine_nothing() -> None:
    random = np.random.default_rng(1)
    flat = [Measured(f"{n}", at, tuple(random.normal(0.5, 0.02, 3))) for n, at in enumerate(truth.line(5))]
    found = study(SIZE, flat)
    assert found.varies is not None
    assert found.varies > 0.05
    assert found.law is not None
    assert not any(one.determined for known in (found.law, *found.others) for one in known.parameters)


def cells(families: tuple[str, ...] = ("pretrained",)) -> list[Cell]:
    """Four sizes by three amounts of data in each family; fresh ones are ten times worse."""
    known, random = truth.additive(4, 3), np.random.default_rng(0)
    return [
        Cell(
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
    found = of_task("swap", cells())
    loss = [one for one in found if one.question.target == "loss"]
    error = [one for one in found if one.question.target == "error"]
    assert [(one.question.axes, one.question.condition, len(one.points)) for one in loss] == [
        (("parameters_non_embedding",), "most data", 4),
        (("parameters",), "most data", 4),
        (("train_examples",), "largest model", 3),
        (("train_flops",), "front of compute", len(loss[3].points)),
        (("parameters_non_embedding", "train_examples"), "all sizes and data", 12),
    ]
    assert [one.question.axes for one in error] == [one.question.axes for one in loss]
    assert {one.question.task for one in found} == {"swap"}
    assert {point.at[0] for point in loss[1].points} == {2 * point.at[0] for point in loss[0].points}


def test_a_law_is_one_of_pretrained_models_alone() -> None:
    mixed, alone = of_task("swap", cells(("pretrained", "fresh"))), of_task("swap", cells())
    assert [one.points for one in mixed] == [one.points for one in alone]


def test_cells_without_a_number_are_left_out_of_its_question() -> None:
    known = cells()
    holes = [Cell(one.cell, one.family, one.sizes, one.examples, None, (), one.errors) for one in known]
    found = of_task("swap", holes)
    assert [len(one.points) for one in found[:5]] == [0] * 5
    assert found[8].refused["power"] == "no place is measured"
    assert len(found[9].points) == 12


def test_a_task_without_results_refuses_every_question() -> None:
    assert all(one.law is None for one in of_task("swap", []))


def test_the_front_keeps_what_no_cheaper_place_beats() -> None:
    table = {10.0: 0.6, 20.0: 0.65, 30.0: 0.5, 30.5: 0.5, 40.0: 0.4, 50.0: 0.45}
    points = [Measured(f"{at:g}", (at,), (value,)) for at, value in reversed(table.items())]
    by_hand = [
        point for point in points
        if all(other.mean > point.mean for other in points if other.at[0] < point.at[0])
    ]  # fmt: skip
    assert [point.cell for point in front(points)] == ["10", "30", "40"]
    assert set(front(points)) == set(by_hand)


def test_of_two_places_of_one_cost_the_front_keeps_the_lower() -> None:
    points = [Measured("high", (10.0,), (0.6,)), Measured("low", (10.0,), (0.5,))]
    assert [point.cell for point in front(points)] == ["low"]


def test_places_that_are_all_the_same_determine_nothing() -> None:
    """As models do that all give one answer: the misses are rounding, and a law of them would look certain."""
    collapsed = [Measured(f"c{place}", (10.0**place,), (0.19,) * 3) for place in range(4)]
    found = study(SIZE, collapsed)
    assert found.law is not None
    assert not any(one.determined for law in (found.law, *found.others) for one in law.parameters)


@pytest.mark.parametrize("values", [(1.0, 0.4, 1.0), (1.2, 0.01, 0.6)])
def test_three_places_far_from_any_law_have_intervals_without_overflow(values: tuple[float, ...]) -> None:
    """One degree of freedom: some draws of the noise are thousands of times as large as what was measured."""
    wild = [Measured(f"c{place}", (10.0**place,), (value, value * 1.1)) for place, value in enumerate(values)]
    found = study(SIZE, wild)
    assert found.law is not None
    assert all(np.isfinite(end).all() for end in found.law.band([[1.0], [1000.0]]))
    assert all(np.isfinite(end).all() for end in found.law.measured([[1.0], [1000.0]], [2, 2]))
    assert not any(one.determined for one in found.law.parameters)


def test_the_nested_error_is_of_the_form_that_the_other_places_choose() -> None:
    """Four sizes choose the floor by the largest; the other three know only the power law."""
    found = study(SIZE, truth.floor(4).table(0.003, 3, np.random.default_rng(1)))
    assert found.law is not None
    assert (found.law.form, [held.chosen for held in found.held_out]) == ("power with floor", ["power"])
    assert found.nested_error == found.error("power") > found.error("power with floor")  # type: ignore[operator]


def test_the_nested_error_is_that_of_the_law_where_there_is_no_choice() -> None:
    found = study(SIZE, line(3))
    assert found.nested_error == found.error("power")


def test_the_nested_error_of_a_joint_law_averages_the_same_hold_outs_as_the_others() -> None:
    found = study(JOINT, truth.additive(5, 5).table(0.005, 3, np.random.default_rng(5)))
    errors = [held.errors[held.chosen] for held in found.held_out if held.chosen]
    assert len(errors) == 2
    assert found.nested_error == pytest.approx(np.mean(errors))


def test_without_places_to_hold_out_there_is_no_nested_error() -> None:
    assert study(SIZE, []).nested_error is None
    two = [Measured(f"{n}", (n, d), (0.5,)) for n, d in ((1.0, 1.0), (2.0, 2.0))]
    assert study(JOINT, two).nested_error is None


def test_a_choice_among_noise_reports_too_small_an_error_unless_it_is_nested() -> None:
    """The largest size is measured again: the reported error must be as large, on average, as the error then."""
    random, known = np.random.default_rng(2), truth.power(5)
    reported, nested, again = [], [], []
    for _ in range(60):
        found = study(SIZE, known.table(0.1, 1, random))
        (held,) = found.held_out
        (new,) = known.measure(held.at[0], 0.1, 1, random)
        assert found.law is not None
        reported.append(found.error(found.law.form))
        nested.append(found.nested_error)
        again.append(abs(held.predicted[held.chosen or ""].values[0] / new - 1))
    assert np.mean(reported) < 0.9 * np.mean(again)
    assert np.mean(nested) == pytest.approx(np.mean(again), rel=0.25)
