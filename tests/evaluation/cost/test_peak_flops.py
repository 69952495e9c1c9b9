"""FLOPs a second of products, on a clock that goes as fast as the test wants."""

import pytest
import torch

from pipeline.evaluation.cost import peak_flops, timing
from pipeline.evaluation.cost.peak_flops import Peak, peak_flops_per_second

CPU = torch.device("cpu")


class Processor:
    """A clock on which a product of size n takes 2 n^3 / speed(n) seconds; it keeps what was multiplied."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **speeds: float) -> None:
        self.time, self.products = 0.0, []
        self.speeds = {int(name[1:]): speed for name, speed in speeds.items()}
        monkeypatch.setattr(peak_flops, "SIZES", {"cpu": tuple(self.speeds)})
        monkeypatch.setattr(timing, "now", lambda device: self.time)
        monkeypatch.setattr(torch, "mm", self.multiply)

    def multiply(self, one: torch.Tensor, other: torch.Tensor, out: torch.Tensor) -> None:
        assert one.dtype == other.dtype == out.dtype
        rows, inner = one.shape
        self.products.append((rows, one.dtype))
        self.time += 2 * rows * inner * other.shape[1] / self.speeds[rows]


def test_the_peak_is_the_best_size_at_2_n_cubed_flops_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    Processor(monkeypatch, n4=1000.0, n8=5000.0, n16=2000.0)
    found = peak_flops_per_second(CPU, "fp32", seconds=300)
    assert found == Peak(pytest.approx(5000), 8)


@pytest.mark.parametrize(("precision", "kind"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_matrices_have_the_precision_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, precision: str, kind: torch.dtype
) -> None:
    processor = Processor(monkeypatch, n4=1000.0)
    peak_flops_per_second(CPU, precision)
    assert {kind for _, kind in processor.products} == {kind}


def test_a_size_that_would_take_longer_than_its_share_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four products of size 8, the warm-up among them, would take 4.1 seconds of 4, and of size 4 half a second."""
    processor = Processor(monkeypatch, n4=1000.0, n8=9999.0)
    assert peak_flops_per_second(CPU, "fp32", seconds=8).size == 4
    assert {size for size, _ in processor.products} == {4}
    assert peak_flops_per_second(CPU, "fp32", seconds=8.5).size == 8


def test_short_products_are_timed_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product takes 1/10 of a round: rounds of ten, six of them for an interval, behind two that warm up."""
    processor = Processor(monkeypatch, n4=128 / (peak_flops.ROUND / 10))
    assert peak_flops_per_second(CPU, "fp32").flops_per_second == pytest.approx(128 / (peak_flops.ROUND / 10))
    assert len(processor.products) == 2 + 6 * 10


def test_a_real_processor_has_a_peak() -> None:
    found = peak_flops_per_second(CPU, "fp32", seconds=0.05)
    assert found.flops_per_second > 1e6
    assert found.size in peak_flops.SIZES["cpu"]
