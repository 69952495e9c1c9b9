"""Read label values as classes or numbers, by one rule for every file format.

If all class names are numerals, a value is a class name, never an index. Otherwise a value that is a class name is that
class, and another whole number is an index. JSON and parquet hold numbers where CSV and TSV hold text, so ``1``,
``"1"`` and ``1.0`` are the same value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation

NUMERAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,9})?")
BOOLEANS = {"true": True, "false": False}


def parse_number(value: object) -> Decimal | None:
    """Return a number, or a numeral in text, as an exact number; None for everything else, booleans included."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        text = value.strip()
        if not NUMERAL.fullmatch(text):
            return None
    elif isinstance(value, float):
        text = repr(value)
    elif isinstance(value, (int, Decimal)):
        return Decimal(value) if Decimal(value).is_finite() else None
    else:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def are_numerals(names: Sequence[str]) -> bool:
    """Return whether every class name is a numeral, so that values are names and never indexes."""
    return all(parse_number(name) is not None for name in names)


def find_equal_numerals(names: Sequence[str]) -> tuple[str, str] | None:
    """Return two class names that are the same number, such as ``1`` and ``01``, or None."""
    seen: dict[Decimal, str] = {}
    for name in names:
        number = parse_number(name)
        if number is not None and seen.setdefault(number, name) != name:
            return seen[number], name
    return None


def find_doubtful_numeral(names: Sequence[str]) -> tuple[str, str] | None:
    """Return a class name that is also the index of another class, and that class, or None.

    This is possible only where some class names are numerals and others are not.
    """
    if are_numerals(names):
        return None
    for place, name in enumerate(names):
        number = parse_number(name)
        others = [other for index, other in enumerate(names) if index == number and index != place]
        if others:
            return name, others[0]
    return None


def make_class_reader(names: Sequence[str]) -> Callable[[object], int | None]:
    """Return a function from a label value to the index of its class; None where the value is no class."""
    indexes = {name: index for index, name in enumerate(names)}
    numerals = {number: index for name, index in indexes.items() if (number := parse_number(name)) is not None}
    places = {} if are_numerals(names) else {Decimal(index): index for index in range(len(names))}

    def read_class(value: object) -> int | None:
        if isinstance(value, str) and value in indexes:
            return indexes[value]
        if (spelled := _as_boolean(value)) is not None:
            return _find_boolean(indexes, spelled)
        number = parse_number(value)
        return None if number is None else numerals.get(number, places.get(number))

    return read_class


def _as_boolean(value: object) -> bool | None:
    """Return a boolean, or text that spells one in any case, as a boolean."""
    return BOOLEANS.get(value.lower()) if isinstance(value, str) else value if isinstance(value, bool) else None


def _find_boolean(indexes: dict[str, int], value: bool) -> int | None:
    """Return the index of the one class whose name spells a boolean, in any case."""
    spelled = [index for name, index in indexes.items() if BOOLEANS.get(name.lower()) is value]
    return spelled[0] if len(spelled) == 1 else None


def make_number_reader(lowest: float, highest: float) -> Callable[[object], float | None]:
    """Return a function from a label value to the number of a regression; None outside the range."""

    def read_number(value: object) -> float | None:
        number = parse_number(value)
        return float(number) if number is not None and lowest <= number <= highest else None

    return read_number


def describe_rule(names: Sequence[str] | None, span: tuple[float, float] | None) -> str:
    """Return the rule by which a task's label values are read, as a sentence."""
    if names is None:
        lowest, highest = span or (0.0, 0.0)
        return f"a value is a number from {lowest:g} to {highest:g}"
    if are_numerals(names):
        return f"all class names are numbers, so a value is a class name, never an index: {', '.join(names)}"
    listed = ", ".join(f"{index} = {name}" for index, name in enumerate(names))
    return f"a value is a class name; a whole number that is no class name is an index: {listed}"


def describe_allowed(names: Sequence[str] | None, span: tuple[float, float] | None) -> str:
    """Return the values that a label may have, for a message."""
    if names is None:
        return f"numbers in {list(span or ())}"
    if are_numerals(names):
        return ", ".join(names)
    return ", ".join(f"{index} or {name}" for index, name in enumerate(names))
