"""How long something takes: rounds on the clock until their median is known well enough."""

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
    """The median seconds of a round, the ends of its interval, and how many rounds tell it.

    ``narrow`` says that the interval lies within what was asked for; else the time for it was up.
    """

    median: float
    low: float
    high: float
    rounds: int
    narrow: bool


def synchronise(device: torch.device) -> None:
    """Wait until ``device`` has done all that it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def now(device: torch.device) -> float:
    """Return the time in seconds at which ``device`` has done all that it was asked."""
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

    It is narrow when both ends lie within the share ``within`` of the median. The rounds also end when they have
    taken ``at_most`` seconds together, but not before there are ``least``. ``agree`` gets each round's verdict that it
    was the last and returns the one that counts: of several processes all follow the first. Whoever calls has warmed
    up. The look after each round costs the interval a little of its 95%: see the test.
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
    """Return the median of ``samples`` and the ends of its 95% interval, which takes no distribution for granted.

    The ends are order statistics: the number of samples below the true median is binomial (n, 1/2) (Conover 1999,
    section 3.2). Fewer than six samples have no such interval; their extremes stand for it.
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
