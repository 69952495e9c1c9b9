"""The models of the files of conf/ name every key that the shipped files have, and where an unknown key belongs."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.core import paths
from pipeline.plan import conf_files


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("group", sorted(conf_files.GROUPS))
def test_every_shipped_file_of_a_group_is_sound(group: str) -> None:
    for path in (paths.CONF / group).glob("*.yaml"):
        assert conf_files.find_group_mistakes(group, load(path), interpolated=True) == [], path


@pytest.mark.parametrize("stage", sorted(conf_files.STAGES))
def test_the_file_of_a_stage_has_every_key_of_its_model(stage: str) -> None:
    content = load(paths.CONF / f"{stage}.yaml")
    assert conf_files.find_stage_mistakes(stage, content, interpolated=True) == []
    shared = set() if stage == "workspace" else set(conf_files.STAGES["workspace"].model_fields)
    assert set(conf_files.STAGES[stage].model_fields) - shared == set(content) - set(conf_files.HYDRA_KEYS)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("lr", "lr: unknown key; it belongs in conf/recipe/ as learning_rate (allowed here: {})"),
        ("epochs", "epochs: unknown key; it belongs in conf/recipe/ (allowed here: {})"),
        ("max_length", "max_length: unknown key; it belongs in conf/task/ (allowed here: {})"),
        ("ratios", "ratios: unknown key; did you mean 'ratio'? (allowed: {})"),
        ("zzz", "zzz: unknown key; allowed: {}"),
    ],
)
def test_an_unknown_key_is_refused_with_the_near_name_or_its_place(key: str, message: str) -> None:
    content = {"cell": "a", "ratio": 1, "processes": 1, "threads": None, "defaults": [], "hydra": {}, key: 1}
    allowed = "cell, checkpoint_seconds, exploration, processes, ratio, seed, threads"
    assert [each.text for each in conf_files.find_stage_mistakes("finetune", content)] == [message.format(allowed)]
