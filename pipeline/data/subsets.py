"""Nested, stratified subsets of rows, drawn with a separate seed.

Rows are ordered so that every prefix is a stratified sample. A subset is a prefix, so a smaller one is inside a larger
one. The selection split is a prefix under another seed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline.core.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

BINS = 10  # strata of a regression: deciles of the label


def size(rows: int, ratio: float) -> int:
    """Return the size of a subset of ``rows`` rows, rounded half to even.

    Raises UserError for a ratio outside (0, 1].
    """
    if not 0 < ratio <= 1:
        raise UserError(f"ratio: got {ratio}; a ratio is a number above 0 and at most 1")
    return round(rows * ratio)


def take(table: pa.Table, ratio: float) -> pa.Table:
    """Return the subset of a prepared train table: its first ``size(rows, ratio)`` rows.

    Raises UserError if that is no row.
    """
    rows = size(table.num_rows, ratio)
    if not rows:
        raise UserError(
            f"ratio: got {ratio}, which is none of the {table.num_rows} rows; "
            f"give at least {_least(table['label'].to_numpy()):g}, with which every class appears"
        )
    return table.slice(0, rows)


def _least(labels: np.ndarray) -> float:
    """Return a two-digit ratio whose subset has every class and few more rows (a regression: one row)."""
    classes = set(labels.tolist()) if labels.dtype.kind in "iu" else set()
    needed = max((int((labels == label).argmax()) + 1 for label in classes), default=1)
    share = needed / len(labels)
    places = 1 - math.floor(math.log10(share))
    return math.ceil(round(share * 10.0**places, 6)) / 10.0**places


def order(strata: Sequence[int], seed: int) -> list[int]:
    """Return the rows ordered so that every prefix is a stratified sample.

    The rows of a stratum are shuffled, the i-th of its n rows gets the position (i + 1/2) / n, and positions are
    sorted, ties by stratum. With shares p of the rows and C strata, the rows of a stratum in any prefix differ from
    the proportional share by at most 1/2 + p (C - 2) / 2: never as much as one for two or three classes or for
    strata of equal size.
    """
    members: dict[int, list[int]] = {}
    for row in sorted(range(len(strata)), key=lambda row: _lot(seed, row)):
        members.setdefault(strata[row], []).append(row)
    places = [
        ((2 * i + 1) / (2 * len(rows)), stratum, row) for stratum, rows in members.items() for i, row in enumerate(rows)
    ]
    return [row for _, _, row in sorted(places)]


def _lot(seed: int, row: int) -> bytes:
    """Return a row's sort key by hashing: equal in every library version and independent of the other rows."""
    return hashlib.blake2b(f"{seed} {row}".encode(), digest_size=8).digest()


def strata(labels: np.ndarray, regression: bool) -> list[int]:
    """Return the stratum of each row: its class, or for a regression the decile of its label's rank, ties by row."""
    if not regression:
        return [int(label) for label in labels]
    ranks = labels.argsort(kind="stable").argsort(kind="stable")
    return [int(rank * BINS // len(labels)) for rank in ranks]


def carve(labels: np.ndarray, regression: bool, fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Return the training rows and the selection rows, both in the order of the source."""
    drawn = order(strata(labels, regression), seed)
    cut = size(len(drawn), fraction)
    return sorted(drawn[cut:]), sorted(drawn[:cut])
