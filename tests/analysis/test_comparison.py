"""What the trials of a plan say together, and what each cell has cost with all that it was made of."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.analysis import comparison
from pipeline.analysis.comparison import CellResult
from pipeline.analysis.results import trial_table
from pipeline.analysis.results.cell_table import CellCoordinates
from tests import fakes

MODELS = ("bert-tiny", "bert-mini", "bert-small", "bert-medium")
TEACHER = "finetune/mrpc-bert-small-1.0-standard"
BESIDE = [
    CellCoordinates("long", "mrpc", "bert-tiny", 1.0, "patient", "evaluate-variants@long", section="variants"),
    CellCoordinates("taught", "mrpc", "bert-tiny", 1.0, "standard", "evaluate-distill@taught",
          section="distill", source=TEACHER, method="logits"),
    CellCoordinates("narrow", "mrpc", "bert-tiny", 1.0, "standard", "evaluate-compress@narrow",
          section="compress", source="distill/taught", method="width"),
    CellCoordinates("small8", "mrpc", "bert-tiny", 1.0, "standard", "evaluate-compress@small8",
          section="compress", source="compress/narrow", method="int8-dynamic"),
]  # fmt: skip


def grid(models: Iterable[str] = (*MODELS, "bert-mini-fresh")) -> list[CellCoordinates]:
    return [
        CellCoordinates(
            f"mrpc-{model}-{ratio}-standard",
            "mrpc",
            model,
            ratio,
            "standard",
            f"evaluate@mrpc-{model}-{ratio}-standard",
        )
        for model in models
        for ratio in fakes.RATIOS
    ]


def measured(folder: Path, points: Iterable[CellCoordinates], **without: str) -> list[trial_table.TrialResult]:
    """Return the trials of cells that scored as their grid's point would; ``without`` names a key that a cell lacks."""
    known: list[dict[str, Any]] = []
    for point in (points := [*points]):
        record = fakes.evaluation(point.task, point.model, point.ratio) | {"cell": point.cell, "recipe": point.recipe}
        for trial in record["trials"]:
            trial.pop(without.get(point.cell, ""), None)
        known.append(record)
    fakes.write(folder, known)
    return trial_table.read_trials(points, folder / "metrics" / "evaluate", fakes.planned(points))


@pytest.fixture
def found(tmp_path: Path) -> dict[str, CellResult]:
    results = comparison.collect_results(measured(tmp_path, [*grid(), *BESIDE], small8="train_seconds"))
    return {result.point.cell: result for result in results}


def test_a_cell_pays_for_all_that_it_was_made_of_seed_by_seed(found: dict[str, CellResult]) -> None:
    own = {cell: result.get_values("train_seconds") for cell, result in found.items()}
    teacher = own["mrpc-bert-small-1.0-standard"]
    taught = tuple(a + b for a, b in zip(teacher, own["taught"], strict=True))
    assert found["taught"].costs["train_seconds"] == pytest.approx(taught)
    assert found["narrow"].costs["train_seconds"] == pytest.approx(
        tuple(a + b for a, b in zip(taught, own["narrow"], strict=True))
    )
    assert found["mrpc-bert-tiny-1.0-standard"].costs["train_seconds"] == own["mrpc-bert-tiny-1.0-standard"]


def test_a_compression_without_recovery_costs_no_training_of_its_own(found: dict[str, CellResult]) -> None:
    for name in ("train_seconds", "train_flops"):
        assert found["small8"].costs[name] == pytest.approx(found["narrow"].costs[name])


def test_a_cost_that_was_not_measured_is_missing(tmp_path: Path) -> None:
    (result,) = comparison.collect_results(measured(tmp_path, [grid()[0]], **{grid()[0].cell: "train_flops"}))
    assert "train_flops" not in result.costs
    assert result.get_mean("train_flops") is None
    assert result.costs["storage_bytes"] == (17_600_000.0,) * 3


def test_the_grid_is_plain_and_what_is_beside_it_or_made_anew_is_not(found: dict[str, CellResult]) -> None:
    plain = {cell for cell, result in found.items() if result.is_uncompressed}
    assert plain == {f"mrpc-{model}-{ratio}-standard" for model in MODELS for ratio in fakes.RATIOS}


def test_a_reader_is_told_what_a_cell_is() -> None:
    points = [grid()[0], grid()[2], *BESIDE]
    assert [comparison.format_label(point) for point in points] == [
        "bert-tiny on 10% of the data",
        "bert-tiny",
        "long (patient, bert-tiny)",
        "taught (logits, bert-tiny)",
        "narrow (width, bert-tiny)",
        "small8 (int8-dynamic, bert-tiny)",
    ]


def test_a_grid_of_two_recipes_has_laws_of_each_and_names_them(tmp_path: Path) -> None:
    both = [
        replace(point, cell=f"{point.cell}-{recipe}", recipe=recipe, several_recipes=True)
        for recipe in ("standard", "patient")
        for point in grid(MODELS)
    ]
    assert comparison.format_label(both[0]) == "bert-tiny, standard on 10% of the data"
    (task,) = comparison.compare_trials(measured(tmp_path, both), ["error"]).tasks
    recipes = {laws.dataset.recipe: laws for laws in task.law_selections}
    assert [*recipes] == ["standard", "patient"]
    assert {laws.dataset.where for laws in task.law_selections} >= {"most data, standard", "most data, patient"}
    for recipe, laws in recipes.items():
        assert {point.cell for point in laws.observations} == {p.cell for p in both if p.recipe == recipe}


def test_each_task_is_compared_by_itself_and_laws_are_asked_of_the_grid_alone(tmp_path: Path) -> None:
    other = [
        CellCoordinates(f"s-{p.cell}", "starter-swap", p.model, p.ratio, p.recipe, p.address) for p in grid(MODELS)
    ]
    whole = comparison.compare_trials(measured(tmp_path, [*grid(), *BESIDE, *other]), ["error"])
    assert [task.task for task in whole.tasks] == ["mrpc", "starter-swap"]
    mrpc = whole.tasks[0]
    assert {f.dataset.target for f in mrpc.law_selections} == {"error"}
    assert {point.cell for f in mrpc.law_selections for point in f.observations} <= {
        point.cell for point in grid(MODELS)
    }
    assert mrpc.pairwise_tests.names == tuple(point.cell for point in [*grid(), *BESIDE])
    assert {one.cell for one in mrpc.equal_quality_costs} >= {"taught", "narrow", "small8"}
    assert not {one.cell for one in mrpc.equal_quality_costs} & {f"mrpc-{model}-1.0-standard" for model in MODELS}
    # two metrics, so no analysis over both tasks
    assert [(found.tasks, found.metric) for found in whole.variances] == [
        (("mrpc",), "f1"), (("starter-swap",), "accuracy"),
    ]  # fmt: skip


def test_nothing_measured_is_nothing_compared() -> None:
    assert comparison.compare_trials([]) == comparison.Comparison((), ())
