"""The limits of a choice under the words of the records: read from plain YAML, checked, and in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from pipeline.core.errors import UserError, suggest
from pipeline.core.validators import is_number

SECTION = "compare.budget"
MARGIN = 1.0  # points; cells whose scores differ by less are equally good, where the plan sets no other margin


@dataclass(frozen=True)
class Budget:
    """The most that a cell may cost, and the least that it may score; None where nothing is asked.

    ``train_seconds`` is of the whole ancestry. ``score`` is the task's metric from 0 to 1, the mean over seeds. All are
    means over seeds on the machine that measured them.
    """

    latency_p50_ms: float | None = None
    storage_bytes: float | None = None
    inference_memory_mib: float | None = None
    train_seconds: float | None = None
    train_examples: float | None = None
    score: float | None = None

    @property
    def limits(self) -> dict[str, float]:
        """Return the costs that are limited, in the order of the fields."""
        found = {key: getattr(self, key) for key in COSTS}
        return {key: limit for key, limit in found.items() if limit is not None}

    @classmethod
    def parse(cls, given: object, where: str = SECTION) -> Budget:
        """Return the budget of a mapping as YAML gives it, None and {} meaning no limits; UserError names mistakes."""
        if found := list(mistakes(given, where)):
            raise UserError("\n".join(found))
        content: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
        return cls(**{key: None if value is None else float(value) for key, value in content.items()})


KEYS = tuple(column.name for column in fields(Budget))
COSTS = tuple(key for key in KEYS if key != "score")


def mistakes(given: object, where: str = SECTION) -> Iterator[str]:
    """Yield what is wrong with the limits, each in one line that begins with where it stands."""
    if given is None:
        return
    if not isinstance(given, Mapping):
        yield f"{where}: got {type(given).__name__}; write limits by name ({', '.join(KEYS)}), or {{}} for none"
        return
    for key, value in given.items():
        place = f"{where}.{key}" if where else key
        if key not in KEYS:
            yield f"{place}: unknown key; {suggest(key, KEYS)}"
        elif value is not None and (found := _wrong(key, value)):
            yield f"{place}: got {value!r}; {found}"


def _wrong(key: str, value: object) -> str | None:
    """Say what a limit ought to be, or return None where it is so."""
    if key == "score":
        return None if is_number(value) and 0 <= value <= 1 else "give a score from 0 to 1"
    return None if is_number(value) and value > 0 else "give a number above 0"
