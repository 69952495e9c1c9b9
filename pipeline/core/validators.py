"""What a name and a number may be, wherever they come from: params.yaml, a file of conf/, or the command line.

A name becomes part of a path and of a command that DVC hands to a shell as it is, so it can be nothing else in either.
"""

from __future__ import annotations

import math
import re
from typing import TypeGuard

NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]*", re.ASCII)
CELL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*", re.ASCII)
MAX_NAME_LENGTH = 80
MAX_CELL_LENGTH = 200  # of the 255 bytes that a file's name may have; the rest is for what is written beside it
RESERVED_WORDS = ("false", "inf", "nan", "null", "true")  # that Hydra reads as values
NAME_RULE = (
    f"a name starts with a letter and holds letters, digits, '.', '-' and '_', {MAX_NAME_LENGTH} at most, "
    f"and is none of {', '.join(RESERVED_WORDS)}"
)
CELL_RULE = f"a cell is named in letters, digits, '.', '-', '_' and '+', {MAX_CELL_LENGTH} at most"
MAX_INT = 2**31 - 1  # rows, steps, tokens: far beyond what any machine can do, and within every library's own limits


def is_name(value: object) -> TypeGuard[str]:
    """Say whether a value can name a file of conf/, as ``NAMED`` tells."""
    return (
        isinstance(value, str)
        and len(value) <= MAX_NAME_LENGTH
        and NAME.fullmatch(value) is not None
        and value.lower() not in RESERVED_WORDS
    )


def is_cell(value: object) -> TypeGuard[str]:
    """Say whether a value can name a cell, which is a folder below ``runs/``."""
    return isinstance(value, str) and len(value) <= MAX_CELL_LENGTH and CELL.fullmatch(value) is not None


def is_number(value: object) -> TypeGuard[float]:
    """Say whether a value is a number that can be computed with: finite, and no bool."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int beyond every float
        return False


def is_whole(value: object, minimum: int = 0, maximum: int = MAX_INT) -> TypeGuard[int]:
    """Say whether a value is a whole number within bounds, and no bool."""
    return isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum
