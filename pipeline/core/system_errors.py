"""What a machine that has run short of something says, as a line that a user can act on.

Libraries tell the same in ways of their own: torch by a RuntimeError, safetensors by a text that holds the number of
the system's error, SQLite by words. None of them is imported to read it.
"""

from __future__ import annotations

import errno
import os
import re

from pipeline.core.errors import UserError

AGAIN = "run the same command again: what is finished is kept"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
FILES = (errno.EMFILE, errno.ENFILE)
PROCESSES = (errno.EAGAIN,)  # of a fork
NUMBER = re.compile(r"(?:os error|code:|\[errno) (\d+)", re.IGNORECASE)  # in the texts of Rust and of Arrow
SQLITE = {"database or disk is full": errno.ENOSPC, "attempt to write a readonly database": errno.EROFS}
MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "can't start new thread")
GPU = ("CUDA", "NVIDIA", "cuDNN", "NCCL")


def convert_error(error: BaseException) -> UserError | None:
    """Return what to say of an error that is the machine's and nobody's mistake in code, or None where it is not."""
    if isinstance(error, FileNotFoundError) and "temporary directory" in str(error):
        return UserError("no folder for temporary files can be written; let TMPDIR name one that can")
    number, text = _number(error), _line(error)
    if number in FULL:
        return UserError(f"{_where(error)}no room left ({os.strerror(number)}); make room and {AGAIN}")
    if number in FORBIDDEN:
        return UserError(
            f"{_where(error)}not allowed ({os.strerror(number)}); let this user read and write there, and {AGAIN}"
        )
    if number in FILES:
        return UserError(f"{_where(error)}too many open files; allow more (`ulimit -n 65536`) and {AGAIN}")
    if number in PROCESSES:
        return UserError(f"too many processes; end others, or allow more (`ulimit -u`), and {AGAIN}")
    if _short_of_memory(error, number, text):
        return UserError(
            f"not enough memory ({text or 'none left'}); end other programs, or ask for smaller batches or fewer "
            f"processes at once, and {AGAIN}"
        )
    if isinstance(error, (RuntimeError, AssertionError)) and any(word in text for word in GPU):
        return UserError(
            f"the GPU cannot be used ({text}); see to its driver, or `export CUDA_VISIBLE_DEVICES=` for none"
        )
    return None


def _number(error: BaseException) -> int:
    """Return the system's number of an error, 0 where it has none."""
    if isinstance(error, OSError):
        return error.errno or 0
    kind = type(error)
    if kind.__name__ == "SafetensorError":
        found = NUMBER.search(str(error))
        return int(found[1]) if found else 0
    if kind.__name__ == "OperationalError":  # of sqlite3, or of SQLAlchemy around it
        return next((number for words, number in SQLITE.items() if words in str(error)), 0)
    return 0


def _short_of_memory(error: BaseException, number: int, text: str) -> bool:
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError) and any(words in text for words in MEMORY)


def _where(error: BaseException) -> str:
    name = getattr(error, "filename", None)
    return f"{name}: " if name else ""


def _line(error: BaseException) -> str:
    """Return the first line of what an error says."""
    return next(iter(str(error).strip().splitlines()), "")
