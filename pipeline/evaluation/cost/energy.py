"""The energy that work takes, where the machine tells it."""

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
    """Something that counts joules."""

    @property
    def range(self) -> float:
        """Return the joules at which it starts again at zero; 0 where it does not."""

    def read(self) -> float:
        """Return the joules so far. Raises OSError or ValueError where they cannot be read."""


@dataclass
class Meter:
    """What a block took: ``joules``, or None where nothing tells it (never zero)."""

    joules: float | None = None


@contextmanager
def measured(device: torch.device, powercap: Path = POWERCAP) -> Iterator[Meter]:
    """Measure the joules of what ``device`` does inside the block; ``joules`` are there when it has ended.

    On a CPU: of all processor packages as a whole, idle cores and other processes' work included, without memory and
    power supply. On a GPU: of that GPU, its memory included, other processes' work too, without the processor. None
    where a counter is missing or may not be read: often only root may, and virtual machines have none. The counters
    advance each millisecond (processors) to each 100 ms (GPUs), so that a block should take some tenths of a second.
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
    """Return what all counters say; None where one says nothing, for the others would be a part of the whole."""
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
    """Return the counters of the packages: their parts (core, dram) are in them, and they in the platform (psys)."""
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
    """Return the counter of a GPU, found by its identity: torch counts only the GPUs that it may see."""
    try:
        nvml = import_module("pynvml")
        nvml.nvmlInit()
        return [_Gpu(nvml, nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}"))]
    except ImportError:
        return []
    except nvml.NVMLError:
        return []
