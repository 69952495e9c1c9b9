import pytest

from pipeline.scaling import answer
from pipeline.scaling.gains import Gain
from tests.scaling.candidates import SCORES, THREE, cell, choose_from_single_seeds, chosen


def test_an_answer_names_the_cell_its_runner_up_and_what_more_would_buy() -> None:
    scores = {"small": 0.85, "middle": 0.848, "large": 0.95}
    found = chosen(THREE, scores, 0.01, latency_p50_ms=3, storage_bytes=5e6)
    bought = [
        Gain("latency_p50_ms", "1 ms", 0.004, 0.001, 0.02),
        Gain("storage_bytes", "1 MB", why_not="there is no law"),
    ]
    first, second, third = answer.sentences(found, bought)
    assert found.recommended is not None
    ends = f"[{100 * found.recommended.low:.1f}, {100 * found.recommended.high:.1f}]"
    assert (
        first == f"For t within 3.00 ms and 5.00 MB, the best of 2 cells: the small, F1 85.0 {ends}, 1.00 ms, 1.00 MB."
    )
    assert found.at_least_runner_up is not None
    assert second == (
        "Runner-up: the middle, 84.8, 2.00 ms, 4.00 MB; the two are not significantly different (p 0.89 over all "
        f"pairs; the first scores at least as much in {100 * found.at_least_runner_up:.0f}% of draws)."
    )
    assert third == (
        "1 ms more would buy +0.4 [+0.1, +2] points of F1; what 1 MB more would buy is not known: there is no law."
    )


def test_an_answer_without_limits_names_the_best_and_the_cheapest_that_is_not_significantly_different() -> None:
    scores = {"small": 0.849, "middle": 0.5, "large": 0.85}
    found = chosen(THREE, scores, 0.01)
    first, second = answer.sentences(found)
    assert f"% and as much as all that fit in {100 * (found.best_of_all or 0):.0f}% of" in second.replace("%,", "%")
    assert first.startswith("For t, the best of 3 cells: the large, F1 85.0 [")
    assert second.endswith("% of draws), and the runner-up costs less.")
    scores = {"small": 0.848, "middle": 0.5, "large": 0.85, "slow": 0.849}
    _, second = answer.sentences(chosen([*THREE, cell("slow", latency_p50_ms=9, storage_bytes=16e6)], scores, 0.01))
    assert second.endswith("; cheaper and not significantly different: the small, 84.8, 1.00 ms, 1.00 MB.")


def test_an_answer_with_a_least_score_is_the_fastest_and_says_how_surely_it_reaches_it() -> None:
    found = chosen(THREE, SCORES, 0.01, score=0.8)
    first, *_ = answer.sentences(found)
    assert found.recommended is not None
    (kept,) = found.recommended.kept
    assert kept.probability == pytest.approx(0.5, abs=0.05)
    assert first.startswith("For t at F1 80.0 or more, the fastest of 2 cells: the middle, F1 80.0 [")
    assert first.endswith(f"; it keeps F1 80.0 with {100 * (kept.probability or 0):.0f}% confidence.")


def test_an_answer_says_what_one_seed_cannot_tell() -> None:
    found = chosen([cell("a", latency_p50_ms=(2.0,))], {"a": 0.8}, latency_p50_ms=3)
    assert answer.sentences(found) == (
        "For t within 3.00 ms, the best of 1 cell: the a, F1 80.0 [80.0, 80.0], 2.00 ms; one seed does not tell how "
        "surely it keeps 3.00 ms.",
        "No other cell fits.",
    )


def test_an_answer_from_single_seeds_states_no_significance() -> None:
    first, second = answer.sentences(choose_from_single_seeds(THREE, SCORES), baseline=0.95)
    assert first == "For t, the best of 3 cells: the large, F1 90.0, 4.00 ms, 16.0 MB."
    assert second == (
        "Runner-up: the middle, 80.0, 2.00 ms, 4.00 MB; no cell repeats a seed, so it is unknown whether the two "
        "differ."
    )


def test_an_answer_where_nothing_fits_says_what_is_nearest_and_what_was_not_measured() -> None:
    cells = [cell("a", latency_p50_ms=4, train_examples=900), cell("b", latency_p50_ms=3)]
    found = chosen(cells, {"a": 0.8, "b": 0.9}, latency_p50_ms=2, train_examples=1000, score=0.85)
    assert answer.sentences(found) == (
        "For t within 2.00 ms and 1,000 labelled examples at F1 85.0 or more: no cell fits.",
        "Nearest: the a, F1 80.0 [80.0, 80.0], 4.00 ms, which misses 2.00 ms (4.00 ms, 100% more) and F1 85.0 "
        "(80.0, 5.9% less).",
        "Not considered: b (no train_examples).",
    )


def test_cells_that_lack_the_number_of_a_limit_are_told_beside_an_answer_too() -> None:
    lacking = {name: cell(name, latency_p50_ms=1) for name in "bcde"}
    found = chosen([cell("a", storage_bytes=4e6), lacking["b"]], {"a": 0.8, "b": 0.9}, storage_bytes=5e6)
    assert answer.sentences(found)[0].startswith(
        "For t within 5.00 MB, the best of 1 cell, without b (no storage_bytes): the a, F1 80.0 ["
    )
    many = chosen([cell("a", storage_bytes=4e6), *lacking.values()], dict.fromkeys("abcde", 0.8), storage_bytes=5e6)
    assert ", the best of 1 cell, without 4 cells (no storage_bytes): the a" in answer.sentences(many)[0]


def test_what_is_told_of_several_limits_is_told_once() -> None:
    found = chosen(
        [cell("a", latency_p50_ms=(2.0,), storage_bytes=(1e6,))], {"a": 0.8}, latency_p50_ms=3, storage_bytes=2e6
    )
    why = "1 size; a power law has 2 parameters and takes 3 to be tested"
    gains = [Gain(key, unit, why_not=why) for key, unit in (("latency_p50_ms", "1 ms"), ("storage_bytes", "0.1 MB"))]
    first, _, third = answer.sentences(
        found, [*gains, Gain("train_examples", "10 examples", why_not="there is no law")]
    )
    assert first.endswith("; one seed does not tell how surely it keeps 3.00 ms and 2.00 MB.")
    assert third == (
        f"What 1 ms or 0.1 MB more would buy is not known: {why}; what 10 examples more would buy is not known: there "
        "is no law."
    )


def test_a_limit_that_nothing_comes_near_is_missed_by_a_multiple() -> None:
    found = chosen([cell("a", latency_p50_ms=4)], {"a": 0.8}, latency_p50_ms=1e-300)
    assert answer.sentences(found)[1].endswith(", which misses 1e-300 ms (4.00 ms, 4e+300 times as much).")
    assert "within 1e+300 ms, " in answer.sentences(chosen(THREE, SCORES, latency_p50_ms=1e300))[0]


def test_a_cell_that_may_be_no_better_than_the_baseline_is_reported_as_such() -> None:
    found = chosen([cell("a", latency_p50_ms=1)], {"a": 0.8}, spread=0.01, latency_p50_ms=3)
    first = answer.sentences(found, baseline=0.805)[0]
    assert first.endswith("; that is not clearly above the baseline of always predicting the majority class (80.5).")
    assert "baseline" not in answer.sentences(found, baseline=0.7)[0]


def test_a_cell_below_the_baseline_is_reported_as_such_wherever_the_answer_names_it() -> None:
    cells = [cell(name, latency_p50_ms=cost) for name, cost in (("a", 3), ("b", 2), ("c", 1))]
    found = chosen(cells, {"a": 0.42, "b": 0.41, "c": 0.4}, spread=0.03, latency_p50_ms=3)
    first, second, *_ = answer.sentences(found, baseline=0.5)
    assert first.endswith("; that is below the baseline of always predicting the majority class (50.0).")
    assert second.startswith("Runner-up: the b, 41.0 (below the baseline), 2.00 ms; ")
    assert second.endswith("; cheaper and not significantly different: the c, 40.0 (below the baseline), 1.00 ms.")
    nearest = chosen(cells, {"a": 0.42, "b": 0.41, "c": 0.4}, spread=0.03, latency_p50_ms=0.5)
    assert answer.sentences(nearest, baseline=0.5)[1].endswith(
        "; that is below the baseline of always predicting the majority class (50.0)."
    )


def test_a_warning_of_several_cells_is_one_line_that_names_them() -> None:
    assert answer.warnings({"the a": ("Rows leak.",), "the b": ("Rows leak.", "Texts are cut."), "the c": ()}) == (
        "Warning (the a; the b): Rows leak.",
        "Warning (the b): Texts are cut.",
    )
