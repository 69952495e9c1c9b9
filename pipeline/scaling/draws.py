"""The scores of all cells of a task on examples and seeds drawn anew, the same for every cell, so that cells compare.

Each resample weighs every example by how often it was drawn, so that a matrix product of the weights with indicators of
the answers counts what a metric needs, for every trial at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.scaling.weighted import WEIGHTED, Floats, Weights

RESAMPLES = 2000
NUMBERS_AT_ONCE = 1_000_000  # weights in memory


@dataclass(frozen=True)
class Answers:
    """What a cell said of the reported examples: predictions (seeds, examples), labels (examples,).

    A row of the predictions is a trial; cells whose rows stand in the same order of seeds are compared seed by seed.
    ``group`` names the cells of a task whose seeds spread alike, such as those trained on the same share of the data.
    """

    name: str
    task: str
    predictions: np.ndarray
    labels: np.ndarray
    metric: str
    group: str = ""


@dataclass(frozen=True)
class Draws:
    """A task's scores, means over seeds, and what they are on resamples.

    ``draws`` (resamples, cells): examples and seeds drawn anew. ``by_seed``: the scores of each cell's seeds.
    ``covariance`` (cells, cells): of the scores where the examples alone are drawn anew. ``crossed`` (cells,): the part
    of a cell's variance there that comes from its seeds answering single examples differently.
    """

    task: str
    metric: str
    examples: int
    names: tuple[str, ...]
    groups: tuple[str, ...]
    scores: Floats
    draws: Floats
    by_seed: tuple[Floats, ...]
    covariance: Floats
    crossed: Floats

    def of(self, name: str) -> Floats:
        """Return the draws (resamples,) of a cell."""
        return np.asarray(self.draws[:, self.names.index(name)])

    def score(self, name: str) -> float:
        """Return the score of a cell."""
        return float(self.scores[self.names.index(name)])

    def interval(self, name: str) -> tuple[float, float]:
        """Return the ends between which 95% of a cell's draws lie."""
        low, high = np.quantile(self.of(name), [0.025, 0.975])
        return float(low), float(high)


def draw(answers: Sequence[Answers], resamples: int = RESAMPLES, seed: int = 0) -> Draws:
    """Return the scores of one task's cells on ``resamples`` bootstrap resamples of examples and seeds.

    Every cell gets the same examples, n of n, and the same seeds, k - 1 of k, both with replacement. k - 1, because
    the variance of a mean of k - 1 draws out of k is s²/k, as it should be, where k draws give (k - 1)/k of it: a
    third too little for three seeds (Rao and Wu 1988, Resampling inference with complex survey data). Cells with
    another number of seeds share the same uniform numbers, scaled to their own k; a single seed stays as it is.

    What the seeds change is added to what the examples change, less the part that is in both: what seeds make of single
    examples. Drawn at one go, that part would count three times (Owen 2007, The pigeonhole bootstrap).
    """
    first = answers[0]
    trials = np.concatenate([cell.predictions for cell in answers])
    random = np.random.default_rng(seed)
    examples = len(first.labels)
    weighted = WEIGHTED[first.metric](trials, first.labels)
    drawn = np.concatenate([weighted(weights) for weights in draw_weights(random, resamples, examples)])
    exact = weighted(np.ones((1, examples), np.float32))[0]
    ends = np.cumsum([len(cell.predictions) for cell in answers])[:-1]
    by_cell, by_seed = np.split(drawn, ends, axis=1), tuple(np.split(exact, ends))
    of_examples = np.stack([values.mean(1) for values in by_cell], 1)
    # the same answers in another column of a matrix product, or in a mean over more seeds, may differ in the last digit
    scores = np.round([values.mean() for values in by_seed], 12)
    crossed = np.array([compute_crossed_variance(values) for values in by_cell])
    of_seeds = (means(by_seed, resamples, random) - scores) * _rest(by_seed, crossed)
    return Draws(
        first.task,
        first.metric,
        examples,
        tuple(cell.name for cell in answers),
        tuple(cell.group for cell in answers),
        scores,
        np.minimum(1, np.round(of_examples + of_seeds, 12)),
        by_seed,
        np.atleast_2d(np.cov(of_examples.T)),
        crossed,
    )


def means(values: Sequence[Sequence[float] | Floats], resamples: int, random: np.random.Generator) -> Floats:
    """Return the mean of each cell's numbers, one a seed, on resamples of k - 1 of its k seeds: (resamples, cells)."""
    slots = random.random((resamples, max(1, max(map(len, values)) - 1)))
    found = np.empty((resamples, len(values)))
    for cell, numbers in enumerate(values):
        chosen = slots[:, : max(1, len(numbers) - 1)] * len(numbers)
        found[:, cell] = np.asarray(numbers, float)[chosen.astype(int)].mean(1)
    return found


def _rest(by_seed: Sequence[Floats], crossed: Floats) -> Floats:
    """Return what to multiply the deviations of each cell's seeds by, so that the crossed part is not in them."""
    of_seeds = np.array([values.var(ddof=1) / len(values) if len(values) > 1 else 0.0 for values in by_seed])
    share = np.divide(crossed, of_seeds, out=np.ones(len(crossed)), where=of_seeds > 0)
    return np.asarray(np.sqrt(np.maximum(0, 1 - share)))


def compute_crossed_variance(values: Floats) -> float:
    """Return the part of the variance of a mean score that comes from seeds answering single examples differently.

    ``values`` (resamples, seeds) are scores on resampled examples. An example that moves all seeds alike moves their
    mean as much as each of them; the mean varies less by a share 1 - 1/k of the part where the seeds differ.
    """
    count = values.shape[1]
    if count == 1:
        return 0.0
    return float(max(0.0, values.var(0, ddof=1).mean() - values.mean(1).var(ddof=1)) / (count - 1))


def draw_weights(random: np.random.Generator, resamples: int, examples: int) -> Iterator[Weights]:
    """Yield how often each example was drawn, in batches of resamples: (resamples, examples)."""
    step = max(1, NUMBERS_AT_ONCE // examples)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = random.integers(examples, size=(rows, examples)) + examples * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * examples)
        yield counts.reshape(rows, examples).astype(np.float32)
