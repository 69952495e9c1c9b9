"""What this machine can compute at most, measured: the products of matrices of the best size."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from pipeline.evaluation.cost import timing

SIZES = {"cpu": (512, 1024, 2048, 4096), "cuda": (2048, 4096, 8192, 16384)}
TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
ROUND = 0.01  # seconds of products that are timed together, so that the clock and a launch do not count
LEAST = 3  # rounds of a size
WITHIN = 0.02  # of the median, where its interval is narrow enough


@dataclass(frozen=True)
class Peak:
    """The most FLOPs a second that were seen, and the rows of the square matrices that they were seen with."""

    flops_per_second: float
    size: int


def peak_flops_per_second(device: torch.device, precision: str, seconds: float = 1.0) -> Peak:
    """Return the peak of products of square matrices in ``precision``, ``fp32`` or ``bf16``, on ``device``.

    A product of (n, n) by (n, n) is 2 n^3 FLOPs. With torch's threads and settings as they are; the median of
    each size, the best of the sizes. Takes about ``seconds``; a size that alone would take longer than its share is
    left out. The data sheet's peak is higher: this one is what a program could reach.
    """
    sizes = SIZES[device.type]
    share = seconds / len(sizes)
    best = Peak(0.0, 0)
    for size in sizes:
        expected = 2 * size**3 / best.flops_per_second if best.size else 0.0
        if (LEAST + 1) * expected > share:
            break
        reached = 2 * size**3 / _seconds(device, TYPES[precision], size, share)
        best = max(best, Peak(reached, size), key=lambda peak: peak.flops_per_second)
    return best


def _seconds(device: torch.device, kind: torch.dtype, size: int, at_most: float) -> float:
    """Return the median seconds of a product; a few are timed together, behind one that warms up."""
    drawn = torch.Generator(device).manual_seed(0)
    one, other = (torch.randn(size, size, generator=drawn, device=device).to(kind) for _ in range(2))
    product = torch.empty_like(one)

    def repeated(times: int) -> float:
        started = timing.now(device)
        for _ in range(times):
            torch.mm(one, other, out=product)
        return timing.now(device) - started

    repeated(1)
    times = max(round(ROUND / max(repeated(1), 1e-9)), 1)
    found = timing.measure(lambda: repeated(times), within=WITHIN, at_most=at_most, least=LEAST)
    return found.median / times
