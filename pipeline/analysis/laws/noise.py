"""How far a place's mean may lie from its law: told by the seeds, and by the law's own misses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.analysis.laws.law_types import Floats, Observation

PRIOR_DEGREES = 8.0  # degrees of freedom that the pooled spread weighs beside a place's own
SIGNIFICANCE_LEVEL = 0.05  # a probability below it contradicts


@dataclass(frozen=True)
class SeedNoise:
    """The spread over seeds: relative to the mean, ``(points,)`` of the places' means and ``one`` of a single seed.

    ``freedom`` is the degrees of freedom behind it; 0 where no place has two seeds that differ: then all spreads are 1
    and only say that the places weigh alike.
    """

    of_means: Floats
    of_one_seed: float
    degrees: int

    def compute_mean_spread(self, seeds: Floats) -> Floats:
        """Return the spread of means over so many seeds, 1 where it is not known."""
        return self.of_one_seed / np.sqrt(seeds) if self.degrees else np.ones(len(seeds))


def estimate_seed_noise(points: Sequence[Observation]) -> SeedNoise:
    """Return the spread of each place, drawn towards that of all.

    Two or three seeds tell next to nothing of their own variance, so that it would weigh the places at random. It
    counts with its degrees of freedom, the pooled variance with ``PRIOR_DEGREES`` (Smyth 2004, eq. 1, Stat. Appl.
    Genet. Mol. Biol. 3, with the prior's weight fixed, since a handful of places cannot tell it).
    """
    counts = np.array([len(point.values) for point in points])
    squares = np.array([np.sum((np.array(point.values) / point.mean - 1) ** 2) for point in points])
    freedom = int((counts - 1).sum())
    pooled = float(squares.sum() / freedom) if freedom else 0.0
    if pooled < 1e-16:
        return SeedNoise(np.ones(len(points)), 1.0, 0)
    variance = (PRIOR_DEGREES * pooled + squares) / (PRIOR_DEGREES + counts - 1)
    return SeedNoise(np.sqrt(variance / counts), float(np.sqrt(pooled)), freedom)


def compute_variation_p(points: Sequence[Observation]) -> float | None:
    """Return how likely seeds alone would make the places differ so much: one-way analysis of variance of the logs.

    None where no place has two seeds that differ, and 1 where all values are the same.
    """
    from scipy import stats

    logs = [np.log(point.values) for point in points]
    if len(points) > 1 and np.ptp(np.concatenate(logs)) < 1e-9:
        return 1.0
    freedom, between = sum(len(values) - 1 for values in logs), len(logs) - 1
    within = sum(float(((values - values.mean()) ** 2).sum()) for values in logs)
    if not freedom or not between or within < 1e-16:
        return None
    total = np.concatenate(logs)
    across = float(((total - total.mean()) ** 2).sum()) - within
    return float(stats.f.sf(across / between / (within / freedom), between, freedom))


@dataclass(frozen=True)
class NoiseScale:
    """The size of the noise in units of ``Noise.means``, and the degrees of freedom that tell it, 0 for not at all.

    ``agreement`` is how likely a true law would miss its places as far as it does, by the seeds' spread.
    """

    size: float
    degrees: int
    agreement: float | None


def estimate_noise_scale(residuals: Floats, turn: float, parameters: int, freedom: int) -> NoiseScale:
    """Return the scale of a law's noise from its standardised residuals and the seeds' degrees of freedom.

    Seeds and misses tell it together unless they contradict each other (F test at 5%): then the misses alone, since the
    law is no more than near. The misses' variance is that of a Huber estimate (Huber 1981, Robust Statistics, eq.
    7.6.4): an outlier counts as ``turn``.
    """
    from scipy import stats

    left = len(residuals) - parameters
    if left <= 0:
        return NoiseScale(1.0, freedom, None)
    inside = max(float(np.mean(np.abs(residuals) <= turn)), 0.5)
    few = 1 + parameters / len(residuals) * (1 - inside) / inside
    missed = float((np.clip(residuals, -turn, turn) ** 2).sum()) / left * (few / inside) ** 2
    if not freedom:
        return NoiseScale(float(np.sqrt(missed)), left, None)
    agreement = float(stats.f.sf(missed, left, freedom))
    if agreement < SIGNIFICANCE_LEVEL:
        return NoiseScale(float(np.sqrt(missed)), left, agreement)
    both = (missed * left + freedom) / (left + freedom)
    return NoiseScale(float(np.sqrt(both)), left + freedom, agreement)
