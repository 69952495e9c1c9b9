"""JSON Schemas of params.yaml and of the files in conf/, by which editors complete keys and underline mistakes.

``lab check --schema`` writes them into ``.schema/``. A comment at the top of a YAML file names its schema, behind
Hydra's ``# @package``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline.core import paths
from pipeline.plan.conf_files import GROUPS, HYDRA_KEYS, STAGES, SWEEP_KEYS
from pipeline.plan.schema import PlanFile

FOLDER = ".schema"
INTERPOLATION = {"type": "string", "pattern": r"\$\{|^\?\?\?$"}  # a value that Hydra fills in
DESCRIPTIONS = ("description", "default", "title", "errorMessage")
COMPOSED_KEYS = (*HYDRA_KEYS, *GROUPS)  # keys that the file of a stage may have as well


def build_schemas() -> dict[str, dict[str, Any]]:
    """Return each JSON Schema by the name of its file."""
    schemas = {"params": PlanFile.model_json_schema()}
    for group, model in GROUPS.items():
        schemas[group] = _allow_interpolations(model.model_json_schema())
    for stage, settings in STAGES.items():
        schema = _allow_interpolations(settings.model_json_schema())
        schema["properties"] |= {key: {} for key in COMPOSED_KEYS}
        schemas[stage] = schema
    keys: dict[str, Any] = {key: {} for key in (*SWEEP_KEYS, *COMPOSED_KEYS)}
    schemas["sweep"] = {"type": "object", "properties": keys, "additionalProperties": False}
    return {
        f"{name}.json": {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        for name, schema in schemas.items()
    }


def _allow_interpolations(node: Any) -> Any:
    """Return a schema in which each value below a key may be an interpolation of Hydra's."""
    if isinstance(node, list):
        return [_allow_interpolations(each) for each in node]
    if not isinstance(node, dict):
        return node
    changed = {key: _allow_interpolations(value) for key, value in node.items()}
    if "properties" in changed:
        changed["properties"] = {key: _add_option(value) for key, value in changed["properties"].items()}
    return changed


def _add_option(schema: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {key: schema[key] for key in DESCRIPTIONS if key in schema}
    return {**described, "anyOf": [schema, INTERPOLATION]}


def find_schema(path: Path) -> str | None:
    """Return the name of the schema of a YAML file of the project, None where it has none."""
    relative = path.relative_to(paths.ROOT)
    if relative == Path("params.yaml") or relative.parent == Path("conf/plan"):
        return "params.json"
    name = relative.stem if relative.parent == Path("conf") else relative.parent.name
    return f"{name}.json" if name in (*GROUPS, *STAGES, "sweep") else None


def write_schemas() -> list[Path]:
    """Write each JSON Schema into ``.schema/`` and return the files."""
    files = []
    for name, schema in build_schemas().items():
        files.append(paths.ROOT / FOLDER / name)
        paths.write_json(files[-1], schema)
    return files
