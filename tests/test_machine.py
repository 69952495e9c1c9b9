"""What the machine is and how a run is made repeatable on it."""

import os
import random

import numpy as np
import pytest
import torch

from pipeline import machine
from pipeline.errors import UserError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("flags", "chosen"),
    [("fpu avx2 avx512f", "fp32"), ("avx512f avx512_bf16", "bf16"), ("amx_bf16 amx_tile", "bf16"), ("", "fp32")],
)
def test_the_precision_is_what_the_processor_has(monkeypatch: pytest.MonkeyPatch, flags: str, chosen: str) -> None:
    monkeypatch.setattr(machine, "_cpuinfo", lambda field: {"flags": flags}[field])
    assert machine.precision(CPU) == chosen


@pytest.mark.parametrize(("supported", "chosen"), [(True, "bf16"), (False, "fp32")])
def test_the_precision_is_what_the_gpu_has(monkeypatch: pytest.MonkeyPatch, supported: bool, chosen: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert machine.precision(torch.device("cuda")) == chosen


def test_the_machine_describes_itself() -> None:
    told = machine.describe()
    assert list(told) == [
        "processor", "cores", "threads", "memory_gib", "device", "precision", "python", "torch", "transformers",
    ]  # fmt: skip
    assert told["cores"] == len(os.sched_getaffinity(0))
    assert told["torch"] == torch.__version__.split("+")[0] or told["torch"] == torch.__version__
    assert all(value not in ("", 0, None) for value in told.values())


def test_threads_are_set_and_default_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        machine.set_threads(1)
        assert torch.get_num_threads() == 1
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        machine.set_threads(None)
        assert torch.get_num_threads() == len(os.sched_getaffinity(0))
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        machine.set_threads(None)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, -2, 1.5, "two"])
def test_a_number_of_threads_that_is_none_is_refused(count: object) -> None:
    with pytest.raises(UserError) as error:
        machine.set_threads(count)  # type: ignore[arg-type]
    assert str(error.value) == f"threads: got {count!r}; give a whole number from 1, or null for every core"


def test_every_generator_is_seeded() -> None:
    def draws(seed: int) -> tuple[float, float, float]:
        machine.make_repeatable(seed)
        return random.random(), float(np.random.rand()), torch.rand(1).item()

    first, again, other = draws(1), draws(1), draws(2)
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))
    assert torch.are_deterministic_algorithms_enabled()


def test_the_peak_is_that_since_the_last_reset() -> None:
    machine.reset_peak_memory()
    before = machine.peak_memory_mib(CPU)
    block = np.ones(64 * 2**20 // 8)
    assert machine.peak_memory_mib(CPU) - before > 50
    del block
    after = machine.peak_memory_mib(CPU)
    machine.reset_peak_memory()
    assert machine.peak_memory_mib(CPU) < after - 50
