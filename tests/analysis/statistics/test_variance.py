import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from pipeline.analysis.statistics import variance
from pipeline.analysis.statistics.variance import TrialOutcome, VarianceAnalysis, VarianceSource


def outcomes(cells: dict[tuple[str, str, float], list[float]], metric: str = "accuracy") -> list[TrialOutcome]:
    return [TrialOutcome(task, size, data, metric, value) for (task, size, data), of in cells.items() for value in of]


def rows(found: VarianceAnalysis) -> dict[str, VarianceSource]:
    return {row.name: row for row in found.rows}


def grid(random: np.random.Generator, tasks: str = "t", seeds: int = 3) -> dict[tuple[str, str, float], list[float]]:
    return {place: list(random.normal(size=seeds)) for place in itertools.product(tasks, "sml", (0.1, 1.0))}


def test_with_one_factor_it_is_the_one_way_analysis() -> None:
    groups = [[0.6, 0.62, 0.61], [0.7, 0.69, 0.74], [0.8, 0.83, 0.79]]
    found = variance.compute_shares(outcomes({("t", size, 1.0): of for size, of in zip("sml", groups, strict=True)}))
    expected = stats.f_oneway(*groups)
    size = rows(found)["size"]
    assert [row.name for row in found.rows] == ["size", "seed"]
    assert (size.F, size.p) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    assert (size.degrees, rows(found)["seed"].degrees) == (2, 6)
    assert found.noise == pytest.approx(np.mean([np.var(of, ddof=1) for of in groups]) ** 0.5)
    assert found.noisiest_cell == (("t", "m", 1.0), pytest.approx(np.std(groups[1], ddof=1)))


def test_a_balanced_table_of_two_factors_is_shared_out_as_by_hand() -> None:
    """Cell means 1, 3 / 5, 11 about 5: size 72, data 32, both together 8; two seeds each 1 off their mean: 8."""
    means = {("s", 0.1): 1, ("s", 1.0): 3, ("l", 0.1): 5, ("l", 1.0): 11}
    found = variance.compute_shares(outcomes({("t", *place): [mean - 1, mean + 1] for place, mean in means.items()}))
    assert [(row.name, row.degrees) for row in found.rows] == [
        ("size", 1),
        ("data", 1),
        ("size x data", 1),
        ("seed", 4),
    ]
    assert [row.sum_squares for row in found.rows] == pytest.approx([72, 32, 8, 8])
    assert [row.share for row in found.rows] == pytest.approx([0.6, 32 / 120, 8 / 120, 8 / 120])
    assert [row.unbiased for row in found.rows] == pytest.approx([70 / 122, 30 / 122, 6 / 122, 16 / 122])
    assert [row.F for row in found.rows[:3]] == pytest.approx([36, 16, 4])
    assert found.rows[0].p == pytest.approx(stats.f.sf(36, 1, 4))
    assert (found.noise, found.refusal, found.trials) == (pytest.approx(2**0.5), None, 8)


def test_three_factors_give_the_type_two_table_of_statsmodels_with_unequal_numbers_of_seeds() -> None:
    random = np.random.default_rng(0)
    cells = grid(random, "tu")
    for place in list(cells)[::2]:
        cells[place].append(float(random.normal()))
    found = variance.compute_shares(given := outcomes(cells))
    frame = pd.DataFrame([vars(outcome) for outcome in given])
    table = anova_lm(ols("value ~ C(size) * C(data) * C(task)", frame).fit(), typ=2)
    names = [name.replace("C(", "").replace(")", "").replace(":", " x ") for name in table.index]
    assert [row.name for row in found.rows] == [*names[:-1], "seed"]
    assert [row.sum_squares for row in found.rows] == pytest.approx(list(table["sum_sq"]))
    assert [row.degrees for row in found.rows] == list(table["df"])
    assert [row.p for row in found.rows[:-1]] == pytest.approx(list(table["PR(>F)"])[:-1])


def test_a_grid_without_holes_is_shared_out_whole() -> None:
    found = variance.compute_shares(outcomes(grid(np.random.default_rng(1), "tu")))
    assert sum(row.share for row in found.rows) == pytest.approx(1)
    assert sum(row.unbiased for row in found.rows) == pytest.approx(1)
    assert [row.name for row in found.rows] == [
        "size", "data", "task", "size x data", "size x task", "data x task", "size x data x task", "seed",
    ]  # fmt: skip


def test_holes_cost_the_interaction_their_degrees_and_leave_the_noise_alone() -> None:
    cells = grid(np.random.default_rng(2))
    del cells["t", "l", 0.1]
    found = variance.compute_shares(outcomes(cells))
    assert {row.name: row.degrees for row in found.rows} == {"size": 2, "data": 1, "size x data": 1, "seed": 10}
    within = sum(np.var(of) * len(of) for of in cells.values())
    assert rows(found)["seed"].sum_squares == pytest.approx(within)


def test_an_interaction_that_holes_leave_no_place_for_is_left_out() -> None:
    cells = grid(np.random.default_rng(3))
    for size in "ml":
        del cells["t", size, 0.1]
    assert [row.name for row in variance.compute_shares(outcomes(cells)).rows] == ["size", "data", "seed"]


def test_known_shares_of_simulated_plans_are_found_without_bias() -> None:
    """Effects of sizes +-2 (variance 4), of data +-1 (1), seeds of variance 2; the shares expected are of their sum."""
    random = np.random.default_rng(4)
    unbiased, plain = [], []
    for _ in range(60):
        cells = {
            ("t", size, data): list(random.normal(effect + more, 2**0.5, 3))
            for (size, effect), (data, more) in itertools.product((("s", -2), ("l", 2)), ((0.1, -1), (1.0, 1)))
        }
        found = rows(variance.compute_shares(outcomes(cells)))
        unbiased.append([found[name].unbiased for name in ("size", "data", "size x data", "seed")])
        plain.append(found["size x data"].share)
    np.testing.assert_allclose(np.mean(unbiased, 0), [4 / 7, 1 / 7, 0, 2 / 7], atol=0.05)
    assert np.mean(plain) > 0.02


def test_noise_alone_gives_every_p_alike() -> None:
    random = np.random.default_rng(5)
    found = [rows(variance.compute_shares(outcomes(grid(random))))["size"].p for _ in range(150)]
    assert stats.kstest(found, "uniform").pvalue > 0.001


def test_tasks_of_one_metric_are_analysed_together_and_each_task_by_itself() -> None:
    random = np.random.default_rng(6)
    given = [*outcomes(grid(random, "tu")), *outcomes(grid(random, "v"), "f1")]
    found = variance.compute_analyses(given)
    assert [(one.tasks, one.metric) for one in found] == [
        (("t", "u"), "accuracy"), (("t",), "accuracy"), (("u",), "accuracy"), (("v",), "f1"),
    ]  # fmt: skip
    assert "task" in rows(found[0])
    assert not any("task" in name for one in found[1:] for name in rows(one))


@pytest.mark.parametrize(
    ("cells", "why"),
    [
        ({("t", "s", 1.0): [0.1, 0.2]}, "There is one cell alone, so there is nothing to compare."),
        (
            {("t", "s", 1.0): [0.1], ("t", "l", 1.0): [0.2]},
            "Every cell has one seed, so effects cannot be separated from noise; add seeds to the plan.",
        ),
        (
            {("t", "s", 1.0): [0.5, 0.5], ("t", "l", 1.0): [0.5, 0.5]},
            "All values are the same, so there is no variance to share out.",
        ),
    ],
)
def test_what_cannot_be_shared_out_is_refused_in_one_sentence(
    cells: dict[tuple[str, str, float], list[float]], why: str
) -> None:
    found = variance.compute_shares(outcomes(cells))
    assert (found.refusal, found.rows, found.noise) == (why, (), None)


def test_seeds_that_never_differ_leave_no_doubt() -> None:
    found = variance.compute_shares(outcomes({("t", "s", 1.0): [0.5, 0.5], ("t", "l", 1.0): [0.75, 0.75]}))
    assert (rows(found)["size"].p, found.noise) == (pytest.approx(0, abs=1e-20), pytest.approx(0, abs=1e-8))
