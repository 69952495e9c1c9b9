"""Bootstrap over a task's report examples, with the same resamples for every cell.

Each resample is a weight per example. A matrix product of the weights with indicators of the predictions counts what a
metric needs, for all trials at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.analysis.statistics.weighted_metrics import WEIGHTED_METRICS, Floats, ResampleWeights

RESAMPLES = 2000
MAX_WEIGHTS_IN_MEMORY = 1_000_000  # weights in memory


@dataclass(frozen=True)
class CellPredictions:
    """A cell's predictions of the report examples (seeds, examples) and their labels (examples,)."""

    name: str
    task: str
    predictions: np.ndarray
    labels: np.ndarray
    metric: str


@dataclass(frozen=True)
class ScoreSamples:
    """Scores of a task's cells as means over seeds, and their uncertainty.

    ``by_seed``: scores per seed. ``covariance`` (cells, cells): of the scores when examples are resampled.
    ``crossed_variances`` (cells,): the part of that variance from seeds that differ on single examples.
    ``expected_scores`` (resamples, cells): samples of the expected scores. ``intervals`` (2, cells): 95% intervals
    (``task_scores``). The last two are None if no cell of the task repeats a seed.
    """

    task: str
    metric: str
    examples: int
    names: tuple[str, ...]
    scores: Floats
    by_seed: tuple[Floats, ...]
    covariance: Floats
    crossed_variances: Floats
    expected_scores: Floats | None = None
    intervals: Floats | None = None

    def get_score(self, name: str) -> float:
        """Return the score of a cell."""
        return float(self.scores[self.names.index(name)])

    def get_interval(self, name: str) -> tuple[float | None, float | None]:
        """Return the 95% interval of a cell's expected score, None if unknown."""
        if self.intervals is None:
            return None, None
        low, high = self.intervals[:, self.names.index(name)]
        return float(low), float(high)


def sample_scores(answers: Sequence[CellPredictions], resamples: int = RESAMPLES, seed: int = 0) -> ScoreSamples:
    """Return the scores of one task's cells, and their covariance on ``resamples`` bootstrap resamples of examples.

    Every cell gets the same examples, n of n, with replacement.
    """
    first = answers[0]
    trials = np.concatenate([cell.predictions for cell in answers])
    random = np.random.default_rng(seed)
    examples = len(first.labels)
    weighted = WEIGHTED_METRICS[first.metric](trials, first.labels)
    drawn = np.concatenate([weighted(weights) for weights in draw_weights(random, resamples, examples)])
    exact = weighted(np.ones((1, examples), np.float32))[0]
    ends = np.cumsum([len(cell.predictions) for cell in answers])[:-1]
    by_cell, by_seed = np.split(drawn, ends, axis=1), tuple(np.split(exact, ends))
    of_examples = np.stack([values.mean(1) for values in by_cell], 1)
    # the same answers in another column of a matrix product, or in a mean over more seeds, may differ in the last digit
    scores = np.round([values.mean() for values in by_seed], 12)
    crossed = np.array([compute_crossed_variance(values) for values in by_cell])
    return ScoreSamples(
        first.task,
        first.metric,
        examples,
        tuple(cell.name for cell in answers),
        scores,
        by_seed,
        np.atleast_2d(np.cov(of_examples.T)),
        crossed,
    )


def compute_crossed_variance(values: Floats) -> float:
    """Return the part of the variance of a mean score that comes from seeds answering single examples differently.

    ``values`` (resamples, seeds) are scores on resampled examples. An example that moves all seeds alike moves their
    mean as much as each of them; the mean varies less by a share 1 - 1/k of the part where the seeds differ.
    """
    count = values.shape[1]
    if count == 1:
        return 0.0
    return float(max(0.0, values.var(0, ddof=1).mean() - values.mean(1).var(ddof=1)) / (count - 1))


def draw_weights(random: np.random.Generator, resamples: int, examples: int) -> Iterator[ResampleWeights]:
    """Yield how often each example was drawn, in batches of resamples: (resamples, examples)."""
    step = max(1, MAX_WEIGHTS_IN_MEMORY // examples)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = random.integers(examples, size=(rows, examples)) + examples * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * examples)
        yield counts.reshape(rows, examples).astype(np.float32)
