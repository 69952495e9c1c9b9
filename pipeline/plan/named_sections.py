"""The sections of the plan whose entries bear names: each entry is checked by itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from pipeline.core.errors import suggest
from pipeline.core.validators import MAX_NAME_LENGTH, RESERVED_WORDS, is_number
from pipeline.plan.cells import TRAINED
from pipeline.plan.load_plan import unknown

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
SECTIONS = {  # the keys of an entry: all of them, since DVC has no keys that may be left out
    "variants": ("task", "model", "ratio", "recipe"),
    "distill": ("task", "student", "teacher", "ratio", "recipe", "distillation"),
    "compress": ("source", "compression"),
}
KIND = {"variants": "variant", "distill": "student", "compress": "compression"}
MADE = {"task": "tasks", "model": "models", "student": "models"}  # keys that name what an axis makes

Named = dict[str, dict[str, dict[str, Any]]]  # section, name, entry


def ratio(value: object) -> str | None:
    """Say what is wrong with a ratio, or return None."""
    if not is_number(value) or not 0 < value <= 1:
        return f"got {value!r}; a ratio is a number above 0 and at most 1"
    return None


def _name(name: object) -> str | None:
    """Say what is wrong with the name of an entry, or return None."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return "a name starts with a letter and holds letters, digits, '-' and '_' (DVC loses others)"
    if len(name) > MAX_NAME_LENGTH:
        return f"a name has at most {MAX_NAME_LENGTH} characters, this has {len(name)}"
    if name.lower() in RESERVED_WORDS:
        return f"Hydra reads {', '.join(RESERVED_WORDS)} as values; choose another name"
    return None


def _source(value: object) -> str | None:
    """Say what is wrong with the form of a source; whether a cell makes it is told where all cells are known."""
    stage, _, name = value.partition("/") if isinstance(value, str) else ("", "", "")
    if stage not in TRAINED or not name:
        return f"got {value!r}; write <stage>/<cell>, the stage one of {', '.join(TRAINED)}"
    return None


VALUES: dict[str, Callable[[object], str | None]] = {
    "ratio": ratio,
    "teacher": _source,
    "source": _source,
    "task": partial(unknown, group="task"),
    "model": partial(unknown, group="model"),
    "student": partial(unknown, group="model"),
    "recipe": partial(unknown, group="recipe"),
    "distillation": partial(unknown, group="distillation"),
    "compression": partial(unknown, group="compression"),
}


def mistakes(content: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the named sections and with each of their entries."""
    for section, keys in SECTIONS.items():
        given = content.get(section)
        if not isinstance(given, dict):
            got = "nothing" if given is None else type(given).__name__
            yield f"{section}: got {got}; write one entry a {KIND[section]}, or {{}} for none"
            continue
        for name, entry in given.items():
            where = f"{section}.{name}"
            if found := _name(name):
                yield f"{where}: {found}"
            elif not isinstance(entry, dict):
                yield f"{where}: got {entry!r}; write {{{', '.join(f'{key}: ...' for key in keys)}}}"
            else:
                yield from (f"{where}.{mistake}" for mistake in _entry(section, entry, content))


def sound(content: dict[str, Any]) -> Named:
    """Return the entries that are sound by themselves, by section and name."""
    found: Named = {}
    for section in SECTIONS:
        given = content.get(section)
        found[section] = {
            name: entry
            for name, entry in (given.items() if isinstance(given, dict) else ())
            if not _name(name) and isinstance(entry, dict) and not [*_entry(section, entry, content)]
        }
    return found


def _entry(section: str, entry: dict[str, Any], content: dict[str, Any]) -> Iterator[str]:
    keys = SECTIONS[section]
    for key in entry:
        if key not in keys:
            yield f"{key}: unknown key; {suggest(key, keys)}"
    for key in keys:
        if key not in entry:
            yield f"{key}: missing; a {KIND[section]} names {', '.join(keys)}"
        elif found := VALUES[key](entry[key]):
            yield f"{key}: {found}"
        elif key in MADE and entry[key] not in (made := _list(content.get(MADE[key]))):
            axis = MADE[key]
            yield f"{key}: no cell makes {entry[key]!r}; add it to {axis}, or name one of them ({', '.join(made)})"


def _list(value: object) -> list[str]:
    return [str(entry) for entry in value] if isinstance(value, list) else []
