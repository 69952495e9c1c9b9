"""Numbers as texts of tables and figures; a missing value is an empty text."""

from __future__ import annotations

from collections.abc import Iterable

AMOUNT_UNITS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
MIB = 2**20
MIN_SCIENTIFIC = 1e9  # from here on numbers are written with an exponent
METRICS = {
    "accuracy": "accuracy (%)", "f1": "F1 (%)", "matthews_correlation": "Matthews correlation (x 100)",
    "pearson": "Pearson correlation (x 100)", "spearmanr": "Spearman correlation (x 100)",
}  # fmt: skip


def format_metric(name: str | None) -> str:
    """Return a metric's name with its unit, hundredths; ``score`` without a name, before any result."""
    return METRICS.get(name, f"{name} (x 100)") if name else "score"


def format_points(value: float | None) -> str:
    """Return a score in hundredths."""
    return "" if value is None else f"{100 * value:.1f}"


def format_score_interval(low: float | None, high: float | None) -> str:
    """Return an interval of scores in hundredths."""
    return "" if low is None or high is None else f"[{format_points(low)}, {format_points(high)}]"


def format_parameters(parameters: float | None) -> str:
    """Return a number of parameters in millions, or in thousands below 100 thousand."""
    if parameters is None:
        return ""
    return f"{parameters / 1e6:.1f}M" if parameters >= 1e5 else f"{parameters / 1e3:.0f}k"


def format_amount(value: float | None) -> str:
    """Return three digits with an SI prefix, ``1.23 T`` for 1.23e12."""
    if value is None:
        return ""
    for unit, letter in AMOUNT_UNITS if abs(value) < 1000 * AMOUNT_UNITS[0][0] else ():
        if abs(value) >= 0.9995 * unit:  # 999.6 thousand is 1.00 million in three digits
            return f"{format_number(value / unit)} {letter}"
    return format_number(value)


def format_number(value: float | None) -> str:
    """Return at least three significant digits, and all digits before the point below ``MIN_SCIENTIFIC``."""
    if value is None:
        return ""
    if abs(value) >= MIN_SCIENTIFIC:
        return f"{value:.3g}"
    for minimum, decimals in ((99.95, 0), (9.995, 1), (0.0995, 2)):
        if abs(value) >= minimum:
            return f"{value:,.{decimals}f}"
    return f"{value:.3g}"


def format_interval(low: float | None, high: float | None) -> str:
    """Return an interval with three digits of each end."""
    return "" if low is None or high is None else f"[{format_number(low)}, {format_number(high)}]"


def format_percent(share: float | None) -> str:
    """Return a share in percent, with one decimal below 10%."""
    if share is None:
        return ""
    form = ".3g" if abs(100 * share) >= MIN_SCIENTIFIC else ".0f" if share >= 0.0995 else ".1f"
    return f"{100 * share:{form}}%"


def format_p_value(p: float | None) -> str:
    """Return a p value in two digits, or that it is below 0.001."""
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.2g}"


def format_mib(size: float | None) -> str:
    """Return bytes in MiB."""
    return "" if size is None else format_number(size / MIB)


def format_duration(seconds: float | None) -> str:
    """Return a duration in its two largest units, ``3 min 20 s`` or ``2 d 4 h``."""
    if seconds is None:
        return ""
    if seconds < 59.5:
        return f"{format_number(seconds)} s"
    for unit, name, part, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        parts = round(seconds / part)
        if parts >= unit // part:
            whole, rest = divmod(parts, unit // part)
            return f"{whole:,} {name} {rest} {small}" if rest else f"{whole:,} {name}"
    raise AssertionError(seconds)  # unreachable: a minute or more returns in the loop


def format_alternatives(values: Iterable[float | None]) -> str:
    """Return the distinct values, such as ``1,000 or 5,000``."""
    return " or ".join(f"{value:,.0f}" for value in sorted({value for value in values if value is not None}))
