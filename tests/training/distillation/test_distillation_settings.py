"""Distillations: which layers learn from which, and what is refused before any work."""

from typing import Any

import pytest
import yaml

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.training.distillation.distillation_settings import (
    AttentionMatching,
    Distillation,
    HiddenMatching,
    LayerSelection,
    load_distillation,
    pair_layers,
    pair_states,
    select_layers,
)

FILES = sorted(path.stem for path in (paths.CONF / "distillation").glob("*.yaml"))
CONF: dict[str, Any] = {
    "name": "mine",
    "alpha": 0.5,
    "temperature": 2.0,
    "hidden": None,
    "attention": None,
    "start": "pretrained",
    "teacher_seed": None,
}


@pytest.mark.parametrize("name", FILES)
def test_every_shipped_distillation_can_be_taught_with(name: str) -> None:
    content = yaml.safe_load((paths.CONF / "distillation" / f"{name}.yaml").read_text(encoding="utf-8"))
    assert content["name"] == name
    assert load_distillation(content).teacher_seed is None


def test_a_file_is_read_with_its_parts() -> None:
    settings = load_distillation(
        {
            **CONF,
            "hidden": {"weight": 2.0, "layers": "last"},
            "attention": {"weight": 1, "kind": "minilm", "layers": "uniform"},
            "start": {"every": 3},
            "teacher_seed": 1,
        }
    )
    expected = Distillation(
        alpha=0.5,
        temperature=2.0,
        hidden=HiddenMatching(weight=2.0, layers="last"),
        attention=AttentionMatching(weight=1, kind="minilm", layers="uniform"),
        start=3,
        teacher_seed=1,
    )
    assert settings.model_dump(exclude={"name"}) == expected.model_dump()
    assert settings.matches_layers
    assert not load_distillation(CONF).matches_layers


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 1.5}, "alpha: got 1.5; give a number from 0 to 1"),
        ({"alpha": "half"}, "alpha: got 'half'; give a number from 0 to 1"),
        ({"temperature": 0}, "temperature: got 0; give a number above 0"),
        ({"temperature": float("inf")}, "temperature: got inf; give a number above 0"),
        ({"start": "fresh"}, "start: got 'fresh'; write pretrained, scratch or {every: 2} and up"),
        ({"start": {"every": 1}}, "start: got 1; write pretrained, scratch or {every: 2} and up"),
        ({"start": {"each": 2}}, "start: got {'each': 2}; write pretrained, scratch or {every: 2} and up"),
        ({"teacher_seed": -1}, "teacher_seed: got -1; give a whole number from 0 to 4294967295, or null"),
        ({"hidden": 1.0}, "hidden: got 1.0; give {weight: ..., layers: ...}, or null"),
        ({"hidden": {"weight": 1.0}}, "hidden.layers: missing; give last or uniform"),
        (
            {"hidden": {"weight": 0, "layers": "last"}},
            "hidden.weight: got 0; give a number above 0",
        ),
        (
            {"hidden": {"weight": 1, "layers": "unifrom"}},
            "hidden.layers: got 'unifrom'; did you mean 'uniform'? (allowed: last, uniform)",
        ),
        (
            {"attention": {"weight": 1, "kind": "bert", "layers": "last"}},
            "attention.kind: got 'bert'; did you mean 'tinybert'? (allowed: minilm, tinybert)",
        ),
        (
            {"attention": {"weight": 1, "kinds": "minilm", "layers": "last"}},
            "attention.kind: missing; give minilm or tinybert\n"
            "conf/distillation/mine.yaml: attention.kinds: unknown key; did you mean 'kind'? "
            "(allowed: kind, layers, weight)",
        ),
        (
            {"temprature": 2.0},
            "temprature: unknown key; did you mean 'temperature'? "
            "(allowed: alpha, attention, hidden, name, start, teacher_seed, temperature)",
        ),
    ],
)
def test_what_cannot_be_taught_with_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        load_distillation({**CONF, **settings})
    assert str(error.value) == f"conf/distillation/mine.yaml: {message}"


def test_a_missing_key_is_named() -> None:
    with pytest.raises(UserError) as error:
        load_distillation({key: value for key, value in CONF.items() if key != "alpha"})
    assert str(error.value) == "conf/distillation/mine.yaml: alpha: missing; give a number from 0 to 1"


def test_a_uniform_map_spreads_the_student_over_the_teacher() -> None:
    assert pair_layers("uniform", 4, 12) == [(1, 3), (2, 6), (3, 9), (4, 12)]
    assert pair_layers("uniform", 2, 2) == [(1, 1), (2, 2)]


def test_a_map_that_does_not_divide_is_rounded_and_ends_with_the_last() -> None:
    assert pair_layers("uniform", 2, 3) == [(1, 2), (2, 3)]
    assert pair_layers("uniform", 4, 6) == [(1, 2), (2, 3), (3, 5), (4, 6)]
    assert pair_layers("uniform", 4, 1) == [(1, 1), (2, 1), (3, 1), (4, 1)]  # a student deeper than its teacher


def test_the_last_layers_may_be_mapped_alone() -> None:
    assert pair_layers("last", 2, 12) == pair_states("last", 2, 12) == [(2, 12)]


def test_the_states_of_a_uniform_map_begin_with_the_embeddings() -> None:
    assert pair_states("uniform", 2, 6) == [(0, 0), (1, 3), (2, 6)]


def test_only_what_is_matched_is_needed() -> None:
    hidden = HiddenMatching(weight=1.0, layers="uniform")
    assert select_layers(Distillation(alpha=0.5, temperature=1.0), 2, 4) == LayerSelection()
    assert select_layers(Distillation(alpha=0.5, temperature=1.0, hidden=hidden), 2, 4) == LayerSelection(
        states=(0, 2, 4)
    )
    tinybert = Distillation(
        alpha=0.5, temperature=1.0, attention=AttentionMatching(weight=1.0, kind="tinybert", layers="uniform")
    )
    assert select_layers(tinybert, 4, 2) == LayerSelection(scores=(1, 2))
    minilm = Distillation(
        alpha=0.5, temperature=1.0, hidden=hidden, attention=AttentionMatching(weight=1.0, kind="minilm", layers="last")
    )
    assert select_layers(minilm, 2, 4) == LayerSelection(states=(0, 2, 4), scores=(4,), values=(4,))
