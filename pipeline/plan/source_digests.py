"""Digests of everything outside the project's code that a task or model is made of, as files that DVC compares.

``python -m pipeline.plan.source_digests`` writes ``.cache/sources/<group>/<name>.txt`` for each task and model of the
plan:
the folder of the mirror that is used, and the SHA-256 of each file. ``prepare`` and ``pretrain`` depend on them, since
DVC takes neither a list of dependencies nor a variable of the environment. ``.cache/sources/versions.txt`` lists the
versions of the libraries that compute; ``compare`` depends on it.

DVC runs this each time. So nothing is imported that takes long, and a file is read again only where its size, its
times or its inode changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import sysconfig
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.exits import exit_on_user_error
from pipeline.core.validators import is_name
from pipeline.data import mirror
from pipeline.plan import source_paths
from pipeline.plan.source_paths import KINDS, STAGES

FOLDER = paths.CACHE / "sources"
KNOWN = paths.CACHE / "source-digests.json"
AXES = {"task": "tasks", "model": "models"}  # group of conf/ -> axis of params.yaml
COMPUTING = ("torch", "transformers")  # libraries whose version can change a result
SETTLED_SECONDS = 2.0  # a file that changed later than this may change again within one tick of its clock


class Digests:
    """SHA-256 of files, remembered by path, size, times and inode."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known = _load_known(file)
        self._used: dict[str, list[Any]] = {}

    def compute(self, path: Path) -> str:
        """Return the SHA-256 of a file.

        Raises UserError where it cannot be read.
        """
        try:
            stat = path.stat()
            key = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
            known = self._known.get(str(path))
            if known and known[:-1] == key:
                digest = str(known[-1])
            else:
                with path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror}; give yourself the right to read it") from None
        if time.time() - max(stat.st_mtime, stat.st_ctime) > SETTLED_SECONDS:
            self._used[str(path)] = [*key, digest]
        return digest

    def save(self) -> None:
        """Write what is known of the files that were used since this was made."""
        if self._used != self._known:
            paths.write_json(self._file, self._used)


def _load_known(file: Path) -> dict[str, list[Any]]:
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def write() -> None:
    """Write the digests of each task and model of the plan; a file whose content stays the same is left alone.

    Raises UserError where a source or the mirror may not be used or cannot be read.
    """
    plan, digests = source_paths.load_yaml(paths.PARAMS), Digests(KNOWN)
    wanted = {FOLDER / "versions.txt": "".join(f"{name} {version}\n" for name, version in find_versions().items())}
    for group, stage in STAGES.items():
        names = [name for name in plan.get(AXES[group]) or [] if is_name(name)]
        place = source_paths.read_mirror(stage) if names else None
        for name in names:
            source = source_paths.load_yaml(paths.CONF / group / f"{name}.yaml").get("source")
            _check(group, name, source, place)
            wanted[FOLDER / group / f"{name}.txt"] = describe(group, name, source, place, digests)
    for file, text in wanted.items():
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            paths.write_bytes(file, text.encode())
    for file in [file for file in FOLDER.rglob("*.txt") if file not in wanted]:
        file.unlink()
    digests.save()


def _check(group: str, name: str, source: object, place: str | None) -> None:
    for mistake in source_paths.list_mistakes(source, name):
        raise UserError(f"conf/{group}/{name}.yaml: {mistake}")
    if conflict := source_paths.find_mirror_mistake(place, group, name):
        raise UserError(conflict)


def find_versions() -> dict[str, str]:
    """Return the installed version of each library that computes, by its folder: importing it takes seconds."""
    folder = Path(sysconfig.get_path("purelib"))
    found = {name: [*folder.glob(f"{name}-*.dist-info")] for name in COMPUTING}
    return {
        name: files[0].stem.partition("-")[2] if len(files) == 1 else _find_version(name)
        for name, files in found.items()
    }


def _find_version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def describe(group: str, name: str, source: object, place: str | None, digests: Digests | None = None) -> str:
    """Return what a task or model is made of besides its conf file, a line each.

    The first line names the folder of the mirror that is used, or ``none``; a mirror that holds the task or model
    replaces its source. Where the mirror is does not matter, only what it holds.
    """
    digests = digests or Digests(KNOWN)
    kind = KINDS[group]
    folder = mirror.find(place, kind, name)  # type: ignore[arg-type]
    if folder:
        return f"mirror: {kind}/{name}\n" + "".join(_describe_path(folder, f"{kind}/{name}", digests))
    found = [(value, paths.ROOT / value) for _, value in source_paths.find_paths(source)]
    return "mirror: none\n" + "".join(line for value, path in found for line in _describe_path(path, value, digests))


def _describe_path(path: Path, shown: str, digests: Digests) -> Iterator[str]:
    """Yield a line for a file or for each file of a folder; a path that does not exist is a line as well."""
    if not os.path.isdir(path):
        yield f"{digests.compute(path)}  {shown}\n" if os.path.isfile(path) else f"missing  {shown}\n"
        return
    for file in sorted(_list_files(path)):
        yield f"{digests.compute(file)}  {shown}/{file.relative_to(path).as_posix()}\n"


def _list_files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, except hidden ones, which no source reads; links are followed to files only."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        files = (Path(place, name) for name in names if not name.startswith("."))
        yield from (file for file in files if file.is_file())


def find_other_versions(machine: Mapping[str, Any]) -> str | None:
    """Return the versions with which a record was made, where they are not those that are installed, or None."""
    installed = find_versions()
    other = [f"{name} {machine[name]}" for name in COMPUTING if name in machine and machine[name] != installed[name]]
    return ", ".join(other) or None


if __name__ == "__main__":
    with exit_on_user_error("source-digests: "):
        write()
