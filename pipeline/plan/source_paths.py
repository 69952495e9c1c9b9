"""Files that a task or a model is made of: which paths of a conf file name them, and which places are refused.

Stages delete and replace their outputs, so a source inside an output folder would be lost. Users keep their files in
``inputs/``. Imported by a command that runs in every `dvc repro`: only what starts quickly may be imported here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from pipeline.core import paths
from pipeline.core.errors import UserError, format_line

INPUTS = "inputs"
STAGES = {"task": "prepare", "model": "pretrain"}  # group of conf/ -> the stage that reads its sources
KINDS = {"task": "data", "model": "models"}  # group of conf/ -> folder of a mirror, and of the project's outputs
PATH_KEY = re.compile(r"text|\w*(path|file|folder|dir|directory)s?", re.IGNORECASE)
ENVIRONMENT = re.compile(r"\$\{oc\.env:(?P<name>\w+)(?:,\s*(?P<default>[^{}]*?)\s*)?\}")
WRITTEN = "where stages write and delete"


def load_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file; quicker than ``pipeline.plan.read``, which checks what a person wrote.

    Raises UserError where the file cannot be read.
    """
    name = path.relative_to(paths.ROOT) if path.is_relative_to(paths.ROOT) else path
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{name}: cannot be read: {getattr(error, 'strerror', error)}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{name}: not YAML that can be read: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{name}: got {type(content).__name__}; write keys and their values")
    return content


def find_paths(settings: object, where: str = "source") -> Iterator[tuple[str, str]]:
    """Yield the key and the value of each path in the settings of a source, such as ``source.corpus.text``.

    Raises UserError for an interpolation that cannot be followed.
    """
    if isinstance(settings, dict):
        for key, value in settings.items():
            named = PATH_KEY.fullmatch(str(key)) is not None
            for item in value if named and isinstance(value, list) else [value]:
                if named and isinstance(item, str):
                    yield f"{where}.{key}", expand_environment(item, f"{where}.{key}")
                else:
                    yield from find_paths(item, f"{where}.{key}")
    elif isinstance(settings, list):
        for index, item in enumerate(settings):
            yield from find_paths(item, f"{where}[{index}]")


def expand_environment(value: str, where: str) -> str:
    """Return a value of conf/ with each ``${oc.env:NAME}`` replaced, as Hydra does.

    Raises UserError for a variable that is not set, and for any other interpolation.
    """

    def replace(match: re.Match[str]) -> str:
        found = os.environ.get(match["name"], match["default"])
        if found is None:
            raise UserError(f"{where}: got {value!r}, but the variable {match['name']} is not set; set it")
        return found if match["name"] in os.environ else found.strip("'\"")

    expanded = ENVIRONMENT.sub(replace, value)
    if "${" in expanded:
        raise UserError(f"{where}: got {value!r}; write the path itself, or ${{oc.env:NAME}}")
    return expanded


def read_mirror(stage: str) -> str | None:
    """Return the folder that the key ``mirror`` of ``conf/<stage>.yaml`` names, or None.

    Raises UserError where it names none that can be known.
    """
    value = load_yaml(paths.CONF / f"{stage}.yaml").get("mirror")
    if not isinstance(value, str):
        return None
    expanded = expand_environment(value, f"conf/{stage}.yaml: mirror")
    return None if expanded in ("", "null") else expanded


def list_mistakes(source: object, name: object) -> Iterator[str]:
    """Yield what is wrong with the paths in the settings of a source; ``name`` is that of the task or model.

    A path is refused that is inside an output folder, is one, or contains one, directly or through links.
    """
    try:
        found = [*find_paths(source)]
    except UserError as error:
        yield str(error)
        return
    for key, value in found:
        if conflict := find_conflict(paths.ROOT / value):
            place = f"{INPUTS}/{name}"
            yield f"{key}: got {value!r}, which {conflict}, {WRITTEN}; move your files to {place} and write {place}"
        elif linked := _find_linked_output(paths.ROOT / value):
            yield f"{key}: got {value!r}, but {linked}, {WRITTEN}; put the file itself there"


def find_mirror_mistake(mirror: str | None, group: str, name: str) -> str | None:
    """Return what is wrong with the folder of a mirror that holds a task or model: it may be no output either."""
    if not mirror:
        return None
    place = f"{KINDS[group]}/{name}"
    try:
        folder = Path(mirror).expanduser()
    except RuntimeError:  # the home folder of no user
        return None
    if conflict := find_conflict(folder / place):
        return (
            f"mirror {format_line(mirror)}: its folder {place} {conflict} of this project, {WRITTEN}; "
            f"name another folder as mirror, such as {INPUTS}/mirror"
        )
    return None


def find_conflict(path: Path) -> str | None:
    """Return how a path meets an output folder, such as ``is inside data/``, or None where it meets none."""
    try:
        places = {Path(os.path.abspath(path)), Path(os.path.realpath(path))}
    except ValueError:  # a path with a null byte, which the source itself refuses
        return None
    for name in paths.OUTPUTS:
        for output in {paths.ROOT / name, Path(os.path.realpath(paths.ROOT / name))}:
            if any(place.is_relative_to(output) for place in places):
                return f"{'is' if output in places else 'is inside'} {name}/"
            if any(output.is_relative_to(place) for place in places):
                return f"contains {name}/"
    return None


def _find_linked_output(folder: Path) -> str | None:
    """Return which entry of a folder links into an output folder, or None."""
    try:
        links = [entry.path for entry in os.scandir(folder) if entry.is_symlink()]
    except (OSError, ValueError):  # a single file, or none, which the source itself reports
        return None
    for path in sorted(links):
        if conflict := find_conflict(Path(path)):
            shown = os.path.relpath(path, paths.ROOT)
            return f"{shown} links to a file that {conflict}"
    return None
