"""The sentences of an answer: at most five, plain, and silent about what is not known."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.analysis.recommendation import answer_sentences
from pipeline.analysis.recommendation.marginal_gains import DATA, SIZE, Improvement, MarginalGain
from pipeline.analysis.recommendation.select import CorrectedScore
from tests.analysis.candidates import SCORES, THREE, cell, chosen


def test_an_answer_says_what_to_use_which_limit_binds_and_what_comes_next() -> None:
    found = chosen(THREE, SCORES, 0.004, baseline=0.5, latency_p50_ms=3, storage_bytes=50e6)
    assert found.recommended is not None
    ends = f"({100 * found.recommended.low:.1f} to {100 * found.recommended.high:.1f})"
    assert answer_sentences.format_sentences(found) == (
        f"Use the middle for t: F1 80.0 {ends} on new data, 2.00 ms, 4.00 MB; a constant answer scores 50.0.",
        "It scores best of the 2 cells that work within 3.00 ms and 50.0 MB.",
        "Beyond the limits, the large is better (90.0) but needs 4.00 ms (you allow 3.00).",
        "The next best, the small, scores 70.0, is worse and takes 1.00 ms less and 3.00 MB less.",
    )


def test_more_of_a_limit_buys_something_only_if_that_limit_alone_excludes_a_better_cell() -> None:
    gains = [
        MarginalGain("latency_p50_ms", "1 ms", 0.004, 0.001, 0.02),
        MarginalGain("storage_bytes", "0.1 MB", 0.0089, 0.008, 0.01),
    ]
    loose = answer_sentences.format_sentences(chosen(THREE, SCORES, latency_p50_ms=3, storage_bytes=50e6), gains)
    assert loose[2] == "Beyond the limits, the large is better (90.0) but needs 4.00 ms (you allow 3.00)."
    assert loose[4] == "By the laws, 1 ms more would buy 0.4 points."
    both = answer_sentences.format_sentences(chosen(THREE, SCORES, latency_p50_ms=3, storage_bytes=5e6), gains)
    assert both[2] == (
        "Beyond the limits, the large is better (90.0) but needs 4.00 ms and 16.0 MB (you allow 3.00 and 5.00)."
    )
    assert len(both) == 4
    none = answer_sentences.format_sentences(chosen(THREE, SCORES, latency_p50_ms=9, storage_bytes=50e6), gains)
    assert none[2] == "No limit excludes a cell that is better by 1 point."
    assert len(none) == 4
    unsure = [
        MarginalGain("latency_p50_ms", "1 ms", 0.004, -0.001, 0.02),
        MarginalGain("latency_p50_ms", "1 ms", why_not="no law"),
    ]
    for gain in unsure:
        assert len(answer_sentences.format_sentences(chosen(THREE, SCORES, latency_p50_ms=3), [gain])) == 4


def test_a_cell_that_is_better_by_less_than_the_margin_does_not_make_a_limit_bind() -> None:
    scores = {"small": 0.7, "middle": 0.893, "large": 0.9}
    assert "No limit excludes a cell that is better by 1 point." in answer_sentences.format_sentences(
        chosen(THREE, scores, latency_p50_ms=3)
    )
    assert answer_sentences.format_sentences(chosen(THREE, scores, 0.02, margin=0.005, latency_p50_ms=3))[2].startswith(
        "Beyond the limits, the large may be better (90.0) but "
    )


def test_not_significantly_different_is_not_equally_good() -> None:
    scores = {"small": 0.85, "middle": 0.852}
    *_, undecided, needed = answer_sentences.format_sentences(chosen(THREE[:2], scores, 0.01))
    assert undecided == "The next best, the small, scores 85.0, may be as good and takes 1.00 ms less and 3.00 MB less."
    assert needed == (
        "About 19,000 more test examples would show that the two are equal within 1 point; more seeds alone cannot."
    )
    *_, equal = answer_sentences.format_sentences(chosen(THREE[:2], scores, 0.001))
    assert equal == (
        "The next best, the small, scores 85.0, is equally good (within 1 point) and takes 1.00 ms less and 3.00 MB "
        "less."
    )


def test_the_recommended_score_is_corrected_for_the_choice_and_the_measured_one_follows() -> None:
    found = replace(
        chosen(THREE[:2], SCORES, 0.004, latency_p50_ms=3), corrected_score=CorrectedScore(0.7944, 0.77, 0.812, {})
    )
    first, second, *_ = answer_sentences.format_sentences(found)
    assert first == "Use the middle for t: F1 79.4 (77.0 to 81.2) on new data, 2.00 ms, 4.00 MB."
    assert second == (
        "It scores best of the 2 cells that work within 3.00 ms; it measured 80.0, and the best of many measures too "
        "high."
    )


def test_a_fastest_cell_that_measured_too_low_is_not_called_lucky() -> None:
    found = replace(chosen(THREE[:2], SCORES, 0.004, score=0.8), corrected_score=CorrectedScore(0.805, 0.79, 0.82, {}))
    assert answer_sentences.format_sentences(found)[1].endswith("% confidence; it measured 80.0.")


def test_a_correction_that_does_not_show_in_the_digits_leaves_the_interval_of_the_tables() -> None:
    plain = chosen(THREE, SCORES, 0.004)
    found = replace(plain, corrected_score=CorrectedScore(0.90004, 0.88, 0.93, {}))
    assert answer_sentences.format_sentences(found) == answer_sentences.format_sentences(plain)


def test_one_seed_gives_no_interval_and_shows_no_difference() -> None:
    first, *_, undecided, advice = answer_sentences.format_sentences(
        chosen(THREE[:2], SCORES, 0.001, baseline=0.5, seeds=1)
    )
    assert first == ("Use the middle for t: F1 80.0 (no interval), 2.00 ms, 4.00 MB; a constant answer scores 50.0.")
    assert ", may be as good and takes" in undecided
    assert advice == "No difference is shown without repeated seeds that learn: run at least 3 seeds."


def test_a_cheaper_cell_that_is_equally_good_is_named_before_the_next_best() -> None:
    cells = [*THREE, cell("slow", latency_p50_ms=9, storage_bytes=99e6)]
    scores = {"small": 0.848, "middle": 0.5, "large": 0.85, "slow": 0.849}
    assert answer_sentences.format_sentences(chosen(cells, scores, 0.001))[-1] == (
        "A cheaper cell, the small, scores 84.8, is equally good (within 1 point) and takes 3.00 ms less and 15.0 MB "
        "less."
    )


def test_costs_less_names_the_cost() -> None:
    cells = [cell("a", latency_p50_ms=2.2, storage_bytes=2e6), cell("b", latency_p50_ms=14.2, storage_bytes=1e6)]
    assert answer_sentences.format_sentences(chosen(cells, {"a": 0.85, "b": 0.848}, 0.001))[-1] == (
        "The next best, the b, scores 84.8, is equally good (within 1 point) and takes 12.0 ms more and 1.00 MB less."
    )
    same = [cell("a", latency_p50_ms=2), cell("b", latency_p50_ms=2)]
    assert answer_sentences.format_sentences(chosen(same, {"a": 0.85, "b": 0.7}, 0.001))[-1] == (
        "The next best, the b, scores 70.0, is worse and costs the same."
    )


def test_times_of_two_machines_are_not_compared() -> None:
    cells = [
        cell("a", "one", latency_p50_ms=2, storage_bytes=2e6), cell("b", "two", latency_p50_ms=1, storage_bytes=1e6)
    ]  # fmt: skip
    assert answer_sentences.format_sentences(chosen(cells, {"a": 0.85, "b": 0.8}, 0.001))[-1] == (
        "The next best, the b, scores 80.0, is worse and takes 1.00 MB less; its times are from another machine."
    )
    assert answer_sentences.format_warnings({}, {"the a": "one", "the b": "two"}) == (
        "Warning (the b): measured on another machine (two), so its times are not compared.",
    )


def test_an_answer_with_a_least_score_is_the_fastest_and_says_how_surely_it_reaches_it() -> None:
    found = chosen(THREE, SCORES, 0.01, score=0.8)
    assert found.recommended is not None
    (kept,) = found.recommended.met_limits
    assert kept.probability == pytest.approx(0.5, abs=0.05)
    _, rule, limits, other = answer_sentences.format_sentences(found)
    assert rule == (
        "It is the fastest of the 2 cells that work with F1 80.0 or more, but reaches F1 80.0 with only "
        f"{100 * (kept.probability or 0):.0f}% confidence."
    )
    assert limits == "Beyond the limits, the small is faster but scores 70.0 (you ask for 80.0)."
    assert other == "The next fastest, the large, scores 90.0, is better and takes 2.00 ms more and 12.0 MB more."


def test_an_answer_says_what_one_measurement_cannot_show() -> None:
    found = chosen([cell("a", latency_p50_ms=(2.0,))], {"a": 0.8}, latency_p50_ms=3)
    assert answer_sentences.format_sentences(found) == (
        "Use the a for t: F1 80.0 (80.0 to 80.0) on new data, 2.00 ms.",
        "It is the only cell that works within 3.00 ms; without repeated seeds it is unknown whether it keeps them.",
        "No limit excludes a cell that is better by 1 point.",
        "No other cell fits.",
    )


def test_where_no_cell_keeps_the_limits_the_answer_says_what_the_nearest_needs() -> None:
    cells = [cell("a", latency_p50_ms=4, train_examples=900), cell("b", latency_p50_ms=3)]
    found = chosen(cells, {"a": 0.8, "b": 0.9}, latency_p50_ms=2, train_examples=1000, score=0.85)
    assert answer_sentences.format_sentences(found) == (
        "No cell for t works within 2.00 ms and 1,000 labelled examples with F1 85.0 or more.",
        "The nearest that works, the a (80.0), needs 4.00 ms (you allow 2.00) and scores 80.0 (you ask for 85.0).",
        "Not considered: b (no train_examples).",
    )


def test_cells_without_the_number_of_a_limit_are_named_or_counted() -> None:
    lacking = [cell(name, latency_p50_ms=1) for name in "bcde"]
    few = chosen([cell("a", storage_bytes=4e6), lacking[0]], {"a": 0.8, "b": 0.9}, storage_bytes=5e6)
    assert answer_sentences.format_sentences(few)[-1] == "Not considered: b (no storage_bytes)."
    many = chosen([cell("a", storage_bytes=4e6), *lacking], dict.fromkeys("abcde", 0.8), storage_bytes=5e6)
    assert answer_sentences.format_sentences(many)[-1] == "Not considered: 4 cells (no storage_bytes)."
    assert answer_sentences.format_sentences(chosen(lacking, dict.fromkeys("bcde", 0.8), storage_bytes=5e6)) == (
        "No cell for t has the numbers that its limits need.",
        "Not considered: 4 cells (no storage_bytes).",
    )


def test_where_no_cell_beats_the_baseline_the_answer_says_so_and_what_would_help() -> None:
    found = chosen(THREE, {"small": 0.49, "middle": 0.5, "large": 0.52}, 0.02, baseline=0.5)
    first, second, *rest = answer_sentences.format_sentences(
        found, improvements=[Improvement(DATA, 5, 4500, 0.582), Improvement(SIZE, 10, 4e6, 0.55)]
    )
    assert first == "Nothing works yet for t: no cell scores clearly above a constant answer."
    assert second.startswith("The best of them, the large, reaches F1 52.0 (48.")
    assert second.endswith("); a constant answer scores 50.0.")
    assert rest == [
        "By the law of data, 5 times the labelled examples (4,500) would score about 58.2.",
        "By the law of size, a model 10 times as large would score about 55.0.",
    ]
    assert answer_sentences.format_sentences(found)[2:] == (answer_sentences.NO_WAY,)


def test_where_only_cells_beyond_the_limits_work_the_answer_names_the_nearest_of_them() -> None:
    found = chosen(THREE, {"small": 0.5, "middle": 0.8, "large": 0.9}, 0.004, baseline=0.5, latency_p50_ms=1.5)
    first, second, third = answer_sentences.format_sentences(found)
    assert first == "Nothing works yet for t within 1.50 ms: no cell scores clearly above a constant answer."
    assert second.startswith("The best of them, the small, reaches F1 50.0 (")
    assert third == "The nearest that works, the middle (80.0), needs 2.00 ms (you allow 1.50)."


def test_a_warning_of_several_cells_is_one_line_that_names_them() -> None:
    found = {"the a": ("Rows leak.",), "the b": ("Rows leak.", "Texts are cut."), "the c": ()}
    assert answer_sentences.format_warnings(found, {}) == (
        "Warning (the a; the b): Rows leak.",
        "Warning (the b): Texts are cut.",
    )


COST = st.one_of(st.none(), st.floats(0.001, 1e12))
KEYS = ("latency_p50_ms", "storage_bytes", "inference_memory_mib", "train_seconds", "train_examples")


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 1), st.tuples(*[COST] * 5), st.sampled_from(["one", "two"])), min_size=1, max_size=6
    ),
    st.dictionaries(st.sampled_from([*KEYS, "score"]), st.floats(0.001, 1)),
    st.sampled_from([0.0, 0.003, 0.05]),
    st.sampled_from([None, 0.5]),
    st.sampled_from([1, 3]),
)
def test_an_answer_has_at_most_five_sentences_of_less_than_thirty_words_without_p_values(
    cells: list[tuple[float, tuple[float | None, ...], str]],
    limits: dict[str, float],
    spread: float,
    baseline: float | None,
    seeds: int,
) -> None:
    names = [f"{place} (magnitude, starter-3x96 on 30% of the data)" for place in range(len(cells))]
    candidates = [
        cell(name, machine, **{key: cost for key, cost in zip(KEYS, costs, strict=True) if cost is not None})
        for name, (_, costs, machine) in zip(names, cells, strict=True)
    ]
    scores = {name: score for name, (score, *_) in zip(names, cells, strict=True)}
    found = chosen(candidates, scores, spread, baseline, seeds=seeds, **limits)
    gains = [MarginalGain(key, "0.1 labelled examples", 0.01, 0.005, 0.02) for key in KEYS]
    sentences = answer_sentences.format_sentences(
        found, gains, [Improvement(DATA, 5, 4500, 0.582), Improvement(SIZE, 10, 4e6, 0.55)]
    )
    assert 1 <= len(sentences) <= 5
    assert all(sentence.endswith(".") and len(sentence.split()) < 30 for sentence in sentences), sentences
    assert not any(" p " in sentence or "resample" in sentence for sentence in sentences)
