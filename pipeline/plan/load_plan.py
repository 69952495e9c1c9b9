"""YAML read as DVC reads it, and which files of conf/ there are."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.core import paths
from pipeline.core.errors import UserError, suggest
from pipeline.core.validators import MAX_NAME_LENGTH, NAME_RULE, is_name

AXES = ("tasks", "models", "ratios", "recipes", "seeds")
# A file of a few kilobytes can say far more than fits into memory, by aliases of aliases, or nest deeper than any
# parser goes. A plan of as many cells as DVC can bear stays well below these.
MAX_BYTES = 2**18
MAX_VALUES = 50_000  # aliases counted as what they stand for
MAX_DEPTH = 30
MAX_VALUE_LENGTH = 1000  # characters of a value


def read(path: Path, keys: Iterable[str] = AXES) -> dict[str, Any]:
    """Return the mapping in a YAML file, read as DVC reads it (YAML 1.2, no key twice, tags that make no objects).

    Raises UserError naming the file and the line; ``keys`` are some that it is expected to hold.
    """
    content = copy.deepcopy(_parse_text(_read_text(path), format_path(path)))
    if not isinstance(content, dict):
        got = "nothing" if content is None else type(content).__name__
        raise UserError(f"{format_path(path)}: got {got}; write keys and their values: {', '.join(keys)}")
    return content


@cache  # a cell asks for the same few files again and again, the warm parent's children for those that it has read
def _parse_text(text: str, name: str) -> Any:
    """Return what a text holds; ``name`` is the file's in messages."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        _check_bounds(text, name)
        return YAML(typ="safe").load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{name}: {where}not YAML that can be read: {reason}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{name}: not YAML that can be read: a value does not match its tag: {error}") from None


def _read_text(path: Path) -> str:
    """Return the text of a file of a size that a person writes."""
    try:
        if not path.exists():
            raise UserError(f"{format_path(path)}: no such file; copy one of conf/plan/ to it")
        if not path.is_file():
            raise UserError(f"{format_path(path)}: not a file; put one there")  # a pipe would be waited for
        if (size := path.stat().st_size) > MAX_BYTES:
            raise UserError(f"{format_path(path)}: {size:,} bytes; at most {MAX_BYTES:,} are read")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{format_path(path)}: not YAML that can be read: {error}") from None
    except OSError as error:
        raise UserError(f"{format_path(path)}: cannot be read: {error.strerror}") from None


def _check_bounds(text: str, where: str) -> None:
    """Raise UserError for what would be too large or too deep once it is built; nothing is built for it."""
    from ruamel.yaml import YAML
    from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

    sizes: dict[str, int] = {}
    opened: list[tuple[str | None, int]] = []  # anchor, and values before it
    values = 0
    for event in YAML(typ="safe").parse(text):
        line = f"{where}: line {event.start_mark.line + 1}"
        if isinstance(event, AliasEvent):
            if any(anchor == event.anchor for anchor, _ in opened):
                raise UserError(f"{line} holds itself, by *{event.anchor}")
            values += sizes.get(event.anchor, 1)
        elif isinstance(event, CollectionStartEvent):
            opened.append((event.anchor, values))
            values += 1
        elif isinstance(event, CollectionEndEvent):
            anchor, before = opened.pop()
            sizes |= {anchor: values - before} if anchor else {}
        elif isinstance(event, ScalarEvent):
            values += 1
            if len(event.value) > MAX_VALUE_LENGTH:
                raise UserError(
                    f"{line} holds a value of {len(event.value):,} characters; at most {MAX_VALUE_LENGTH:,}"
                )
        if values > MAX_VALUES:
            raise UserError(f"{line} goes beyond {MAX_VALUES:,} values, aliases counted as what they stand for")
        if len(opened) > MAX_DEPTH:
            raise UserError(f"{line} is nested deeper than {MAX_DEPTH} levels")


def format_path(path: Path) -> str:
    """Return what a message calls a file: its place in the project, or its bare name."""
    return str(path.relative_to(paths.ROOT)) if path.is_relative_to(paths.ROOT) else path.name


@cache
def list_names(group: str) -> frozenset[str]:
    """Return the names of the files in a group of conf/."""
    return frozenset(path.stem for path in (paths.CONF / group).glob("*.yaml"))


def find_name_mistake(name: object, group: str) -> str | None:
    """Say what is wrong with the name of a file in a group of conf/, or return None."""
    if not isinstance(name, str):
        return f"got {name!r}; write the name of a file in conf/{group}/"
    if name not in list_names(group):
        allowed = filter(is_name, list_names(group))
        return f"no {group} {name[:MAX_NAME_LENGTH]!r} in conf/{group}/; {suggest(name, allowed)}"
    return None if is_name(name) else f"conf/{group}/{name}.yaml: cannot be named in a command; {NAME_RULE}"
