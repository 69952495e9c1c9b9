"""Numbers as they stand in tables and figures; a hole is an empty text."""

from __future__ import annotations

from collections.abc import Iterable

AMOUNTS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
MIB = 2**20
HUGE = 1e9  # from here on a number of all its digits is not read any more
METRICS = {
    "accuracy": "accuracy (%)", "f1": "F1 (%)", "matthews_correlation": "Matthews correlation (x 100)",
    "pearson": "Pearson correlation (x 100)", "spearmanr": "Spearman correlation (x 100)",
}  # fmt: skip


def metric(name: str | None) -> str:
    """Return a metric's name with the unit in which it is shown: hundredths; that of none, before any result."""
    return METRICS.get(name, f"{name} (x 100)") if name else "score"


def points(value: float | None) -> str:
    """Return a score in hundredths."""
    return "" if value is None else f"{100 * value:.1f}"


def between(low: float | None, high: float | None) -> str:
    """Return an interval of scores in hundredths."""
    return "" if low is None or high is None else f"[{points(low)}, {points(high)}]"


def count(parameters: int | None) -> str:
    """Return a number of parameters in millions, in thousands below 100 thousand."""
    if parameters is None:
        return ""
    return f"{parameters / 1e6:.1f}M" if parameters >= 1e5 else f"{parameters / 1e3:.0f}k"


def amount(value: float | None) -> str:
    """Return three digits of a number with the letter of its power of a thousand, such as ``1.23 T`` for 1.23e12."""
    if value is None:
        return ""
    for unit, letter in AMOUNTS if abs(value) < 1000 * AMOUNTS[0][0] else ():
        if abs(value) >= 0.9995 * unit:  # 999.6 thousand is 1.00 million in three digits
            return f"{digits(value / unit)} {letter}"
    return digits(value)


def digits(value: float | None) -> str:
    """Return three digits of a number, and all of those before the point unless it is huge."""
    if value is None:
        return ""
    if abs(value) >= HUGE:
        return f"{value:.3g}"
    for least, decimals in ((99.95, 0), (9.995, 1), (0.0995, 2)):
        if abs(value) >= least:
            return f"{value:,.{decimals}f}"
    return f"{value:.3g}"


def interval(low: float | None, high: float | None) -> str:
    """Return an interval, three digits of each end."""
    return "" if low is None or high is None else f"[{digits(low)}, {digits(high)}]"


def percent(share: float | None) -> str:
    """Return a share in hundredths, a small one with a tenth of them."""
    if share is None:
        return ""
    form = ".3g" if abs(100 * share) >= HUGE else ".0f" if share >= 0.0995 else ".1f"
    return f"{100 * share:{form}}%"


def chance(p: float | None) -> str:
    """Return a p value in two digits, and no more than that it is small where it is."""
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.2g}"


def mebibytes(size: float | None) -> str:
    """Return bytes in MiB."""
    return "" if size is None else digits(size / MIB)


def duration(seconds: float | None) -> str:
    """Return a time in the largest units that it fills, such as ``3 min 20 s`` or ``2 d 4 h``."""
    if seconds is None:
        return ""
    if seconds < 59.5:
        return f"{digits(seconds)} s"
    for unit, name, part, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        parts = round(seconds / part)
        if parts >= unit // part:
            whole, rest = divmod(parts, unit // part)
            return f"{whole:,} {name} {rest} {small}" if rest else f"{whole:,} {name}"
    raise AssertionError(seconds)  # a minute is reached before


def alternatives(values: Iterable[float | None]) -> str:
    """Return the different values, such as ``1,000 or 5,000``."""
    return " or ".join(f"{value:,.0f}" for value in sorted({value for value in values if value is not None}))
