"""Samples of the machine's state during a trial, read with MLflow's own monitors."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

FINE_SECONDS, COARSE_SECONDS = 1.0, 10.0  # between samples: fine at first, so that short trials have enough of them
FINE_SAMPLES = 60
MONITORS = (("cpu_monitor", "CPUMonitor"), ("gpu_monitor", "GPUMonitor"))


class ResourceSampler:
    """Thread that appends samples of processor, memory and GPU to ``file``, a JSON object per line.

    ``after_sample`` is called in the thread after each sample but the last. An OSError of the file is kept in
    ``error`` and ends the thread.
    """

    def __init__(self, file: Path, after_sample: Callable[[], None]) -> None:
        self.error: OSError | None = None
        self._file, self._after_sample, self._count = file, after_sample, 0
        self._monitors: list[Any] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._monitors = list(_create_monitors())
        self._read()  # processor use is measured between two readings: this is the first
        self._thread.start()

    def stop(self) -> None:
        """Take a last sample and end the thread, if it was started."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopped.wait(FINE_SECONDS if self._count < FINE_SAMPLES else COARSE_SECONDS):
                self._write_sample()
                self._after_sample()
            self._write_sample()  # the shortest trial has one sample as well
        except OSError as error:
            self.error = error

    def _write_sample(self) -> None:
        row = {"step": self._count, "time": round(time.time(), 3), **self._read()}  # MLflow stores milliseconds
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._count += 1

    def _read(self) -> dict[str, float]:
        """Return the state of the machine since the last reading, by the names that MLflow's UI groups."""
        values: dict[str, float] = {}
        for monitor in list(self._monitors):
            try:
                monitor.collect_metrics()
                values |= {f"system/{name}": value for name, value in monitor.aggregate_metrics().items()}
                monitor.clear_metrics()
            except Exception:  # any error of a driver: no sample is worth a trial
                self._monitors.remove(monitor)
        return values


def _create_monitors() -> Iterator[Any]:
    """Yield the monitors that work here; most machines lack NVIDIA's library or a GPU."""
    for module, kind in MONITORS:
        with suppress(Exception):
            yield getattr(import_module(f"mlflow.system_metrics.metrics.{module}"), kind)()
