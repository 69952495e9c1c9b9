"""Energy counters of processors (Linux powercap) and GPUs (NVML)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import torch

from pipeline.evaluation.cost import timing

POWERCAP = Path("/sys/class/powercap")  # of Linux, for Intel's processors and AMD's


class Counter(Protocol):
    """A counter of joules."""

    @property
    def range(self) -> float:
        """Return the joules at which it wraps around to zero; 0 if it never does."""

    def read(self) -> float:
        """Return the joules so far. Raises OSError or ValueError if they cannot be read."""


@dataclass
class Meter:
    """The ``joules`` of a block, or None without a counter (never zero)."""

    joules: float | None = None


@contextmanager
def measured(device: torch.device, powercap: Path = POWERCAP) -> Iterator[Meter]:
    """Measure the joules of ``device`` inside the block; ``joules`` is set when the block ends.

    On a CPU: all processor packages, including idle cores and other processes, without memory and power supply. On a
    GPU: that GPU with its memory, including other processes, without the processor. None if a counter is missing or
    unreadable: often only root may read it, and virtual machines have none. Counters advance every 1 ms (processors) to
    100 ms (GPUs), so a block should take some tenths of a second.
    """
    counters: Sequence[Counter] = _of_gpu(device) if device.type == "cuda" else _of_packages(powercap)
    meter = Meter()
    timing.synchronise(device)
    before = _read(counters)
    yield meter
    timing.synchronise(device)
    after = _read(counters)
    if before and after:
        meter.joules = sum(
            late - early + (counter.range if late < early else 0.0)
            for counter, early, late in zip(counters, before, after, strict=True)
        )


def _read(counters: Sequence[Counter]) -> list[float] | None:
    """Return the values of all counters; None if one is unreadable, because the rest would be only a part."""
    try:
        return [counter.read() for counter in counters]
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class _Package:
    """A processor's counter in microjoules, after powercap.rst of the kernel's documentation."""

    folder: Path
    range: float

    def read(self) -> float:
        return int((self.folder / "energy_uj").read_text()) / 1e6


def _of_packages(powercap: Path) -> list[_Package]:
    """Return the counters of the packages, which include their parts (core, dram)."""
    found = []
    for zone in sorted(powercap.glob("intel-rapl:*")):
        try:
            if (zone / "name").read_text().startswith("package"):
                found.append(_Package(zone, int((zone / "max_energy_range_uj").read_text()) / 1e6))
        except (OSError, ValueError):
            return []
    return found


@dataclass(frozen=True)
class _Gpu:
    """A GPU's counter in millijoules since the driver was loaded (Volta and later)."""

    nvml: Any
    handle: Any
    range: float = 0.0

    def read(self) -> float:
        try:
            return float(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)) / 1e3
        except self.nvml.NVMLError as error:
            raise OSError(str(error)) from None


def _of_gpu(device: torch.device) -> list[_Gpu]:
    """Return the counter of a GPU, found by its UUID: torch numbers only the visible GPUs."""
    try:
        nvml = import_module("pynvml")
        nvml.nvmlInit()
        return [_Gpu(nvml, nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}"))]
    except ImportError:
        return []
    except nvml.NVMLError:
        return []
