"""The keys that files of conf/ may hold are those that the code reads."""

from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from pipeline.core import conf_keys, paths
from pipeline.training.distillation.distillation_settings import Distillation
from pipeline.training.recipe import Recipe


@pytest.mark.parametrize(("group", "kind"), [("recipe", Recipe), ("distillation", Distillation)])
def test_the_keys_of_a_group_are_those_of_its_dataclass(group: str, kind: type) -> None:
    assert set(conf_keys.GROUPS[group]) == {"name", *(field.name for field in fields(kind))}


@pytest.mark.parametrize("group", sorted(conf_keys.GROUPS))
def test_every_file_of_a_group_that_ships_holds_allowed_keys_alone(group: str) -> None:
    for path in (paths.CONF / group).glob("*.yaml"):
        assert list(conf_keys.find_unknown(yaml.safe_load(path.read_text()), conf_keys.GROUPS[group])) == [], path


@pytest.mark.parametrize("stage", sorted(conf_keys.STAGES))
def test_the_keys_of_a_stage_are_those_that_its_file_states(stage: str) -> None:
    content = yaml.safe_load(Path(paths.CONF / f"{stage}.yaml").read_text())
    assert set(conf_keys.STAGES[stage]) == set(content) - set(conf_keys.HYDRA)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("lr", "lr: unknown key; 'learning_rate' belongs in conf/recipe/ (allowed here: cell, ratio)"),
        ("epochs", "epochs: unknown key; it belongs in conf/recipe/ (allowed here: cell, ratio)"),
        ("max_length", "max_length: unknown key; it belongs in conf/task/ (allowed here: cell, ratio)"),
        ("ratios", "ratios: unknown key; did you mean 'ratio'? (allowed: cell, ratio)"),
        ("zzz", "zzz: unknown key; allowed: cell, ratio"),
    ],
)
def test_an_unknown_key_is_refused_with_the_near_name_or_its_place(key: str, message: str) -> None:
    assert list(conf_keys.find_unknown({key: 1, "cell": 2, "defaults": [], "hydra": {}}, ("cell", "ratio"))) == [
        message
    ]
