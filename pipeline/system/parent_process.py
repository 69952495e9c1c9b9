"""Link to the life of the parent process."""

import signal
import sys


def end_with_parent() -> None:
    """Let the kernel kill this process when its parent ends in any way (Linux only)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG of prctl(2)
