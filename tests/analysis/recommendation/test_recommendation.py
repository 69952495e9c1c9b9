"""The answer for a task: the cell, what more would buy, and the runs that it rests on."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.analysis import comparison
from pipeline.analysis.comparison import TaskComparison
from pipeline.analysis.recommendation import recommendation, select
from pipeline.analysis.recommendation.limits import Candidate
from pipeline.analysis.recommendation.marginal_gains import LawPosition
from pipeline.analysis.statistics import cross_fitting
from pipeline.plan.budget import Budget
from tests.analysis.test_comparison import BESIDE, MODELS, TEACHER, grid, measured


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> TaskComparison:
    folder = tmp_path_factory.mktemp("plan")
    return comparison.compare_trials(measured(folder, [*grid(), *BESIDE], small8="train_seconds"), ["error"]).tasks[0]


def cost(task: TaskComparison, cell: str, key: str) -> float:
    values = task.get_result(cell).costs[key]
    return sum(values) / len(values)


def test_the_recommended_cell_is_the_best_of_those_that_keep_the_limits(task: TaskComparison) -> None:
    cells = [result.point.cell for result in task.results]
    for limit in (5e6, 2e7, 6e7, 2e8):
        choice = recommendation.recommend_cell(task, Budget(storage_bytes=limit)).choice
        fitting = [
            cell
            for cell in cells
            if cost(task, cell, "storage_bytes") <= limit and task.samples.get_interval(cell)[0] > choice.baseline
        ]
        assert choice.fitting == len(fitting)
        if fitting:
            assert choice.recommended is not None
            assert choice.recommended.name in fitting
            assert choice.recommended.score == max(map(task.samples.get_score, fitting))


@pytest.mark.parametrize("budget", [Budget(), Budget(storage_bytes=2e8), Budget(score=0.6)])
def test_the_recommended_score_is_corrected_for_the_choice_among_the_cells_that_fit(
    task: TaskComparison, budget: Budget
) -> None:
    choice = recommendation.recommend_cell(task, budget).choice
    pick, expected = choice.recommended, choice.corrected_score
    assert pick is not None
    assert expected is not None
    assert pick.low is not None
    assert pick.high is not None
    assert expected.low <= min(expected.score, pick.score) <= max(expected.score, pick.score) <= expected.high
    assert expected.high - expected.low >= pick.high - pick.low - 1e-9
    assert sum(expected.choices.values()) == pytest.approx(1)
    labels = {pick.label, *(one.cell.label for one in choice.alternatives)}
    assert choice.budget.score is not None or set(expected.choices) <= labels


@pytest.mark.parametrize("budget", [Budget(), Budget(storage_bytes=2e8), Budget(score=0.6), Budget(score=0.8)])
def test_cross_fitting_repeats_the_rule_of_the_recommendation(task: TaskComparison, budget: Budget) -> None:
    candidates = [Candidate(result.point.cell, "", result.costs) for result in task.results]
    choice = select.select_cell(candidates, budget, task.samples, task.pairwise_tests)
    eligible = select.find_eligible(candidates, budget, task.samples)
    answers = {one.name: one for one in task.scores.predictions}
    rule = cross_fitting.build_rule([one.get_ranking_costs() for one in eligible], budget.score)
    fitted = cross_fitting.cross_fit_score([answers[one.name] for one in eligible], rule)
    assert choice.recommended is not None
    assert (fitted.name, fitted.measured) == (choice.recommended.name, pytest.approx(choice.recommended.score))


def test_one_seed_corrects_nothing(tmp_path: Path) -> None:
    trials = [trial for trial in measured(tmp_path, grid(MODELS)) if trial.seed == 0]
    choice = recommendation.recommend_cell(comparison.compare_trials(trials, ["error"]).tasks[0], Budget()).choice
    assert choice.recommended is not None
    assert (choice.recommended.low, choice.corrected_score, choice.has_repeated_seeds) == (None, None, False)


def test_the_answer_rests_on_all_that_its_cells_were_made_of(task: TaskComparison) -> None:
    picked = recommendation.recommend_cell(task, Budget(train_examples=1))
    assert picked.choice.recommended is None
    chain = [*recommendation._list_ancestors(task, "compress/small8")]
    assert chain == ["compress/small8", "compress/narrow", "distill/taught", TEACHER]
    assert set(picked.support) == {task.get_result(picked.choice.nearest.name).point.producer}  # type: ignore[union-attr]


def test_the_warnings_of_the_cells_that_an_answer_names_are_part_of_it(task: TaskComparison) -> None:
    plain = recommendation.recommend_cell(task, Budget())
    assert plain.warnings == ()
    best, other = plain.choice.recommended, select.find_alternative(plain.choice)
    assert best is not None
    assert other is not None
    second = other.cell
    for number, result in enumerate(task.results):
        sentences = ["Rows leak."] if result.point.cell in (best.name, second.name) else [f"Other {number}."]
        for trial in result.trials:
            trial.numbers["warnings"] = sentences
    found = recommendation.recommend_cell(task, Budget())
    for result in task.results:
        for trial in result.trials:
            del trial.numbers["warnings"]
    assert found.warnings[0] == f"Warning ({best.label}; {second.label}): Rows leak."
    assert len(found.warnings) <= 2
    assert found.lines == (*found.sentences, *found.warnings)


def law(*axes: str, determined: str) -> Any:
    """Return a finding whose law determines the exponents that are named."""
    exponents = ("α", "β")[: len(axes)]
    known = [SimpleNamespace(name=name, low=0.0, high=2.5, determined=name in determined) for name in exponents]
    fitted = SimpleNamespace(parameters=known, shape=SimpleNamespace(exponents=exponents))
    return SimpleNamespace(dataset=SimpleNamespace(axes=axes), law=fitted, refusals={}, is_flat=False)


def test_what_more_would_buy_is_told_by_the_law_of_size_and_data_together_where_it_tells_the_axis(
    task: TaskComparison,
) -> None:
    size, data = "parameters_non_embedding", "train_examples"
    start = task.get_result("mrpc-bert-mini-0.3-standard")
    at = (start.get_mean(size), start.get_mean(data))
    one, both = law(data, determined="α"), law(size, data, determined="αβ")
    assert recommendation._find_law_position([one, both], data, start) == LawPosition(both.law, at, 1)  # type: ignore[arg-type]
    assert recommendation._find_law_position([one, both], size, start) == LawPosition(both.law, at, 0)  # type: ignore[arg-type]
    half = law(size, data, determined="α")
    assert recommendation._find_law_position([one, half], data, start) == LawPosition(one.law, (start.get_mean(data),))  # type: ignore[arg-type]
    neither = recommendation._find_law_position([law(data, determined=""), half], data, start)
    assert neither == LawPosition(None, why_not="the exponent of its law is undetermined (0 to 2.5)")
    assert recommendation._find_law_position([one], size, start).why_not == (
        "no law of the error against parameters_non_embedding was fitted"
    )


def test_a_compression_stands_where_the_model_stands_that_it_was_made_from(task: TaskComparison) -> None:
    assert recommendation._find_start(task, task.get_result("small8")).point.cell == "mrpc-bert-tiny-1.0-standard"
    assert (
        recommendation._find_start(task, task.get_result("mrpc-bert-mini-0.3-standard")).point.cell
        == "mrpc-bert-mini-0.3-standard"
    )


def test_no_law_is_told_with_its_reason(tmp_path: Path) -> None:
    few = comparison.compare_trials(measured(tmp_path, grid(["bert-tiny", "bert-mini"])), ["error"]).tasks[0]
    (gain,) = recommendation.recommend_cell(few, Budget(storage_bytes=1e9)).gains
    assert gain.value is None
    assert gain.why_not == "2 sizes; a power law has 2 parameters and takes 3 to be tested"


def test_places_that_do_not_differ_are_told_as_such(tmp_path: Path) -> None:
    trials = measured(tmp_path, grid(MODELS))
    same = [replace(trial, numbers={**trial.numbers, "score": trials[0].numbers["score"]}) for trial in trials]
    (gain,) = recommendation.recommend_cell(
        comparison.compare_trials(same, ["error"]).tasks[0], Budget(storage_bytes=1e9)
    ).gains
    assert gain.why_not == "the places of its law differ by no more than their seeds do"


def test_where_nothing_works_the_laws_say_what_would(tmp_path: Path) -> None:
    trials = measured(tmp_path, grid(MODELS))
    raised = [replace(trial, numbers={**trial.numbers, "majority_score": 0.97}) for trial in trials]
    found = comparison.compare_trials(raised, ["error"]).tasks[0]
    answer = recommendation.recommend_cell(found, Budget())
    assert answer.choice.recommended is None
    assert answer.sentences[0] == "Nothing works yet for mrpc: no cell scores clearly above a constant answer."
    assert answer.sentences[2].startswith(("By the law of ", "The laws do not determine what would help: "))
    assert answer.support == (found.get_result(answer.choice.strongest.name).point.producer,)  # type: ignore[union-attr]


def test_cells_of_two_machines_are_named_with_the_answer(task: TaskComparison) -> None:
    plain = recommendation.recommend_cell(task, Budget())
    best = plain.choice.recommended
    assert best is not None
    results = tuple(
        replace(result, trials=tuple(replace(trial, machine="another") for trial in result.trials))
        if result.point.cell == best.name
        else result
        for result in task.results
    )
    found = recommendation.recommend_cell(replace(task, results=results), Budget())
    assert ", so its times are not compared" in found.warnings[0]
    assert "its times are from another machine" in found.sentences[2]


def test_a_busy_machine_does_not_choose_between_cells_that_compute_the_same(tmp_path: Path) -> None:
    """The dense cell was measured on a busy machine at 9 ms, its sparse copy at 2 ms; the truth is one number."""
    dense = grid(["bert-small"])[-1]
    others = [point for point in grid(["bert-small"]) if point != dense]
    sparse = replace(BESIDE[-1], cell="sparse", model="bert-small", source=dense.producer, method="magnitude")
    counted = {"inference_flops": 1e9, "training_flops": 3e9, "activation_bytes": 1e6}
    trials = [
        replace(trial, numbers={**trial.numbers, **counted, "latency_p50_ms": 9.0 if trial.point == dense else 2.0})
        for trial in measured(tmp_path, [*others, dense, sparse])
    ]
    found = recommendation.recommend_cell(
        comparison.compare_trials(trials, ["error"]).tasks[0], Budget(latency_p50_ms=3)
    )
    assert found.choice.recommended is not None
    assert found.choice.recommended.latency_p50_ms == pytest.approx(2.0)
    assert found.choice.fitting == len({trial.point.cell for trial in trials})
    assert found.choice.excluded is None
