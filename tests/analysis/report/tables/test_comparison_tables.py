"""The tables of what the comparison concludes."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.analysis.laws import LawDataset, Observation, fit_laws
from pipeline.analysis.recommendation.equal_quality import BELOW, BEYOND, CHEAPER, NO_GAIN, WITHIN, EqualQualityCost
from pipeline.analysis.recommendation.limits import LimitViolation, MetLimit
from pipeline.analysis.recommendation.marginal_gains import MarginalGain
from pipeline.analysis.recommendation.recommendation import Recommendation
from pipeline.analysis.recommendation.select import Alternative, CellSummary, Choice, CorrectedScore, ExcludedCell
from pipeline.analysis.report.tables import comparison_tables
from pipeline.analysis.statistics.equivalence import UNDECIDED, RequiredSamples
from pipeline.analysis.statistics.pairwise_tests import NOT_SIGNIFICANT, PairwiseTest
from pipeline.plan.budget import Budget


def grid(values: dict[tuple[float, float], float]) -> list[Observation]:
    seeds = np.random.default_rng(0)
    return [Observation(f"{at}", at, tuple(loss * (1 + 1e-3 * seeds.normal(size=3)))) for at, loss in values.items()]


def test_a_law_is_told_with_its_intervals_and_what_was_held_out() -> None:
    sizes = [10.0**power for power in (4, 4.5, 5, 5.5, 6, 6.5, 7)]
    question = LawDataset("mrpc", "loss", ("parameters",), "most data")
    finding = fit_laws(question, [Observation(f"{p.cell}", (p.at[0],), p.values) for p in grid({
        (size, 0.0): 0.2 + 30 * size**-0.4 for size in sizes
    })])  # fmt: skip
    (table,) = comparison_tables.create_law_tables([SimpleNamespace(task="mrpc", law_selections=[finding])])  # type: ignore[list-item]
    (row,) = table.format_rows()
    assert table.headings == (
        "of", "against", "at", "observations", "law", "parameters [95%]", "held-out error", "of a line",
        "of a constant",
    )  # fmt: skip
    assert row[:5] == ["loss", "N, all parameters", "most data", "7", "E + A / N^α"]
    exponent = finding.law.parameters[-1]  # type: ignore[union-attr]
    assert row[5].endswith(f"; α {exponent.value:.3g} [{exponent.low:.3g}, {exponent.high:.3g}]")
    assert row[5].startswith("E 0.2")
    assert float(row[6].rstrip("%")) < float(row[7].rstrip("%")) < float(row[8].rstrip("%"))


def test_what_is_not_determined_is_a_name_in_brackets_and_what_is_refused_has_its_reason() -> None:
    question = LawDataset("mrpc", "error", ("parameters", "train_examples"), "all sizes and data")
    flat = fit_laws(question, grid({(n, d): 0.5 for n in (1e4, 1e5, 1e6) for d in (1e2, 1e3, 1e4)}))
    few = fit_laws(question, grid({(n, 1e2): 0.5 for n in (1e4, 1e5)}))
    (table,) = comparison_tables.create_law_tables([SimpleNamespace(task="mrpc", law_selections=[flat, few])])  # type: ignore[list-item]
    assert set(table.format_rows()[0][5].split("; ")) <= {"(E)", "(A)", "(B)", "(α)", "(β)"}
    assert table.format_rows()[1][4:] == ["refused", "", "", "", ""]
    reasons = [f"error against N and D: {form} refused: {why}" for form, why in few.refusals.items()]
    assert table.notes == tuple(reasons)


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({}, "0.41 [0.39, 0.43] cheaper"),
        ({"high": 1.2, "verdict": NO_GAIN}, "0.41 [0.39, 1.20]"),
        ({"high": float("inf"), "verdict": NO_GAIN, "where": BELOW}, ">= 0.41 [>= 0.39]"),
        ({"low": 0.0, "where": BEYOND}, "<= 0.41 [<= 0.43] cheaper"),
        ({"low": 0.0, "high": float("inf"), "verdict": NO_GAIN}, "0.41"),
    ],
)
def test_a_ratio_names_the_ends_that_are_known(changed: dict[str, Any], text: str) -> None:
    one = EqualQualityCost("int8", "storage_bytes", 1e6, 0.41, 0.39, 0.43, WITHIN, CHEAPER)
    assert comparison_tables.format_equal(replace(one, **changed)) == text


LATENCY = MarginalGain("latency_p50_ms", "0.1 ms", 0.004, 0.001, 0.02)


def found(**changed: Any) -> Recommendation:
    """Return an answer with a recommended cell, one alternative, and a cell that the latency alone excludes."""
    kept = (MetLimit("latency_p50_ms", 2, 1.5, 0.97), MetLimit("score", 0.8, 0.85, None))
    first = CellSummary("a", "the a", 0.85, 0.83, 0.87, 1.5, 4e6, kept)
    second = CellSummary("b", "the b", 0.84, 0.82, 0.86, 1.6, 5e6, (MetLimit("latency_p50_ms", 2, 1.6, 1.0),))
    difference = PairwiseTest("b", "a", -0.01, 0.005, 8, -0.02, 0.001, 0.08, -0.03, 0.01, 0.24, NOT_SIGNIFICANT)
    alternative = Alternative(second, difference, UNDECIDED, 0.5, RequiredSamples(6, None, False))
    excluded = ExcludedCell(first, (LimitViolation("latency_p50_ms", 2, 3, 0.5),), False)
    choice = Choice("mrpc", "f1", Budget(latency_p50_ms=2, score=0.8), 2, first, (alternative,), excluded)
    return Recommendation(replace(choice, **changed), (LATENCY,), ("One.",), ())


def test_the_limits_are_shown_with_what_keeps_them_and_what_more_of_a_binding_one_would_buy() -> None:
    table = comparison_tables.create_limits_table(found())
    assert table is not None
    assert table.headings == ("limit", "the a", "the b", "gain of a looser limit")
    assert table.format_rows() == [
        ["2.00 ms", "1.50 ms (kept with 97% confidence)", "1.60 ms",
         "0.1 ms: +0.4 [+0.1, +2] points"],
        ["F1 80.0", "85.0", "", ""],
    ]  # fmt: skip
    loose = comparison_tables.create_limits_table(found(excluded=None))
    assert loose is not None
    assert [row[-1] for row in loose.format_rows()] == ["", ""]


def test_the_statistics_of_each_alternative_are_a_row() -> None:
    table = comparison_tables.create_alternatives_table(found())
    assert table is not None
    assert table.format_rows() == [
        ["the a", "85.0 [83.0, 87.0]", "", "", "", "recommended", "", "", "1.50", "4.00"],
        ["the b", "84.0 [82.0, 86.0]", "-1.0 [-2.0, 0.1]", "0.24", "0.5", "undecided", "6", "never", "1.60", "5.00"],
    ]
    assert table.notes[0].startswith("Difference: the cell's score less that of the recommended one; p (Holm) ")
    many = comparison_tables.create_alternatives_table(found(alternatives=found().choice.alternatives * 10))
    assert many is not None
    assert (len(many.rows), many.notes[-1]) == (9, "More cells fit (2): see differences.csv.")


def test_the_repeated_choices_are_shown_with_the_corrected_score() -> None:
    table = comparison_tables.create_repeated_table(
        found(corrected_score=CorrectedScore(0.841, 0.82, 0.863, {"the a": 0.62, "the b": 0.38}))
    )
    assert table is not None
    assert table.format_rows() == [["the a", "62%"], ["the b", "38%"]]
    assert table.notes == (
        "The choice was repeated on parts of the examples and seeds, and the chosen cell scored on the rest. "
        "Measured: 85.0 [83.0, 87.0]; corrected for the choice: 84.1 [82.0, 86.3].",
    )
    assert comparison_tables.create_repeated_table(found()) is None


def test_without_limits_or_cells_there_are_no_statistics_of_an_answer() -> None:
    nothing = Choice("mrpc", "f1", Budget(latency_p50_ms=1), 0)
    free = Choice("mrpc", "f1", Budget(), 1, CellSummary("a", "the a", 0.8, 0.7, 0.9, 1.0, 1e6, ()))
    assert [
        comparison_tables.create_answer_tables(Recommendation(choice, (), (), ())) for choice in (nothing, free)
    ] == [
        (),
        (),
    ]
