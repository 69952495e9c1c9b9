"""How soon a run comes near its end."""

import pytest

from pipeline.training.curves import Point, convergence


@pytest.mark.parametrize(
    ("scores", "steps"),
    [([0.5, 0.94, 0.95, 1.0], 30), ([0.5, 0.97, 0.5, 1.0], 20), ([0.9, 0.9, 0.9, 0.9], 10), ([0.1, 0.2, 0.3, 0.9], 40)],
)
def test_the_first_point_with_95_percent_of_the_end_is_told(scores: list[float], steps: int) -> None:
    curve = [Point(10 * i, 0.5 * i, score) for i, score in enumerate(scores, start=1)]
    assert convergence(curve) == {"steps_to_95pct": steps, "seconds_to_95pct": steps / 20}


@pytest.mark.parametrize("final", [0.0, -0.1])
def test_a_share_of_nothing_is_not_told(final: float) -> None:
    curve = [Point(10, 0.5, 0.2), Point(20, 1.0, final)]
    assert convergence(curve) == {"steps_to_95pct": None, "seconds_to_95pct": None}
