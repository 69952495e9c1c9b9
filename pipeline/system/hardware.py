"""Hardware detection, threads, GPUs, memory, and deterministic runs."""

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
CPU_FLAGS = "LAB_CPU_FLAGS"  # the environment variable that replaces the flags of the processor
AUTO = "auto"  # the fastest precision of the hardware
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # of glibc's mallopt(3)
GPU_LIST = "LAB_GPUS"  # the environment variable with all GPUs, once a trial has claimed some of them
_claimed: dict[str, BaseFileLock] = {}  # the GPUs of this process


def get_device() -> torch.device:
    """Return the GPU if there is one, else the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def read_cpu_flags() -> set[str]:
    """Return the instruction sets of the processor, such as ``avx2`` and ``amx_bf16``.

    ``LAB_CPU_FLAGS="avx2 fma"`` replaces the list of Linux (``flags`` on x86, ``Features`` on Arm); stage commands
    inherit it. The set is empty where there is neither.
    """
    return set((os.environ.get(CPU_FLAGS) or _read_cpuinfo("flags") or _read_cpuinfo("Features")).split())


def has_native_bf16(at: torch.device) -> bool:
    """Return whether ``at`` has instructions for bf16 products: AMX, AVX512-BF16, Arm's BF16 or those of a GPU."""
    if at.type == "cuda":
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(BF16_FLAGS & read_cpu_flags())


def get_fastest_precision(at: torch.device) -> str:
    """Return the fastest precision for matrix products on ``at``: ``bf16`` or ``fp32``.

    Emulated bf16 is at least 30 times as slow as fp32. With ``avx512_bf16`` but no AMX, bf16 is still faster:
    on an AMD Zen 4 a fine-tuning step under autocast took 0.54 of the time of fp32 for 6 layers of 384, and 0.80 for
    2 layers of 96.
    """
    return "bf16" if has_native_bf16(at) else "fp32"


def resolve_precision(wanted: str, at: torch.device) -> str:
    """Return the precision for ``wanted`` on ``at``: the fastest one for ``auto``, else ``wanted``."""
    return get_fastest_precision(at) if wanted == AUTO else wanted


def is_emulated(precision: str, at: torch.device) -> bool:
    """Return whether ``at`` has no instructions for ``precision``, so that it is slow and has no meaningful peak."""
    return precision == "bf16" and not has_native_bf16(at)


def has_int8_overflow(at: torch.device) -> bool:
    """Return whether ``at`` sums int8 products in 16 bits, as processors without VNNI do: the full range overflows."""
    return at.type == "cpu" and not VNNI_FLAGS & read_cpu_flags()


@contextmanager
def autocast(at: torch.device, precision: str) -> Iterator[None]:
    """Compute matrix products in ``precision`` inside the block: ``bf16`` by autocast, or ``fp32``."""
    import torch

    with torch.autocast(at.type, torch.bfloat16, enabled=precision == "bf16"):
        yield


def get_available_threads(processes: int | None = None) -> int:
    """Return the number of threads of a process: ``OMP_NUM_THREADS`` if set, else its share of the cores.

    ``processes`` share the cores of the machine; by default those that torchrun started on it.
    """
    processes = processes or int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return get_requested_threads() or max(1, count_cores() // processes)


def get_requested_threads() -> int:
    """Return the number of threads in ``OMP_NUM_THREADS``; 0 if it is not set."""
    value = os.environ.get("OMP_NUM_THREADS", "")
    return int(value) if value.isdigit() else 0


def set_threads(count: int | None) -> None:
    """Compute with ``count`` threads in each process, or with all available ones for None.

    The weights of a trial have the same bytes only for the same count. Raises UserError for a count below 1.
    """
    import torch

    if count is not None and (not isinstance(count, int) or count < 1):
        raise UserError(f"threads: got {count!r}; give a whole number from 1, or null for every core")
    torch.set_num_threads(count or get_available_threads())


def should_run_alone(threads: int | None) -> bool:
    """Return whether a trial uses every core of the machine: it states no threads, and no launcher assigned cores.

    A trial on a GPU leaves the cores idle. A process that may not use all cores was assigned its own.
    """
    is_assigned = get_requested_threads() or not 1 < count_cores() == os.cpu_count()
    return threads is None and not is_assigned and get_device().type == "cpu"


def count_gpus() -> int:
    """Return the number of GPUs that this process can see."""
    import torch

    return torch.cuda.device_count()


def claim_gpus(count: int) -> None:
    """Claim ``count`` GPUs for the life of this process and its children.

    Trials that run at the same time get separate GPUs, and wait where none is free. A single GPU is shared. A later
    call for more GPUs claims all of them again.
    Raises UserError where the machine has fewer than ``count``.
    """
    import torch
    from filelock import FileLock, Timeout

    if len(_claimed) >= count:
        return
    if _claimed:  # by an earlier trial of this process, which needed fewer
        _release_gpus()
        os.environ["CUDA_VISIBLE_DEVICES"] = os.environ[GPU_LIST]
    count_visible = torch.cuda.device_count()  # by NVML, which does not initialize CUDA
    if not count_visible:
        return
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    # CUDA ignores the first invalid entry of the list and all that follow.
    indices = [str(number) for number in range(count_visible)]
    names = [name.strip() for name in listed.split(",")[:count_visible]] if listed else indices
    if count > len(names):
        raise UserError(f"processes: got {count}, but this machine has {len(names)} GPUs; each process needs its own")
    if len(names) == 1:
        return
    is_reported = False
    while len(_claimed) < count:
        for name in names:
            lock = FileLock(paths.get_machine_dir() / f"gpu-{name.replace('/', '-')}.lock")
            with suppress(Timeout):
                lock.acquire(blocking=False)
                _claimed[name] = lock
            if len(_claimed) == count:
                break
        else:
            _release_gpus()  # all or none: two processes that hold half each would never get the rest
            if not is_reported:
                print(f"waiting for {count} of {len(names)} GPUs", flush=True)
            is_reported = True
            time.sleep(1)
    os.environ[GPU_LIST] = ",".join(names)
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(_claimed)  # CUDA reads it at its first use, which is later


def _release_gpus() -> None:
    while _claimed:
        _claimed.popitem()[1].release()


def make_deterministic(seed: int) -> None:
    """Seed every generator and choose deterministic kernels: the same seed and threads give the same bytes."""
    import numpy as np
    import torch
    import torch.utils.deterministic

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required by cuBLAS for deterministic results
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # it guards against bugs, at the cost of a pass
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def set_malloc_options() -> None:
    """Let the process keep freed memory, since each training step allocates the same again.

    glibc returns large blocks to the system, and each of their pages faults at its next use: 1,100 faults and a tenth
    of the time in a step of bert-tiny. Does nothing where the C library has no ``mallopt``.
    """
    with suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        for setting, value in ((TRIM_THRESHOLD, 2**30), (TOP_PAD, 2**26), (MMAP_THRESHOLD, 2**25)):
            library.mallopt(setting, value)


def reset_peak_memory() -> None:
    """Reset ``get_peak_memory_mib``; where the kernel forbids it, the peak covers the life of the process."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the high-water mark of resident memory


def get_peak_memory_mib(at: torch.device) -> float:
    """Return the peak since ``reset_peak_memory`` of the tensors on a GPU, else of the resident memory."""
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
    match = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(match[1]) / 1024 if match else 0.0


def get_resident_memory_mib() -> float:
    """Return the resident memory of the process."""
    import psutil

    return int(psutil.Process().memory_info().rss) / MIB


def describe_machine() -> dict[str, Any]:
    """Return what numbers of a result depend on: processor, cores, threads, memory, versions, device, precision."""
    import torch

    at = get_device()
    return {
        "processor": _read_cpuinfo("model name") or platform.processor() or platform.machine(),
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
    """Return the versions of torch and transformers."""
    from importlib.metadata import version

    return {package: version(package) for package in ("torch", "transformers")}


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _read_cpuinfo(field: str) -> str:
    """Return the first value of a field in /proc/cpuinfo; empty on systems without it."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    match = re.search(rf"^{field}\s*:\s*(.*)$", text, re.MULTILINE)
    return match[1].strip() if match else ""
