"""How soon a run comes near its end."""

import pytest

from pipeline.training.curves import Point, convergence


@pytest.mark.parametrize(
    ("scores", "steps"),
    [([0.5, 0.94, 0.95, 1.0], 30), ([0.5, 0.97, 0.5, 1.0], 20), ([0.9, 0.9, 0.9, 0.9], 10), ([0.1, 0.2, 0.3, 0.9], 40)],
)
def test_the_first_point_with_95_percent_of_the_end_is_told(scores: list[float], steps: int) -> None:
    curve = [Point(score, 10 * i, 80 * i, 0.5 * i, 1e6 * i) for i, score in enumerate(scores, start=1)]
    assert convergence(curve, [0.95]) == {
        "steps_to_95pct": steps, "examples_to_95pct": 8 * steps, "seconds_to_95pct": steps / 20,
        "operations_to_95pct": 1e5 * steps,
    }  # fmt: skip


def test_every_fraction_is_told_by_its_percentage() -> None:
    curve = [Point(score, i, i, i) for i, score in enumerate([0.5, 0.9, 0.995, 1.0], start=1)]
    told = convergence(curve, [0.5, 0.9, 0.995, 1])
    assert {key: value for key, value in told.items() if key.startswith("steps")} == {
        "steps_to_50pct": 1, "steps_to_90pct": 2, "steps_to_99.5pct": 3, "steps_to_100pct": 4,
    }  # fmt: skip
    assert not [key for key in told if key.startswith("operations")]  # nobody knows them


@pytest.mark.parametrize("final", [0.0, -0.1])
def test_a_share_of_nothing_is_not_told(final: float) -> None:
    curve = [Point(0.2, 10, 80, 0.5, 1e6), Point(final, 20, 160, 1.0, 2e6)]
    assert set(convergence(curve, [0.9, 0.95]).values()) == {None}
