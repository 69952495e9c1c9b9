"""Validation of names and numbers from params.yaml, conf/ and the command line.

A name becomes part of a path and of a shell command that DVC does not quote, so only safe characters are allowed.
"""

from __future__ import annotations

import math
import re
from typing import TypeGuard

NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]*", re.ASCII)
CELL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*", re.ASCII)
MAX_NAME_LENGTH = 80
MAX_CELL_LENGTH = 200  # of the 255 bytes of a file name; temporary files and locks append to it
RESERVED_WORDS = ("false", "inf", "nan", "null", "true")  # Hydra parses them as values
NAME_RULE = (
    f"a name starts with a letter and holds letters, digits, '.', '-' and '_', {MAX_NAME_LENGTH} at most, "
    f"and is none of {', '.join(RESERVED_WORDS)}"
)
CELL_RULE = f"a cell's name has letters, digits, '.', '-', '_' and '+', {MAX_CELL_LENGTH} at most"
MAX_INT = 2**31 - 1  # rows, steps, tokens: more than any machine can process, within the limits of every library


def is_name(value: object) -> TypeGuard[str]:
    """Return whether a value can name a file of conf/ (``NAME_RULE``)."""
    return (
        isinstance(value, str)
        and len(value) <= MAX_NAME_LENGTH
        and NAME.fullmatch(value) is not None
        and value.lower() not in RESERVED_WORDS
    )


def is_cell(value: object) -> TypeGuard[str]:
    """Return whether a value can name a cell, which is a folder in ``runs/``."""
    return isinstance(value, str) and len(value) <= MAX_CELL_LENGTH and CELL.fullmatch(value) is not None


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite number and no bool."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int above the largest float
        return False


def is_whole(value: object, minimum: int = 0, maximum: int = MAX_INT) -> TypeGuard[int]:
    """Return whether a value is a whole number within bounds and no bool."""
    return isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum
