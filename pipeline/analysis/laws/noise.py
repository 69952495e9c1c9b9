"""Noise of the observations around a law, estimated from seeds and residuals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.analysis.laws.law_types import Floats, Observation

PRIOR_DEGREES = 8.0  # weight of the pooled spread, in degrees of freedom
SIGNIFICANCE_LEVEL = 0.05  # a probability below it contradicts


@dataclass(frozen=True)
class SeedNoise:
    """Relative spread over seeds: ``of_means`` (points,) and ``of_one_seed``.

    ``degrees`` are its degrees of freedom. If it is 0 (no observation has two different seeds), all spreads are 1 and
    only mean equal weights.
    """

    of_means: Floats
    of_one_seed: float
    degrees: int

    def compute_mean_spread(self, seeds: Floats) -> Floats:
        """Return the spread of means over ``seeds`` seeds, 1 if unknown."""
        return self.of_one_seed / np.sqrt(seeds) if self.degrees else np.ones(len(seeds))


def estimate_seed_noise(observations: Sequence[Observation]) -> SeedNoise:
    """Estimate the spread of each observation, shrunk towards the pooled spread.

    Two or three seeds hardly estimate their own variance, so weights would be random. The pooled variance gets the
    weight ``PRIOR_DEGREES`` (Smyth 2004, eq. 1, Stat. Appl. Genet. Mol. Biol. 3; the weight is fixed, because few
    observations cannot estimate it).
    """
    counts = np.array([len(observation.values) for observation in observations])
    squares = np.array(
        [np.sum((np.array(observation.values) / observation.mean - 1) ** 2) for observation in observations]
    )
    freedom = int((counts - 1).sum())
    pooled = float(squares.sum() / freedom) if freedom else 0.0
    if pooled < 1e-16:
        return SeedNoise(np.ones(len(observations)), 1.0, 0)
    variance = (PRIOR_DEGREES * pooled + squares) / (PRIOR_DEGREES + counts - 1)
    return SeedNoise(np.sqrt(variance / counts), float(np.sqrt(pooled)), freedom)


def compute_variation_p(observations: Sequence[Observation]) -> float | None:
    """Return the p value of equal means over observations (one-way ANOVA of logs).

    None if no observation has two different seeds; 1 if all values are equal.
    """
    from scipy import stats

    logs = [np.log(observation.values) for observation in observations]
    if len(observations) > 1 and np.ptp(np.concatenate(logs)) < 1e-9:
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
    """Noise scale in units of ``SeedNoise.of_means`` with its degrees of freedom (0: unknown).

    ``agreement`` is the probability that a true law has residuals this large, given the spread over seeds.
    """

    size: float
    degrees: int
    agreement: float | None


def estimate_noise_scale(residuals: Floats, huber_delta: float, parameters: int, freedom: int) -> NoiseScale:
    """Estimate the noise scale from standardised residuals and the spread over seeds.

    Both are pooled unless they contradict (F test at 5%); then the residuals alone count, because the law is only
    approximate. The residual variance is that of a Huber estimate (Huber 1981, Robust Statistics, eq. 7.6.4), where an
    outlier counts as ``huber_delta``.
    """
    from scipy import stats

    left = len(residuals) - parameters
    if left <= 0:
        return NoiseScale(1.0, freedom, None)
    inside = max(float(np.mean(np.abs(residuals) <= huber_delta)), 0.5)
    few = 1 + parameters / len(residuals) * (1 - inside) / inside
    missed = float((np.clip(residuals, -huber_delta, huber_delta) ** 2).sum()) / left * (few / inside) ** 2
    if not freedom:
        return NoiseScale(float(np.sqrt(missed)), left, None)
    agreement = float(stats.f.sf(missed, left, freedom))
    if agreement < SIGNIFICANCE_LEVEL:
        return NoiseScale(float(np.sqrt(missed)), left, agreement)
    both = (missed * left + freedom) / (left + freedom)
    return NoiseScale(float(np.sqrt(both)), left + freedom, agreement)
