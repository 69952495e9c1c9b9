"""Repeat rounds until the median of their seconds is known precisely enough."""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

CONFIDENCE = 0.95  # of the interval of a median
PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Timing:
    """The median seconds of a round, the ends of its interval, and the number of rounds.

    ``narrow`` states that the interval is within the requested share; otherwise the time was up.
    """

    median: float
    low: float
    high: float
    rounds: int
    narrow: bool


def synchronise(device: torch.device) -> None:
    """Wait until ``device`` has finished all queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def now(device: torch.device) -> float:
    """Return the time in seconds after ``device`` has finished all queued work."""
    synchronise(device)
    return time.perf_counter()


def measure(
    once: Callable[[], float],
    *,
    within: float,
    at_most: float,
    least: int = 6,
    agree: Callable[[bool], bool] = bool,
) -> Timing:
    """Repeat ``once``, which returns the seconds of one round, until the interval of their median is narrow.

    It is narrow when both ends are within the share ``within`` of the median. Rounds also end after ``at_most``
    seconds, but not before ``least`` rounds. ``agree`` synchronises the decision to stop: with several processes all
    follow the first. The caller has warmed up. Looking after each round costs a little of the 95% coverage: see the
    test.
    """
    rounds: list[float] = []
    spent, ended = 0.0, False
    while not ended:
        seconds = once()
        spent += seconds
        insort(rounds, seconds)
        median, low, high = _of_sorted(rounds)
        narrow = _place(len(rounds)) > 0 and max(high - median, median - low) <= within * median
        ended = agree(len(rounds) >= least and (narrow or spent >= at_most))
    return Timing(median, low, high, len(rounds), narrow)


def interval(samples: Sequence[float]) -> tuple[float, float, float]:
    """Return the median of ``samples`` and the ends of its distribution-free 95% interval.

    The ends are order statistics: the number of samples below the true median is binomial (n, 1/2) (Conover 1999,
    section 3.2). For fewer than six samples the extremes are returned.
    """
    return _of_sorted(sorted(samples))


def percentiles(samples: Sequence[float]) -> dict[str, float]:
    """Return ``p50``, ``p90``, ``p95`` and ``p99`` of ``samples``, interpolated between neighbours."""
    return {f"p{share}": float(np.percentile(samples, share)) for share in PERCENTILES}


def _of_sorted(samples: Sequence[float]) -> tuple[float, float, float]:
    count = len(samples)
    place = max(_place(count), 1)
    median = (samples[(count - 1) // 2] + samples[count // 2]) / 2
    return median, samples[place - 1], samples[count - place]


@lru_cache(maxsize=4096)
def _place(count: int) -> int:
    """Return which sample, counted from 1 and from either end, bounds the interval; 0 where none does."""
    from scipy.stats import binom  # a second to import

    return int(binom.ppf((1 - CONFIDENCE) / 2, count, 0.5))
