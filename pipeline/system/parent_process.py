"""The process that started this one."""

import signal
import sys


def end_with_parent() -> None:
    """Let the kernel end this process when its parent ends, however that does (Linux alone)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG of prctl(2)
