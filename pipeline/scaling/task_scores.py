"""From the answers of a task's cells to their intervals: joins the resampled examples with the seeds' scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.scaling import posterior_draws, score_intervals
from pipeline.scaling.draws import Draws
from pipeline.scaling.score_intervals import CellScores, Posterior


@dataclass(frozen=True)
class CellFacts:
    """What a cell's spread and failures depend on: its model, its share of the training data, and its failed seeds."""

    model: str
    data: float
    failed: Sequence[bool]


def estimate_task(draws: Draws, facts: Mapping[str, CellFacts], baseline: float) -> Posterior | None:
    """Estimate the expected scores of a task's cells, in the order of ``draws.names``.

    ``baseline`` is the score of the best constant prediction. Returns None where no cell repeats a seed.
    """
    bounds = score_intervals.get_bounds(draws.metric)
    cells = [
        CellScores(
            draws.by_seed[index].tolist(),
            facts[name].failed,
            draws.examples,
            float(draws.covariance[index, index]),
            float(draws.crossed[index]),
            baseline,
            facts[name].data,
            facts[name].model,
            bounds,
        )
        for index, name in enumerate(draws.names)
    ]
    return score_intervals.estimate_scores(score_intervals.stack_cells(cells))


def compute_intervals_by_name(draws: Draws, posterior: Posterior) -> dict[str, tuple[float, float]]:
    """Return the ends of the 95% interval of each cell."""
    low, high = score_intervals.compute_intervals(posterior)
    return dict(zip(draws.names, zip(low.tolist(), high.tolist(), strict=True), strict=True))


def replace_draws(draws: Draws, posterior: Posterior) -> Draws:
    """Return the same scores with draws whose quantiles are the intervals of ``posterior``."""
    drawn = posterior_draws.draw_scores(posterior, draws.covariance, len(draws.draws))
    return replace(draws, draws=drawn)
