"""What a trial does to the machine, read with MLflow's own monitors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

FINE_SECONDS, COARSE_SECONDS = 1.0, 10.0  # between samples: a short trial needs points, a long one no flood
FINE_SAMPLES = 60
KINDS = (("cpu_monitor", "CPUMonitor"), ("gpu_monitor", "GPUMonitor"))


class System:
    """Processor, memory and, where there is one that can be asked, GPU."""

    def __init__(self) -> None:
        self._monitors = list(_monitors())
        self.read()  # processor use is measured between two readings: this is the first

    def pause(self, samples: int) -> float:
        """Return the seconds to wait after that many samples."""
        return FINE_SECONDS if samples < FINE_SAMPLES else COARSE_SECONDS

    def read(self) -> dict[str, float]:
        """Return the state of the machine since the last reading, under the names that MLflow's UI groups."""
        found: dict[str, float] = {}
        for monitor in list(self._monitors):
            try:
                monitor.collect_metrics()
                found |= {f"system/{name}": value for name, value in monitor.aggregate_metrics().items()}
                monitor.clear_metrics()
            except Exception:  # a driver's errors are its own; none is worth a trial
                self._monitors.remove(monitor)
        return found


def _monitors() -> Iterator[Any]:
    """Yield the monitors that work here; NVIDIA's library is missing, or finds no GPU, on most machines."""
    for module, kind in KINDS:
        with suppress(Exception):
            yield getattr(import_module(f"mlflow.system_metrics.metrics.{module}"), kind)()
