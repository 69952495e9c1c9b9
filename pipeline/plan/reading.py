"""YAML read as DVC reads it, and which files of conf/ there are."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from pipeline import paths
from pipeline.errors import UserError, near

AXES = ("tasks", "models", "ratios", "seeds")


def read(path: Path, keys: Iterable[str] = AXES) -> dict[str, Any]:
    """Return the mapping in a YAML file, read as DVC reads it (YAML 1.2, no key twice).

    Raises UserError naming the file and the line; ``keys`` are some that it is expected to hold.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{shown(path)}: no such file; copy one of conf/plan/ to it") from None
    except (YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        reason = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{shown(path)}: {where}not YAML that can be read: {reason}") from None
    if not isinstance(content, dict):
        got = "nothing" if content is None else type(content).__name__
        raise UserError(f"{shown(path)}: got {got}; write keys and their values: {', '.join(keys)}")
    return content


def shown(path: Path) -> str:
    """Return what a message calls a file: its place in the project, or its bare name."""
    return str(path.relative_to(paths.ROOT)) if path.is_relative_to(paths.ROOT) else path.name


@cache
def names(group: str) -> frozenset[str]:
    """Return the names of the files in a group of conf/."""
    return frozenset(path.stem for path in (paths.CONF / group).glob("*.yaml"))


def unknown(name: object, group: str) -> str | None:
    """Say what is wrong with the name of a file in a group of conf/, or return None."""
    if not isinstance(name, str):
        return f"got {name!r}; write the name of a file in conf/{group}/"
    if name not in names(group):
        return f"no {group} {name!r} in conf/{group}/; {near(name, names(group))}"
    return None
