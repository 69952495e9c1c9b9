"""What the machine is and how a run is made repeatable on it."""

import ctypes
import mmap
import os
import random
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.core.errors import UserError
from pipeline.system import hardware

CPU = torch.device("cpu")


def held(mebibytes: int = 64) -> mmap.mmap:
    """Return memory of its own, each page touched: what was freed before may be what an array is given."""
    block = mmap.mmap(-1, mebibytes * hardware.MIB)
    for place in range(0, len(block), mmap.PAGESIZE):
        block[place] = 1
    return block


@pytest.mark.parametrize(
    ("field", "flags", "chosen"),
    [
        ("flags", "fpu avx2 avx512f", "fp32"),
        ("flags", "avx512f avx512_bf16", "bf16"),
        ("flags", "amx_bf16 amx_tile", "bf16"),
        ("Features", "fp asimd asimddp", "fp32"),
        ("Features", "fp asimd i8mm bf16", "bf16"),
        ("flags", "", "fp32"),
    ],
)
def test_bf16_is_chosen_only_where_the_processor_has_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, field: str, flags: str, chosen: str
) -> None:
    monkeypatch.delenv(hardware.CPU_FLAGS, raising=False)
    monkeypatch.setattr(hardware, "_read_cpuinfo", lambda name: {field: flags}.get(name, ""))
    assert hardware.get_fastest_precision(CPU) == hardware.resolve_precision("auto", CPU) == chosen
    assert hardware.is_emulated("bf16", CPU) is (chosen == "fp32")
    assert not hardware.is_emulated("fp32", CPU)


@pytest.mark.parametrize("wanted", ["bf16", "fp32"])
def test_a_forced_precision_stays_on_any_processor(monkeypatch: pytest.MonkeyPatch, wanted: str) -> None:
    monkeypatch.setenv(hardware.CPU_FLAGS, "avx2 fma")
    assert hardware.resolve_precision(wanted, CPU) == wanted


@pytest.mark.parametrize(("flags", "chosen"), [("avx2 fma", "fp32 True"), ("avx512_vnni amx_bf16", "bf16 False")])
def test_a_variable_replaces_the_processors_flags_in_commands_that_inherit_it(flags: str, chosen: str) -> None:
    script = (
        "import torch; from pipeline.system import hardware; cpu = torch.device('cpu'); "
        "print(hardware.get_fastest_precision(cpu), hardware.has_int8_overflow(cpu))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, "LAB_CPU_FLAGS": flags}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout == f"{chosen}\n"


def test_int8_never_overflows_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(hardware.CPU_FLAGS, "avx2 fma")
    assert not hardware.has_int8_overflow(torch.device("cuda"))


@pytest.mark.parametrize(("supported", "chosen"), [(True, "bf16"), (False, "fp32")])
def test_the_precision_is_what_the_gpu_has(monkeypatch: pytest.MonkeyPatch, supported: bool, chosen: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: supported)
    assert hardware.get_fastest_precision(torch.device("cuda")) == chosen


def test_the_machine_describes_itself() -> None:
    told = hardware.describe_machine()
    assert list(told) == [
        "processor", "cores", "threads", "memory_gib", "device", "precision", "python", "torch", "transformers",
    ]  # fmt: skip
    assert told["cores"] == len(os.sched_getaffinity(0))
    assert told["torch"] == torch.__version__.split("+")[0] or told["torch"] == torch.__version__
    assert all(value not in ("", 0, None) for value in told.values())


def test_threads_are_set_and_default_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads()
    try:
        hardware.set_threads(1)
        assert torch.get_num_threads() == 1
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        hardware.set_threads(None)
        assert torch.get_num_threads() == len(os.sched_getaffinity(0))
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        hardware.set_threads(None)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("count", [0, -2, 1.5, "two"])
def test_a_number_of_threads_that_is_none_is_refused(count: object) -> None:
    with pytest.raises(UserError) as error:
        hardware.set_threads(count)  # type: ignore[arg-type]
    assert str(error.value) == f"threads: got {count!r}; give a whole number from 1, or null for every core"


def test_every_generator_is_seeded() -> None:
    def draws(seed: int) -> tuple[float, float, float]:
        hardware.make_deterministic(seed)
        return random.random(), float(np.random.rand()), torch.rand(1).item()

    first, again, other = draws(1), draws(1), draws(2)
    assert first == again
    assert all(one != two for one, two in zip(first, other, strict=True))
    assert torch.are_deterministic_algorithms_enabled()


def test_the_peak_is_that_since_the_last_reset() -> None:
    hardware.reset_peak_memory()
    before = hardware.get_peak_memory_mib(CPU)
    block = held()
    assert hardware.get_peak_memory_mib(CPU) - before > 50
    del block
    after = hardware.get_peak_memory_mib(CPU)
    hardware.reset_peak_memory()
    assert hardware.get_peak_memory_mib(CPU) < after - 50


@pytest.mark.parametrize(
    ("asked", "together", "threads"),
    [(None, None, 8), (None, "3", 2), (None, "20", 1), ("5", "3", 5), ("0", "2", 4), ("many", "2", 4), ("", "8", 1)],
)
def test_threads_are_those_asked_for_or_a_share_of_the_cores(
    monkeypatch: pytest.MonkeyPatch, asked: str | None, together: str | None, threads: int
) -> None:
    monkeypatch.setattr(hardware, "count_cores", lambda: 8)
    for name, value in (("OMP_NUM_THREADS", asked), ("LOCAL_WORLD_SIZE", together)):
        monkeypatch.setenv(name, value or "")
        if value is None:
            monkeypatch.delenv(name)
    assert hardware.get_available_threads() == threads


def test_resident_memory_follows_what_is_held() -> None:
    before = hardware.get_resident_memory_mib()
    block = held()
    assert 60 < hardware.get_resident_memory_mib() - before < 80
    del block
    assert hardware.get_resident_memory_mib() - before < 16


def test_the_peak_of_resident_memory_outlives_what_was_held() -> None:
    hardware.reset_peak_memory()
    before = hardware.get_resident_memory_mib()
    assert hardware.get_peak_resident_memory_mib() == pytest.approx(before, abs=8)
    block = held()
    del block
    assert 60 < hardware.get_peak_resident_memory_mib() - before < 80


# A trial beside this one on a machine with GPUs: it claims some, says which it sees, and keeps them until it is told.
TRIAL = """
import os, sys, types
sys.modules["torch"] = types.SimpleNamespace(cuda=types.SimpleNamespace(device_count=lambda: int(sys.argv[1])))
from pipeline.system import hardware
hardware.claim_gpus(int(sys.argv[2]))
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
sys.stdin.read()
"""
LIMIT = 30.0  # seconds after which something that should happen did not


class Trial:
    """A trial in a process of its own."""

    def __init__(self, folder: Path, there: int, count: int, listed: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", TRIAL, str(there), str(count)], bufsize=0, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(folder), "CUDA_VISIBLE_DEVICES": listed},
        )  # fmt: skip

    def says(self) -> str:
        """Return the next line that it prints."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], LIMIT)[0], "it says nothing"
        return self.process.stdout.readline().decode().strip()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


Begin = Callable[..., Trial]
Gpus = Callable[[int], None]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Begin trials on a machine with so many GPUs, that ask for so many."""
    with ExitStack() as trials:

        def begun(there: int, count: int, listed: str = "") -> Trial:
            trial = Trial(tmp_path, there, count, listed)
            trials.callback(trial.end)
            return trial

        yield begun


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpus]:
    """Make this a machine with so many GPUs, of which this process has none yet, beside the trials of ``begin``."""
    claimed: dict[str, Any] = {}
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(hardware, "_claimed", claimed)
    monkeypatch.setattr(hardware.time, "sleep", lambda seconds: pytest.fail("it waits for a GPU"))
    for name in ("CUDA_VISIBLE_DEVICES", hardware.GPU_LIST):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield lambda there: monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    for lock in claimed.values():
        lock.release()


def visible() -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.mark.parametrize(("there", "count"), [(0, 1), (0, 4), (1, 1)])
def test_no_gpu_or_a_single_one_is_nothing_to_claim(gpus: Gpus, tmp_path: Path, there: int, count: int) -> None:
    gpus(there)
    hardware.claim_gpus(count)
    assert visible() is None
    assert not list(tmp_path.rglob("*.lock"))


@pytest.mark.parametrize(("there", "listed", "count", "names"), [(2, None, 3, 2), (1, None, 2, 1), (2, "3,1", 3, 2)])
def test_more_processes_than_gpus_are_refused(
    gpus: Gpus, monkeypatch: pytest.MonkeyPatch, there: int, listed: str | None, count: int, names: int
) -> None:
    gpus(there)
    if listed:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    with pytest.raises(UserError) as error:
        hardware.claim_gpus(count)
    assert str(error.value) == (
        f"processes: got {count}, but this machine has {names} GPUs; each process needs its own"
    )
    assert visible() == listed


def test_trials_side_by_side_get_gpus_of_their_own(gpus: Gpus, begin: Begin) -> None:
    gpus(3)
    hardware.claim_gpus(1)
    assert visible() == "0"
    assert begin(3, 2).says() == "1,2"


def test_a_process_claims_once(gpus: Gpus, begin: Begin) -> None:
    gpus(2)
    hardware.claim_gpus(1)
    hardware.claim_gpus(1)
    assert visible() == "0"
    assert begin(2, 1).says() == "1"


def test_a_trial_that_finds_no_gpu_free_waits_for_the_first_that_is(begin: Begin) -> None:
    first, second = begin(2, 1), begin(2, 1)
    names = {first.says(), second.says()}
    assert names == {"0", "1"}
    third = begin(2, 1)
    assert third.says() == "waiting for 1 of 2 GPUs"
    second.end()
    assert third.says() in names
    fourth = begin(2, 1)
    assert fourth.says() == "waiting for 1 of 2 GPUs"


def test_a_trial_that_waits_for_two_gpus_holds_neither(begin: Begin, gpus: Gpus) -> None:
    gpus(2)
    hardware.claim_gpus(1)
    both = begin(2, 2)
    assert both.says() == "waiting for 2 of 2 GPUs"
    one = begin(2, 1)
    said = one.says()
    assert "1" in (said, said.startswith("waiting") and one.says())  # `both` may be looking just then


@pytest.mark.parametrize(("listed", "there"), [("5,2,7", 3), (" 5, 2 ,7", 3), ("5,2,-1,7", 2), ("5,2,99", 2)])
def test_of_the_gpus_that_the_user_names_those_that_cuda_sees_are_taken_in_their_order(
    gpus: Gpus, begin: Begin, monkeypatch: pytest.MonkeyPatch, listed: str, there: int
) -> None:
    gpus(there)
    assert begin(2, 1, "5,2").says() == "5"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    hardware.claim_gpus(there - 1)
    assert visible() == ("2,7" if there == 3 else "2")


def test_a_gpu_that_cuda_does_not_see_is_none(gpus: Gpus, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,9")
    with pytest.raises(UserError) as error:
        hardware.claim_gpus(2)
    assert str(error.value) == "processes: got 2, but this machine has 1 GPUs; each process needs its own"


def test_a_later_trial_of_the_same_process_that_needs_more_gets_more(gpus: Gpus) -> None:
    gpus(4)
    hardware.claim_gpus(1)
    hardware.claim_gpus(3)
    assert visible() == "0,1,2"


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="mallopt and mallinfo2 are glibc's")
def test_memory_that_is_freed_stays_with_the_process_where_asked() -> None:
    # What the C library says that it holds: the page faults that this saves are not counted by every kernel.
    program = """
import ctypes
from pipeline.system import hardware
class Held(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd".split() + list("abcde")]
held = ctypes.CDLL(None).mallinfo2
held.restype = Held
{}
before = held()
del [bytes(24 * 2**20) for _ in range(3)][:]
after = held()
print((after.arena + after.hblkhd - before.arena - before.hblkhd) // 2**20)
"""
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", program.format(call)], capture_output=True, check=True).stdout)
        for call in ("hardware.set_malloc_options()", "pass")
    )
    assert given_back == 0
    assert kept >= 72


@pytest.mark.parametrize(
    ("threads", "asked", "may_use", "there", "whole"),
    [(None, "", 4, 4, True), (1, "", 4, 4, False), (4, "", 4, 4, False), (None, "4", 4, 4, False),
     (None, "", 2, 4, False), (None, "", 1, 1, False)],
)  # fmt: skip
def test_a_trial_takes_every_core_where_nobody_has_given_them_out(
    monkeypatch: pytest.MonkeyPatch, threads: int | None, asked: str, may_use: int, there: int, whole: bool
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    monkeypatch.setattr(hardware, "count_cores", lambda: may_use)
    monkeypatch.setattr(os, "cpu_count", lambda: there)
    monkeypatch.setattr(hardware, "get_device", lambda: CPU)
    assert hardware.should_run_alone(threads) is whole
    monkeypatch.setattr(hardware, "get_device", lambda: torch.device("cuda"))
    assert not hardware.should_run_alone(threads)
