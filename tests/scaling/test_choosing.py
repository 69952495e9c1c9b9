import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.scaling import posterior_draws
from pipeline.scaling.choosing import Kept, Miss
from tests.scaling.candidates import SCORES, THREE, cell, choose_from_single_seeds, chosen


def test_without_limits_the_best_score_wins() -> None:
    found = chosen(THREE, SCORES)
    assert found.recommended is not None
    assert found.runner_up is not None
    assert (found.recommended.name, found.runner_up.name, found.fitting) == ("large", "middle", 3)
    assert (found.told_apart, found.at_least_runner_up, found.best_of_all, found.cheaper) == (True, 1, 1, ())


def test_a_limit_leaves_out_what_does_not_keep_it_and_one_that_is_just_kept_fits() -> None:
    found = chosen(THREE, SCORES, latency_p50_ms=2)
    assert found.recommended is not None
    assert (found.recommended.name, found.fitting) == ("middle", 2)
    assert found.recommended.kept == (Kept("latency_p50_ms", 2, 2, 1.0),)


def test_with_a_least_score_the_fastest_that_reaches_it_wins_and_fewer_bytes_break_ties() -> None:
    twin = cell("twin", latency_p50_ms=2, storage_bytes=3e6)
    found = chosen([*THREE, twin], {**SCORES, "twin": 0.8}, score=0.8)
    assert found.recommended is not None
    assert found.runner_up is not None
    assert (found.recommended.name, found.runner_up.name) == ("twin", "middle")
    assert found.recommended.kept == (Kept("score", 0.8, 0.8, 1.0),)


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
    assert found.misses == (Miss("score", 0.88, 0.7, pytest.approx(1 - 0.7 / 0.88)),)
    other = chosen(THREE, SCORES, latency_p50_ms=0.9, storage_bytes=5e5)
    assert other.nearest is not None
    assert [(miss.key, miss.excess) for miss in other.misses] == [
        ("latency_p50_ms", pytest.approx(1 / 9)), ("storage_bytes", pytest.approx(1)),
    ]  # fmt: skip


def test_cells_that_cost_less_and_are_not_significantly_different_are_named_the_fastest_first() -> None:
    scores = {"small": 0.895, "middle": 0.5, "large": 0.9, "light": 0.89}
    light = cell("light", latency_p50_ms=5, storage_bytes=1e5)
    found = chosen([*THREE, light], scores, 0.01)
    assert [pick.name for pick in found.cheaper] == ["small", "light"]
    assert found.told_apart is False
    assert found.corrected_p == 1


def test_how_sure_a_choice_is_follows_from_the_draws() -> None:
    """The better of two normal scores stays the better one with probability Phi(difference / spread / sqrt 2)."""
    found = chosen(THREE[:2], {"small": 0.71, "middle": 0.7}, 0.02)
    expected = 0.5 * (1 + math.erf(0.01 / 0.02 / 2))
    assert found.at_least_runner_up == found.best_of_all == pytest.approx(expected, abs=0.03)
    three = chosen(THREE, {"small": 0.7, "middle": 0.7, "large": 0.7}, 0.02)
    assert three.best_of_all == pytest.approx(1 / 3, abs=0.03)


def test_how_surely_a_limit_is_kept_follows_from_the_draws_of_the_costs() -> None:
    """A latency that was measured once takes its spread from the others, so it is less certain."""
    cells = [cell("a", latency_p50_ms=(1.0, 2.0, 3.0)), cell("b", latency_p50_ms=(2.0,))]
    found = chosen(cells, {"a": 0.8, "b": 0.7}, latency_p50_ms=3)
    drawn = posterior_draws.draw_costs([(1.0, 2.0, 3.0), (2.0,)], 2000)
    assert found.recommended is not None
    assert found.runner_up is not None
    shares = [pick.kept[0].probability for pick in (found.recommended, found.runner_up)]
    assert shares == (drawn <= 3).mean(0).tolist()
    assert 0.5 < shares[1] < shares[0] < 1


def test_one_measurement_everywhere_is_no_evidence_of_how_surely_a_limit_is_kept() -> None:
    cells = [cell("a", latency_p50_ms=(1.0,)), cell("b", latency_p50_ms=(2.0,))]
    found = chosen(cells, {"a": 0.8, "b": 0.7}, latency_p50_ms=3)
    assert found.recommended is not None
    assert found.recommended.kept == (Kept("latency_p50_ms", 3, 1, None),)


def test_where_no_cell_repeats_a_seed_a_choice_states_no_significance() -> None:
    found = choose_from_single_seeds(THREE, SCORES, score=0.8)
    assert found.recommended is not None
    assert (found.recommended.name, found.recommended.low, found.recommended.high) == ("middle", None, None)
    assert found.recommended.kept == (Kept("score", 0.8, 0.8, None),)
    assert (found.at_least_runner_up, found.best_of_all, found.told_apart, found.corrected_p, found.cheaper) == (
        None, None, False, None, (),
    )  # fmt: skip


def test_a_correlation_below_0_does_not_reach_a_score_of_0() -> None:
    found = chosen(THREE, {"small": -0.2, "middle": 0.1, "large": 0.3}, score=0)
    assert found.recommended is not None
    assert (found.recommended.name, found.fitting) == ("middle", 2)
    (miss,) = chosen(THREE[:1], {"small": -0.2}, score=0).misses
    assert miss == Miss("score", 0, -0.2, 0.2)


def test_a_single_cell_has_no_runner_up() -> None:
    found = chosen(THREE[:1], {"small": 0.7})
    assert (found.runner_up, found.at_least_runner_up, found.told_apart) == (None, None, None)
    assert found.best_of_all == 1


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
    picked = [pick.name for pick in (found.recommended, found.runner_up) if pick]
    assert (picked, found.fitting) == (expected[:2], len(expected))
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
    assert max(miss.excess for miss in found.misses) == excess[found.nearest.name]
    assert all(miss.excess > 0 for miss in found.misses)
