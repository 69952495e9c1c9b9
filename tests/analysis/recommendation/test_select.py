import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.analysis.recommendation import select
from pipeline.analysis.recommendation.limits import LimitViolation, MetLimit
from pipeline.analysis.statistics import posterior_draws
from pipeline.analysis.statistics.equivalence import EQUAL, UNDECIDED, WORSE
from pipeline.plan.budget import Budget
from tests.analysis.candidates import SCORES, THREE, cell, chosen, drawn


def test_without_limits_the_best_score_wins() -> None:
    found = chosen(THREE, SCORES)
    assert found.recommended is not None
    assert (found.recommended.name, found.fitting, found.excluded) == ("large", 3, None)
    assert [(one.cell.name, one.verdict) for one in found.alternatives] == [("middle", WORSE), ("small", WORSE)]


def test_a_limit_leaves_out_what_does_not_keep_it_and_one_that_is_just_kept_fits() -> None:
    found = chosen(THREE, SCORES, latency_p50_ms=2)
    assert found.recommended is not None
    assert (found.recommended.name, found.fitting) == ("middle", 2)
    assert found.recommended.met_limits == (MetLimit("latency_p50_ms", 2, 2, 1.0),)


def test_with_a_least_score_the_fastest_that_reaches_it_wins_and_fewer_bytes_break_ties() -> None:
    twin = cell("twin", latency_p50_ms=2, storage_bytes=3e6)
    found = chosen([*THREE, twin], {**SCORES, "twin": 0.8}, score=0.8)
    assert found.recommended is not None
    assert [found.recommended.name, *(one.cell.name for one in found.alternatives)] == ["twin", "middle", "large"]
    assert found.recommended.met_limits == (MetLimit("score", 0.8, 0.8, 1.0),)


def test_a_cell_without_the_number_of_a_limit_does_not_fit_and_is_named() -> None:
    unknown = cell("unknown", storage_bytes=1)
    found = chosen([*THREE, unknown], {**SCORES, "unknown": 1.0}, latency_p50_ms=9, train_seconds=9)
    assert found.unmeasured == (
        ("small", ("train_seconds",)), ("middle", ("train_seconds",)), ("large", ("train_seconds",)),
        ("unknown", ("latency_p50_ms", "train_seconds")),
    )  # fmt: skip
    assert (found.recommended, found.nearest) == (None, None)
    free = chosen([*THREE, unknown], {**SCORES, "unknown": 1.0}, storage_bytes=2e6)
    assert free.recommended is not None
    assert free.recommended.name == "unknown"


def test_where_nothing_fits_the_nearest_is_the_one_that_misses_least_with_all_that_it_misses() -> None:
    found = chosen(THREE, SCORES, latency_p50_ms=1.6, storage_bytes=2e6, score=0.88)
    assert (found.recommended, found.fitting) == (None, 0)
    assert found.nearest is not None
    assert found.nearest.name == "small"
    assert found.violations == (LimitViolation("score", 0.88, 0.7, pytest.approx(1 - 0.7 / 0.88)),)
    other = chosen(THREE, SCORES, latency_p50_ms=0.9, storage_bytes=5e5)
    assert other.nearest is not None
    assert [(miss.key, miss.excess) for miss in other.violations] == [
        ("latency_p50_ms", pytest.approx(1 / 9)), ("storage_bytes", pytest.approx(1)),
    ]  # fmt: skip


def test_a_cell_is_excluded_by_the_limits_that_it_misses() -> None:
    found = chosen(THREE, SCORES, 0.004, latency_p50_ms=3, storage_bytes=50e6)
    assert found.excluded is not None
    assert (found.excluded.cell.name, found.excluded.is_significant) == ("large", True)
    assert found.excluded.violations == (LimitViolation("latency_p50_ms", 3, 4, pytest.approx(1 / 3)),)


def test_of_the_excluded_cells_one_that_is_significantly_better_comes_first_then_the_nearest() -> None:
    near, far = cell("near", latency_p50_ms=5), cell("far", latency_p50_ms=9)
    scores = {"small": 0.7, "middle": 0.8, "large": 0.5, "near": 0.82, "far": 0.95}
    found = chosen([*THREE, near, far], scores, 0.01, latency_p50_ms=3)
    assert found.excluded is not None
    assert (found.excluded.cell.name, found.excluded.is_significant) == ("far", True)
    unsure = chosen([*THREE, near, far], scores, 0.2, latency_p50_ms=3)
    assert unsure.excluded is not None
    assert (unsure.excluded.cell.name, unsure.excluded.is_significant) == ("near", False)


def test_a_cell_that_is_not_better_than_the_baseline_is_no_candidate() -> None:
    """The interval of the middle one holds the baseline, though its score is above it."""
    scores = {"small": 0.7, "middle": 0.52, "large": 0.45}
    found = chosen(THREE, scores, 0.02, baseline=0.5)
    assert found.recommended is not None
    assert (found.recommended.name, found.alternatives, found.useless) == ("small", (), 2)
    nothing = chosen(THREE, scores | {"small": 0.51}, 0.02, baseline=0.5, latency_p50_ms=3)
    assert (nothing.recommended, nothing.nearest, nothing.fitting) == (None, None, 0)
    assert nothing.strongest is not None
    assert nothing.strongest.name == "middle"


def test_the_alternative_to_name_is_an_equally_good_cheaper_one_or_the_next() -> None:
    cells = [*THREE, cell("slow", latency_p50_ms=9, storage_bytes=99e6)]
    scores = {"small": 0.848, "middle": 0.5, "large": 0.85, "slow": 0.849}
    assert select.find_alternative(chosen(cells, scores, 0.001)).cell.name == "small"  # type: ignore[union-attr]
    assert select.find_alternative(chosen(cells, scores, 0.02)).cell.name == "slow"  # type: ignore[union-attr]
    assert select.find_alternative(chosen(THREE[:1], scores)) is None


def test_a_faster_cell_of_another_machine_is_not_cheaper() -> None:
    one, other = (
        cell(name, name, latency_p50_ms=time, storage_bytes=1e6) for name, time in (("a", 2.0), ("b", 1.0))
    )  # fmt: skip
    found = chosen([one, other], {"a": 0.85, "b": 0.85 - 1e-6}, 0.0001)
    assert found.recommended is not None
    assert found.alternatives[0].verdict == EQUAL
    assert not select.is_cheaper(found.alternatives[0].cell, found.recommended)


def test_without_repeated_seeds_every_alternative_is_undecided() -> None:
    found = chosen(THREE, SCORES, 0.001, seeds=1)
    assert not found.has_repeated_seeds
    assert {one.verdict for one in found.alternatives} == {UNDECIDED}
    assert {one.required for one in found.alternatives} == {None}


def test_without_intervals_a_cell_works_if_its_score_is_above_the_baseline() -> None:
    found = chosen(THREE, SCORES, seeds=1, baseline=0.75)
    assert found.recommended is not None
    assert (found.recommended.low, found.recommended.high, found.fitting, found.useless) == (None, None, 2, 1)
    assert {one.equivalence_p for one in found.alternatives} == {None}


def test_how_surely_a_limit_is_kept_follows_from_the_draws_of_the_costs() -> None:
    """A latency that was measured once takes its spread from the others, so it is less certain."""
    cells = [cell("a", latency_p50_ms=(1.0, 2.0, 3.0)), cell("b", latency_p50_ms=(2.0,))]
    found = chosen(cells, {"a": 0.8, "b": 0.7}, latency_p50_ms=3)
    costs = posterior_draws.sample_costs([(1.0, 2.0, 3.0), (2.0,)], 2000)
    assert found.recommended is not None
    shares = [pick.met_limits[0].probability for pick in (found.recommended, found.alternatives[0].cell)]
    assert shares == (costs <= 3).mean(0).tolist()
    assert 0.5 < shares[1] < shares[0] < 1  # type: ignore[operator]


def test_cells_with_one_pooled_latency_keep_a_limit_equally_surely() -> None:
    cells = [cell(name, latency_p50_ms=(1.0, 2.0, 3.0)) for name in ("a", "b")]
    found = chosen(cells, {"a": 0.8, "b": 0.7}, latency_p50_ms=2.1)
    assert found.recommended is not None
    assert found.recommended.met_limits == found.alternatives[0].cell.met_limits


def test_one_measurement_everywhere_is_no_evidence_of_how_surely_a_limit_is_kept() -> None:
    cells = [cell("a", latency_p50_ms=(1.0,)), cell("b", latency_p50_ms=(2.0,))]
    found = chosen(cells, {"a": 0.8, "b": 0.7}, latency_p50_ms=3)
    assert found.recommended is not None
    assert found.recommended.met_limits == (MetLimit("latency_p50_ms", 3, 1, None),)


def test_the_cells_among_which_the_score_decides_keep_the_limits_of_costs_and_work() -> None:
    weak, unknown = cell("weak", latency_p50_ms=1), cell("unknown")
    scores = {"small": 0.7, "middle": 0.8, "large": 0.9, "weak": 0.5, "unknown": 0.9}
    budget = Budget(latency_p50_ms=3, score=0.75)
    found = select.find_eligible([*THREE[::-1], weak, unknown], budget, drawn(scores, 0.01), 0.5)
    assert [one.name for one in found] == ["middle", "small"]


def test_a_correlation_below_0_does_not_reach_a_score_of_0() -> None:
    found = chosen(THREE, {"small": -0.2, "middle": 0.1, "large": 0.3}, score=0)
    assert found.recommended is not None
    assert (found.recommended.name, found.fitting) == ("middle", 2)
    (miss,) = chosen(THREE[:1], {"small": -0.2}, score=0).violations
    assert miss == LimitViolation("score", 0, -0.2, 0.2)


COST = st.one_of(st.none(), st.integers(1, 4))
CELLS = st.lists(st.tuples(st.integers(0, 4), COST, COST, COST), min_size=1, max_size=7)
ASKED = st.tuples(*[st.one_of(st.none(), st.integers(1, 4))] * 3, st.one_of(st.none(), st.integers(0, 4)))
KEYS = ("latency_p50_ms", "storage_bytes", "train_seconds")


@settings(deadline=None)
@given(CELLS, ASKED)
def test_the_choice_is_the_one_of_filtering_and_sorting(
    cells: list[tuple[int, int | None, int | None, int | None]], asked: tuple[int | None, ...]
) -> None:
    names = [f"c{index}" for index in range(len(cells))]
    scores = {name: given[0] / 4 for name, given in zip(names, cells, strict=True)}
    costs = {name: dict(zip(KEYS, given[1:], strict=True)) for name, given in zip(names, cells, strict=True)}
    least = None if asked[3] is None else asked[3] / 4
    limits = {key: float(limit) for key, limit in zip(KEYS, asked[:3], strict=True) if limit is not None}

    def fits(name: str) -> bool:
        paid = costs[name]
        kept = all(paid[key] is not None and paid[key] <= limit for key, limit in limits.items())
        return kept and (least is None or scores[name] >= least)

    def order(name: str) -> list[object]:
        paid = [math.inf if costs[name][key] is None else costs[name][key] for key in KEYS[:2]]
        return [-scores[name], *paid, name] if least is None else [*paid, -scores[name], name]

    expected = sorted(filter(fits, names), key=order)
    candidates = [cell(name, **{key: cost for key, cost in costs[name].items() if cost is not None}) for name in names]
    found = chosen(candidates, scores, **limits, **({} if least is None else {"score": least}))
    picked = [pick.name for pick in (found.recommended, *(one.cell for one in found.alternatives)) if pick]
    assert (picked, found.fitting) == (expected, len(expected))
    measured = [name for name in names if all(costs[name][key] is not None for key in limits)]
    assert [name for name, _ in found.unmeasured] == [name for name in names if name not in measured]
    if expected or not measured:
        assert found.nearest is None
        return
    excess = {
        name: max(
            [costs[name][key] / limit - 1 for key, limit in limits.items()]
            + ([1 - scores[name] / least] if least else [])
        )
        for name in measured
    }
    assert found.nearest is not None
    assert excess[found.nearest.name] == min(excess.values())
    assert max(miss.excess for miss in found.violations) == excess[found.nearest.name]
    assert all(miss.excess > 0 for miss in found.violations)
