"""Recipes: what they count, and what they refuse before any work."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.training.recipe import Recipe, load_recipe

Make = Callable[..., Recipe]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 10}, "steps: got epochs and steps; give the budget in epochs or in steps and leave the other null"),
        ({"epochs": None}, "steps: got neither; give the budget in epochs or in steps and leave the other null"),
        ({"epochs": 0}, "epochs: got 0; give a number above 0, or null"),
        ({"epochs": None, "steps": 1.5}, "steps: got 1.5; give a whole number from 1, or null"),
        ({"learning_rate": "fast"}, "learning_rate: got 'fast'; give a number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate: got nan; give a number above 0"),
        ({"clip": -1.0}, "clip: got -1.0; give a number above 0"),
        ({"batch_size": 2.5}, "batch_size: got 2.5; give a whole number from 1"),
        ({"evaluations": True}, "evaluations: got True; give a whole number from 1"),
        ({"warmup": 1}, "warmup: got 1; give a number from 0 to below 1"),
        ({"weight_decay": -0.1}, "weight_decay: got -0.1; give a number from 0 to below 1"),
        ({"fractions": 0.9}, "fractions: got 0.9; give a list of numbers above 0 and at most 1"),
        ({"fractions": [0.9, 0]}, "fractions[1]: got 0; give a number above 0 and at most 1"),
        ({"fractions": [90]}, "fractions[0]: got 90; give a number above 0 and at most 1"),
        ({"fractions": [True]}, "fractions[0]: got True; give a number above 0 and at most 1"),
        ({"fractions": "all"}, "fractions: got 'all'; give a list of numbers above 0 and at most 1"),
        ({"fractions": [float("nan")]}, "fractions[0]: got nan; give a number above 0 and at most 1"),
    ],
)
def test_what_cannot_be_trained_with_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        load_recipe({**shipped("standard"), "learning_rate": 1e-4, **settings})
    assert str(error.value) == f"conf/recipe/standard.yaml: {message}"


def test_every_mistake_of_a_recipe_is_reported() -> None:
    with pytest.raises(UserError) as error:
        load_recipe({**shipped("standard"), "clip": 0, "warmup": 2})
    assert str(error.value).splitlines() == [
        "conf/recipe/standard.yaml: warmup: got 2; give a number from 0 to below 1",
        "conf/recipe/standard.yaml: clip: got 0; give a number above 0",
        "conf/recipe/standard.yaml: learning_rate: got '${model.learning_rate}'; give a number above 0",
    ]


def test_epochs_are_counted_in_whole_batches_the_last_one_smaller(recipe: Make) -> None:
    assert recipe(epochs=3, batch_size=16).count_steps(100) == 21
    assert recipe(epochs=0.5, batch_size=16).count_steps(100) == 4
    assert recipe(epochs=0.01, batch_size=16).count_steps(10) == 1


def test_steps_do_not_depend_on_the_rows(recipe: Make) -> None:
    assert {recipe(epochs=None, steps=600).count_steps(rows) for rows in (10, 100, 1000)} == {600}


@pytest.mark.parametrize("steps", [1, 3, 10, 11, 600])
def test_the_points_of_a_curve_are_bounded_and_end_with_the_run(recipe: Make, steps: int) -> None:
    points = recipe(epochs=None, steps=steps, evaluations=10).get_evaluation_steps(1)
    assert points == sorted(set(points))
    assert points[0] > 0
    assert points[-1] == steps
    assert len(points) == min(10, steps)


@pytest.mark.parametrize("name", sorted(path.stem for path in (paths.CONF / "recipe").glob("*.yaml")))
def test_every_shipped_recipe_can_be_trained_with(name: str) -> None:
    content = shipped(name)
    assert content["name"] == name
    assert content["learning_rate"] == "${model.learning_rate}"
    load_recipe({**content, "learning_rate": 1e-4})


def shipped(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((paths.CONF / "recipe" / f"{name}.yaml").read_text())
    return content


def test_equal_steps_are_those_of_the_standard_recipe_on_all_rows_of_the_starter() -> None:
    task = yaml.safe_load((paths.CONF / "task" / "starter-swap.yaml").read_text())
    rows = sum(task["train_counts"])
    trained_on = rows - round(rows * task["selection"]["fraction"])
    standard = load_recipe({**shipped("standard"), "learning_rate": 1e-4})
    assert shipped("equal-steps")["steps"] == standard.count_steps(trained_on)


def test_a_key_that_no_recipe_has_is_told_with_the_nearest() -> None:
    with pytest.raises(UserError) as error:
        load_recipe({**shipped("standard"), "name": "mine", "learning_rate": 1e-4, "epoch": 3})
    assert str(error.value) == (
        "conf/recipe/mine.yaml: epoch: unknown key; did you mean 'epochs'? "
        "(allowed: batch_size, clip, epochs, evaluations, fractions, learning_rate, name, steps, warmup, weight_decay)"
    )


def test_a_key_that_is_missing_is_told() -> None:
    with pytest.raises(UserError) as error:
        load_recipe({key: value for key, value in shipped("patient").items() if key not in ("steps", "learning_rate")})
    assert str(error.value).splitlines() == [
        "conf/recipe/patient.yaml: learning_rate: missing; give a number above 0",
        "conf/recipe/patient.yaml: steps: missing; give a whole number from 1, or null",
    ]
