"""Digests of the modules that each stage imports, so that an edit makes exactly the affected cells stale.

``python -m pipeline.runner.code_digests`` writes ``.cache/code/<stage>.txt``, a digest and a path a line, and last
of all what
``conf/<stage>.yaml`` states, comments aside. A cell of dvc.yaml depends on that one file: naming every module in every
cell would be error-prone, and DVC rewrites all of dvc.lock after each cell. Those that the grid trains
depend on ``.cache/code/grid/<recipe>/<model>.txt``, which adds the plan's seeds, the recipe and the model.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from itertools import product

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.exits import exit_on_user_error

STAGES = ("prepare", "pretrain", "finetune", "distill", "compress", "evaluate", "benchmark", "compare")
# Modules that compute no result: an edit there makes nothing stale.
FRAME = re.compile(
    r"pipeline\.(cli|execution|runner|tracking|plan(?!\.budget)"
    r"|core\.(checksums|errors|exits|instantiate|paths|redaction|system_errors)"
    r"|system\.(machine_lock|parent_process|preload|preload_server))\b"
)
GROUPS = {"prepare": "task", "pretrain": "model", "compress": "compression"}  # of conf/, whose files name functions
FOLDER = paths.CACHE / "code"


def find_modules() -> dict[str, list[str]]:
    """Return the modules that each stage imports, directly or not, except those of ``FRAME``."""
    import grimp

    graph = grimp.build_graph("pipeline", exclude_type_checking_imports=True, cache_dir=None)
    modules = {}
    for stage in STAGES:
        seen: set[str] = set()
        fresh = {f"pipeline.stages.{stage}", "pipeline.core.records", *(find_target_modules(stage) & graph.modules)}
        while fresh:
            seen |= fresh
            imported = {other for name in fresh for other in graph.find_modules_directly_imported_by(name)}
            fresh = {name for name in imported - seen if not FRAME.match(name)}
        modules[stage] = sorted(seen)
    return modules


def find_target_modules(stage: str) -> set[str]:
    """Return the modules of the functions that the conf files of a stage name by ``_target_``, which no import shows.

    A file that cannot be read names none: the check of the plan refuses it where the plan uses it.
    """
    from pipeline.plan import read

    modules: set[str] = set()
    for file in (paths.CONF / GROUPS[stage]).glob("*.yaml") if stage in GROUPS else ():
        with suppress(UserError):
            modules.update(target.rpartition(".")[0] for target in find_targets(read(file, ("name",))))
    return modules


def find_targets(content: object) -> Iterator[str]:
    """Yield the value of each key ``_target_`` in what a YAML file holds, at any depth."""
    if isinstance(content, dict):
        if isinstance(target := content.get("_target_"), str):
            yield target
        for value in content.values():
            yield from find_targets(value)
    elif isinstance(content, list):
        for value in content:
            yield from find_targets(value)


def write() -> None:
    """Write the list of each stage, by the SHA-256 of each module's file and of what its conf file states.

    Raises UserError where a file of conf/, or the plan, cannot be read.
    """
    from pipeline.plan import read

    shutil.rmtree(FOLDER / "grid", ignore_errors=True)  # of models that the plan names no more
    for stage, names in find_modules().items():
        files = {file: (paths.ROOT / file).read_bytes() for file in map(_get_file, names)}
        _write(stage, {**files, **_read_settings(f"{stage}.yaml")})
        if stage == "finetune":
            plan = read(paths.PARAMS)
            shared = {**files, **_read_settings("finetune.yaml"), "seeds": _encode(plan["seeds"])}
            for model, recipe in product(plan["models"], plan["recipes"]):
                settings = _read_settings(f"model/{model}.yaml", f"recipe/{recipe}.yaml")
                _write(f"grid/{recipe}/{model}", {**shared, **settings})


def _write(name: str, contents: dict[str, bytes]) -> None:
    lines = [f"{hashlib.sha256(content).hexdigest()}  {file}\n" for file, content in contents.items()]
    file = FOLDER / f"{name}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(lines), encoding="utf-8")


def _read_settings(*names: str) -> dict[str, bytes]:
    """Return the settings in files of conf/, independent of comments and key order."""
    from pipeline.plan import read

    return {f"conf/{name}": _encode(read(paths.CONF / name, ("name",))) for name in names}


def _encode(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode()


def _get_file(name: str) -> str:
    path = name.replace(".", "/")
    return f"{path}/__init__.py" if (paths.ROOT / path).is_dir() else f"{path}.py"


if __name__ == "__main__":
    with exit_on_user_error():
        write()
