"""``params.yaml`` as typed objects, and the check that runs before the first second of work.

``python -m pipeline.plan`` reports every mistake of the plan at once and loads no model.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipeline.core import paths
from pipeline.core.errors import UserError, format_line
from pipeline.core.exits import exit_on_user_error
from pipeline.plan import disk_space, split_grid
from pipeline.plan.budget import Budget
from pipeline.plan.cells import Cell, Plan
from pipeline.plan.load_plan import format_path, read
from pipeline.plan.plan_check import check, list_conf_mistakes
from pipeline.plan.schema import TRAINED, Benchmark, PlanFile
from pipeline.plan.yaml_versions import find_misread

__all__ = [
    "TRAINED", "Benchmark", "Cell", "Plan", "check", "load", "load_or_exit", "main", "read",
    "register_resolvers",
]  # fmt: skip

CHECKED = paths.CACHE / "plan-checked"
COMPARED = (
    "prepare",
    "pretrain",
    *TRAINED,
    "evaluate",
    "benchmark",
)  # stages whose folders of records `compare` depends on


def load(path: Path = paths.PARAMS) -> Plan:
    """Return the plan in ``path``.

    Raises UserError with every mistake in it and in the files of conf/ that it names, a line each.
    """
    content = read(path)
    mistakes = [format_line(f"{format_path(path)}: {mistake}") for mistake in (*find_misread(path), *check(content))]
    if mistakes := [*mistakes, *map(format_line, list_conf_mistakes(content))]:
        raise UserError("\n".join(mistakes))
    file = PlanFile.model_validate(content)
    sections = {key: getattr(file, key) for key in PlanFile.model_fields if key != "compare"}
    return Plan(
        **sections,
        budget=file.compare.budget or Budget(),
        margin=file.compare.margin,
        parts=split_grid.get_split_axes(),
    )


def register_resolvers() -> None:
    """Let conf/ read the axes of ``params.yaml`` (``${plan:seeds}``) and the last word of a path (``${last:...}``)."""
    from omegaconf import OmegaConf

    OmegaConf.register_new_resolver("plan", lambda axis: _joined(getattr(load_or_exit(), axis)), replace=True)
    OmegaConf.register_new_resolver("last", lambda path: str(path).rpartition("/")[2], replace=True)


def _joined(values: Iterable[object]) -> str:
    return ",".join(str(value) for value in values)


def load_or_exit() -> Plan:
    """Return the plan, or end the process with a line for each mistake."""
    with exit_on_user_error():
        return load()


def main() -> None:
    """Check the plan, and that there is room for it, and leave word for DVC that it is sound."""
    with exit_on_user_error():
        study = load()
        split_grid.check_parts(study)
        disk_space.check(study)
        CHECKED.parent.mkdir(exist_ok=True)
        for stage in COMPARED:  # DVC needs them even if the plan has no such cells, and warns of an empty one
            paths.write_bytes(paths.get_metrics_path(stage, "").parent / ".gitkeep", b"")
        CHECKED.write_text("checked\n", encoding="utf-8")  # always the same, so that it makes nothing stale
    print(f"params.yaml: {len(study.cells)} cells, {len(study.seeds)} seeds each: no mistakes found")
