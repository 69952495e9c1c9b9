"""Conversion of errors of the machine (disk, memory, files, processes, GPU) to one line that a user can act on.

Libraries report the same error in different ways: torch raises RuntimeError, safetensors puts the number of the system
error into a text, SQLite has a message. This module recognizes them without importing the libraries.
"""

from __future__ import annotations

import errno
import os
import re

from pipeline.core.errors import UserError

AGAIN = "run the same command again: finished work is saved"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)
FILES = (errno.EMFILE, errno.ENFILE)
PROCESSES = (errno.EAGAIN,)  # from fork
NUMBER = re.compile(r"(?:os error|code:|\[errno) (\d+)", re.IGNORECASE)  # in messages of Rust libraries and of Arrow
SQLITE = {"database or disk is full": errno.ENOSPC, "attempt to write a readonly database": errno.EROFS}
MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "can't start new thread")
GPU = ("CUDA", "NVIDIA", "cuDNN", "NCCL")


def convert_error(error: BaseException) -> UserError | None:
    """Return the message for an error of the machine; None for any other error, which may be a bug."""
    if isinstance(error, FileNotFoundError) and "temporary directory" in str(error):
        return UserError("no folder for temporary files is writable; set TMPDIR to one that is")
    number, text = _get_errno(error), _get_first_line(error)
    if number in FULL:
        return UserError(f"{_format_file(error)}no space left ({os.strerror(number)}); free space and {AGAIN}")
    if number in FORBIDDEN:
        return UserError(
            f"{_format_file(error)}not allowed ({os.strerror(number)}); "
            f"give this user read and write access, and {AGAIN}"
        )
    if number in FILES:
        return UserError(f"{_format_file(error)}too many open files; raise the limit (`ulimit -n 65536`) and {AGAIN}")
    if number in PROCESSES:
        return UserError(f"too many processes; end others, or raise the limit (`ulimit -u`), and {AGAIN}")
    if _is_out_of_memory(error, number, text):
        return UserError(
            f"not enough memory ({text or 'none left'}); end other programs, or use smaller batches or fewer "
            f"processes, and {AGAIN}"
        )
    if isinstance(error, (RuntimeError, AssertionError)) and any(word in text for word in GPU):
        return UserError(
            f"the GPU cannot be used ({text}); check its driver, or `export CUDA_VISIBLE_DEVICES=` to use none"
        )
    return None


def _get_errno(error: BaseException) -> int:
    """Return the errno of an error, 0 where it has none."""
    if isinstance(error, OSError):
        return error.errno or 0
    kind = type(error)
    if kind.__name__ == "SafetensorError":
        match = NUMBER.search(str(error))
        return int(match[1]) if match else 0
    if kind.__name__ == "OperationalError":  # of sqlite3, or of SQLAlchemy around it
        return next((number for words, number in SQLITE.items() if words in str(error)), 0)
    return 0


def _is_out_of_memory(error: BaseException, number: int, text: str) -> bool:
    if isinstance(error, MemoryError) or number == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError) and any(words in text for words in MEMORY)


def _format_file(error: BaseException) -> str:
    name = getattr(error, "filename", None)
    return f"{name}: " if name else ""


def _get_first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return next(iter(str(error).strip().splitlines()), "")
