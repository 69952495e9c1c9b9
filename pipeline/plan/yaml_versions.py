"""Values of a YAML file that Hydra and DVC read differently.

Hydra reads YAML 1.1 (``no`` is false, ``010`` is 8, ``12:30`` is 750), DVC and the check of the plan read YAML 1.2
(``no`` is text, ``010`` is 10). A value that is not the same in both is refused, as is a class name that is no text.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

STR = "tag:yaml.org,2002:str"
MERGE = "tag:yaml.org,2002:merge"
PLAIN_WHOLE = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)

Mistakes = tuple[str, ...]


def find_misread(path: Path, texts: Sequence[str] = ()) -> Mistakes:
    """Return a message for each value of a file that two readers read differently.

    The entries of the lists under the keys in ``texts`` must be text or plain whole numbers as well. Call it only for
    files that ``pipeline.plan.load_plan.read`` accepts.
    """
    return _compare(path.read_text(encoding="utf-8"), tuple(texts))


@cache
def _compare(text: str, texts: tuple[str, ...]) -> Mistakes:
    import yaml
    from omegaconf._utils import get_yaml_loader
    from ruamel.yaml import YAML

    hydra = get_yaml_loader()(text)
    dvc = YAML(typ="safe")
    try:
        pairs = [*_walk(hydra.get_single_node(), dvc.compose(text), "")]
        found = [_describe_mistake(where, ours, theirs, hydra, texts) for where, ours, theirs in pairs]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        return (f"{line}Hydra cannot read it: {getattr(error, 'problem', None) or error}",)
    return tuple(mistake for mistake in found if mistake)


def _walk(ours: Any, theirs: Any, where: str) -> Iterator[tuple[str, Any, Any]]:
    """Yield each key and each value of two node trees of the same text, with its place."""
    if isinstance(ours.value, str):
        yield where, ours, theirs
        return
    for index, (our, their) in enumerate(zip(ours.value, theirs.value, strict=True)):
        if not isinstance(our, tuple):
            yield from _walk(our, their, f"{where}[{index}]")
            continue
        name = f"{where}.{our[0].value}" if where else str(our[0].value)
        if our[0].tag != MERGE:
            yield from _walk(our[0], their[0], f"{name} (the key)")
        yield from _walk(our[1], their[1], name)


def _describe_mistake(where: str, ours: Any, theirs: Any, hydra: Any, texts: tuple[str, ...]) -> str | None:
    """Return what is wrong with a scalar, or None."""
    raw = ours.value
    quoted = f"put it in quotes: {json.dumps(raw, ensure_ascii=False)}"
    if ours.tag == STR and str(theirs.tag) == STR:
        return None
    read_by_hydra, read_by_dvc = hydra.construct_object(ours), _load(raw, str(theirs.tag))
    if repr(read_by_hydra) != repr(read_by_dvc):
        number = any(isinstance(value, (int, float)) and not isinstance(value, bool)
                     for value in (read_by_hydra, read_by_dvc))  # fmt: skip
        advice = f"write the number you mean, or {quoted}" if number else quoted
        return (
            f"{where}: got {raw}, which Hydra reads as {_show(read_by_hydra)} and DVC as {_show(read_by_dvc)}; {advice}"
        )
    if any(where.startswith(f"{key}[") for key in texts) and not PLAIN_WHOLE.fullmatch(raw):
        shown = _show(read_by_hydra)
        reading = "which is no text" if raw == shown else f"which is read as {shown} and is no text"
        return f"{where}: got {raw or 'nothing'}, {reading}; {quoted}"
    return None


def _load(raw: str, tag: str) -> Any:
    """Return a plain scalar as a reader of YAML 1.2 reads it."""
    from ruamel.yaml import YAML

    return raw if tag == STR else YAML(typ="safe").load(raw)


def _show(value: object) -> str:
    """Return a value as it would be written without doubt in both versions."""
    if isinstance(value, datetime.date):
        return f"the date {value}"
    return json.dumps(value, default=str, ensure_ascii=False)
