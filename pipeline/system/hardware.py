"""What the hardware is, how it is used, and how a run is made repeatable on it."""

from __future__ import annotations

import ctypes
import os
import platform
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import paths
from pipeline.core.errors import UserError

if TYPE_CHECKING:
    import torch
    from filelock import BaseFileLock

MIB = 2**20
BF16_FLAGS = {"amx_bf16", "avx512_bf16", "bf16"}  # of x86 and, the last, of Arm
VNNI_FLAGS = {"avx512_vnni"}
CPU_FLAGS = "LAB_CPU_FLAGS"  # the variable that replaces what the processor reports
AUTO = "auto"  # the precision that the hardware computes fastest in
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # of glibc's mallopt(3)
GPU_LIST = "LAB_GPUS"  # the variable that names those among which a trial may choose, once it has chosen
_claimed: dict[str, BaseFileLock] = {}  # the GPUs of this process


def get_device() -> torch.device:
    """Return the GPU where there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def read_cpu_flags() -> set[str]:
    """Return the instruction sets of the processor, such as ``avx2`` and ``amx_bf16``.

    ``LAB_CPU_FLAGS="avx2 fma"`` replaces what Linux lists (``flags`` on x86, ``Features`` on Arm); stage commands
    inherit it. Without either the set is empty.
    """
    return set((os.environ.get(CPU_FLAGS) or _cpuinfo("flags") or _cpuinfo("Features")).split())


def has_native_bf16(at: torch.device) -> bool:
    """Return whether ``at`` has instructions for bf16 products: AMX, AVX512-BF16, Arm's BF16 or those of a GPU."""
    if at.type == "cuda":
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(BF16_FLAGS & read_cpu_flags())


def get_fastest_precision(at: torch.device) -> str:
    """Return the fastest precision that ``at`` computes matrix products in: ``bf16`` or ``fp32``.

    Emulated bf16 is slower than fp32 by a factor of 30 and more. With ``avx512_bf16`` alone (no AMX) bf16 still pays:
    on an AMD Zen 4 a fine-tuning step under autocast took 0.54 of the time of fp32 for 6 layers of 384, and 0.80 for
    2 layers of 96.
    """
    return "bf16" if has_native_bf16(at) else "fp32"


def resolve_precision(wanted: str, at: torch.device) -> str:
    """Return the precision that ``wanted`` means on ``at``: ``auto`` is the fastest one, the others are themselves."""
    return get_fastest_precision(at) if wanted == AUTO else wanted


def is_emulated(precision: str, at: torch.device) -> bool:
    """Return whether ``at`` lacks instructions for ``precision``, so that it is slow and has no meaningful peak."""
    return precision == "bf16" and not has_native_bf16(at)


def has_int8_overflow(at: torch.device) -> bool:
    """Return whether ``at`` adds int8 products up in 16 bits, as processors without VNNI do: full range overflows."""
    return at.type == "cpu" and not VNNI_FLAGS & read_cpu_flags()


@contextmanager
def autocast(at: torch.device, precision: str) -> Iterator[None]:
    """Compute matrix products in ``precision`` inside the block: ``bf16`` by autocast, or ``fp32``."""
    import torch

    with torch.autocast(at.type, torch.bfloat16, enabled=precision == "bf16"):
        yield


def get_available_threads(together: int | None = None) -> int:
    """Return how many threads a process may use: those of ``OMP_NUM_THREADS`` where set, else its share of the cores.

    ``together`` processes share the cores of the machine; None is as many as were started with this one.
    """
    together = together or int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return get_requested_threads() or max(1, count_cores() // together)


def get_requested_threads() -> int:
    """Return how many threads ``OMP_NUM_THREADS`` asks of a process, 0 where it does not."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() else 0


def set_threads(count: int | None) -> None:
    """Compute with ``count`` threads in each process, or with all that are available when None.

    The weights of a trial are the same bytes only for the same count. Raises UserError when it is not positive.
    """
    import torch

    if count is not None and (not isinstance(count, int) or count < 1):
        raise UserError(f"threads: got {count!r}; give a whole number from 1, or null for every core")
    torch.set_num_threads(count or get_available_threads())


def should_run_alone(threads: int | None) -> bool:
    """Say whether a trial of so many threads has every core of the machine: none stated, and none given out by others.

    A GPU's trial leaves the cores idle; a process that may not use all of them was given its own.
    """
    given_out = get_requested_threads() or not 1 < count_cores() == os.cpu_count()
    return threads is None and not given_out and get_device().type == "cpu"


def count_gpus() -> int:
    """Return how many GPUs this process could choose among."""
    import torch

    return torch.cuda.device_count()


def claim_gpus(count: int) -> None:
    """Take ``count`` GPUs for this process and those that it starts, for as long as it lives.

    Trials that run side by side so take one each: one that finds none free waits. A machine with a single GPU shares
    it, one without has none to give. A later call for more begins anew.
    Raises UserError where the machine has fewer than ``count``.
    """
    import torch
    from filelock import FileLock, Timeout

    if len(_claimed) >= count:
        return
    if _claimed:  # by an earlier trial of this process, which needed fewer
        _give_back()
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ[GPU_LIST]
    there = torch.cuda.device_count()  # asked of the driver's library: CUDA itself is not begun yet
    if not there:
        return
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    # Of those that are listed CUDA sees the ones before the first that is none.
    names = [name.strip() for name in listed.split(",")[:there]] if listed else [str(number) for number in range(there)]
    if count > len(names):
        raise UserError(f"processes: got {count}, but this machine has {len(names)} GPUs; each process needs its own")
    if len(names) == 1:
        return
    told = False
    while len(_claimed) < count:
        for name in names:
            lock = FileLock(paths.get_machine_dir() / f"gpu-{name.replace('/', '-')}.lock")
            with suppress(Timeout):
                lock.acquire(blocking=False)
                _claimed[name] = lock
            if len(_claimed) == count:
                break
        else:
            _give_back()  # all or none: two that hold half each would wait for ever
            if not told:
                print(f"waiting for {count} of {len(names)} GPUs", flush=True)
            told = True
            time.sleep(1)
    os.environ[GPU_LIST] = ",".join(names)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(_claimed)  # read when CUDA is first used, which is later


def _give_back() -> None:
    while _claimed:
        _claimed.popitem()[1].release()


def make_deterministic(seed: int) -> None:
    """Seed every generator and choose deterministic kernels: the same seed and threads give the same bytes."""
    import numpy as np
    import torch
    import torch.utils.deterministic

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for to be deterministic
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # it guards against bugs, at the cost of a pass
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def set_malloc_options() -> None:
    """Let the process keep the memory that it frees: a training step takes the same again.

    glibc gives large blocks back, and each of their pages faults when it is touched anew: 1,100 faults and a tenth of
    the time in a step of bert-tiny. Where the C library has no ``mallopt`` nothing happens.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for setting, value in ((TRIM_THRESHOLD, 2**30), (TOP_PAD, 2**26), (MMAP_THRESHOLD, 2**25)):
            library.mallopt(setting, value)


def reset_peak_memory() -> None:
    """Start a new measurement of ``peak_memory_mib``; where the kernel forbids it, the peak is the process's."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the high-water mark of resident memory


def get_peak_memory_mib(at: torch.device) -> float:
    """Return the peak since ``reset_peak_memory``: of the tensors on a GPU, else of the process's resident memory."""
    if at.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(at) / MIB
    return get_peak_resident_memory_mib()


def get_peak_resident_memory_mib() -> float:
    """Return the peak of the process's resident memory since ``reset_peak_memory``."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB  # bytes on macOS
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def get_resident_memory_mib() -> float:
    """Return the resident memory of the process."""
    import psutil

    return int(psutil.Process().memory_info().rss) / MIB


def describe_machine() -> dict[str, Any]:
    """Return what a result's numbers depend on: processor, cores, threads, memory, versions, device, precision."""
    import torch

    at = get_device()
    return {
        "processor": _cpuinfo("model name") or platform.processor() or platform.machine(),
        "cores": count_cores(),
        "threads": torch.get_num_threads(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "device": torch.cuda.get_device_name(at) if at.type == "cuda" else "cpu",
        "precision": get_fastest_precision(at),
        "python": platform.python_version(),
        **get_versions(),
    }


@cache
def get_versions() -> dict[str, str]:
    """Return the versions of what computes, by which a machine is described."""
    from importlib.metadata import version

    return {package: version(package) for package in ("torch", "transformers")}


def count_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpuinfo(field: str) -> str:
    """Return the first value of a field of Linux's list of processors; empty elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    found = re.search(rf"^{field}\s*:\s*(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""
