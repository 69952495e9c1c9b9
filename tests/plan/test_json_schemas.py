"""Editors check params.yaml and conf/ by the JSON Schemas in .schema/, which are those of the models."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pipeline.core import paths
from pipeline.plan import json_schemas, load_plan

FILES = [paths.PARAMS, *sorted(paths.CONF.rglob("*.yaml"))]
DESCRIBED = [path for path in FILES if json_schemas.find_schema(path)]


def find_errors(name: str, content: dict[str, Any]) -> list[str]:
    schema = json.loads((paths.ROOT / json_schemas.FOLDER / name).read_text(encoding="utf-8"))
    return [error.message for error in Draft202012Validator(schema).iter_errors(content)]


def test_the_committed_schemas_are_current() -> None:
    committed = {path.name: json.loads(path.read_text()) for path in (paths.ROOT / json_schemas.FOLDER).iterdir()}
    assert committed == json.loads(json.dumps(json_schemas.build_schemas())), "run `lab check --schema`"


def test_every_file_but_hydras_own_has_a_schema() -> None:
    assert {path.relative_to(paths.CONF).parts[0] for path in {*FILES} - {*DESCRIBED}} == {"hydra"}


@pytest.mark.parametrize("path", DESCRIBED, ids=lambda path: str(path.relative_to(paths.ROOT)))
def test_a_shipped_file_names_its_schema_and_satisfies_it(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    line = lines[1 if lines[0].startswith("# @package") else 0]  # which Hydra reads in the first line only
    prefix, _, schema = line.partition("$schema=")
    assert prefix == "# yaml-language-server: "
    assert (path.parent / schema).resolve() == paths.ROOT / json_schemas.FOLDER / str(json_schemas.find_schema(path))
    assert find_errors(Path(schema).name, load_plan.read(path)) == []


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("params.yaml", {"ratios": [1.5]}),
        ("params.yaml", {"seed": [0]}),
        ("params.yaml", {"variants": {"a.b": None}}),
        ("conf/recipe/standard.yaml", {"warmup": 1}),
        ("conf/recipe/standard.yaml", {"epoch": 3}),
        ("conf/task/mrpc.yaml", {"max_length": "long"}),
        ("conf/model/bert-tiny.yaml", {"learning_rate": 0}),
        ("conf/distillation/logits.yaml", {"hidden": {"weight": 1.0, "layers": "unifrom"}}),
        ("conf/compression/heads.yaml", {"recovery": {"epochs": 2}}),
        ("conf/benchmark.yaml", {"precision": "bf61"}),
        ("conf/finetune.yaml", {"threads": 0}),
        ("conf/sweep/seeds.yaml", {"epochs": 1}),
    ],
)
def test_a_broken_file_does_not_satisfy_its_schema(file: str, changes: dict[str, Any]) -> None:
    path = paths.ROOT / file
    name = str(json_schemas.find_schema(path))
    assert find_errors(name, {**load_plan.read(path), **changes}) != []
