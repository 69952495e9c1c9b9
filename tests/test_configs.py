"""Every committed config composes, and every cell of every plan that ships; nothing is trained."""

import itertools
import math
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from pipeline import plan
from pipeline.compression import recovery
from pipeline.core import instantiate, paths
from pipeline.execution import cell_run
from pipeline.training.distillation import distillation_settings
from tests.pipelines import read_blocks

PLANS = [paths.PARAMS, *sorted((paths.CONF / "plan").glob("*.yaml"))]


def composed(stage: str, *overrides: str) -> DictConfig:
    plan.register_resolvers()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        cfg = compose(stage, list(overrides))
    OmegaConf.resolve(cfg)
    assert OmegaConf.missing_keys(cfg) == set()
    return cfg


@pytest.mark.parametrize("group", ["task", "model"])
def test_every_variant_is_named_as_its_file(group: str) -> None:
    stage = {"task": "prepare", "model": "pretrain"}[group]
    for path in (paths.CONF / group).glob("*.yaml"):
        assert composed(stage, f"{group}={path.stem}")[group].name == path.stem


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_every_cell_of_every_plan_composes(path: Path) -> None:
    known, study = read_blocks(), plan.load(path)
    for cell in study.cells:
        block = known[cell.address.rpartition(":")[2].partition("@")[0]]
        words = " ".join(block.get("do", block)["cmd"].split()).partition("--multirun ")[2]
        cfg = composed(cell.stage, *filled(words, cell, study).split())
        assert (cfg.exploration, cfg.cell) == (False, cell.name)


def filled(words: str, cell: plan.Cell, study: plan.Plan) -> str:
    """Return the words of a block's command with what DVC puts in for a cell."""
    entries = {**study.variants, **study.distill, **study.compress}
    item = (
        vars(entries[cell.name])
        if cell.section
        else {key: getattr(cell, key) for key in ("task", "model", "ratio", "recipe")}
    )
    for key, value in item.items():
        words = words.replace(f"${{item.{key}}}", str(value))
    if cell.stage == "benchmark":
        model, *rest = cell.name.rsplit("-", 4)
        names = ("model", "processes", "threads", "precision", "batch")
        for key, value in zip(names, (model, *rest), strict=True):
            words = words.replace(f"${{item.{key}}}", value)
        words = words.replace("${benchmark.task}", study.benchmark.task)
    return words.replace("${key}", cell.name)


@pytest.mark.parametrize("name", sorted(path.stem for path in (paths.CONF / "compression").glob("*.yaml")))
def test_every_compression_states_what_its_method_takes(name: str) -> None:
    cfg: Any = OmegaConf.to_container(composed("compress", "source=finetune/x", f"compression={name}").compression)
    assert cfg["name"] == name
    recovery.load_compression(cfg)
    method = instantiate.find_function(cfg["method"].pop("_target_"), name)
    instantiate.validate_arguments(method, cfg["method"], name, without=("model", "calibration"))
    assert import_module(method.__module__).check(None, **cfg["method"]) == []


@pytest.mark.parametrize("name", sorted(path.stem for path in (paths.CONF / "distillation").glob("*.yaml")))
def test_every_distillation_can_be_taught_with(name: str) -> None:
    words = ("task=mrpc", "model=bert-tiny", "teacher=finetune/x", "ratio=0.5", f"distillation={name}")
    cfg: Any = OmegaConf.to_container(composed("distill", *words).distillation)
    assert cfg["name"] == name
    distillation_settings.load_distillation(cfg)


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (paths.CONF / "recipe").glob("*.yaml")))
def test_every_recipe_composes(recipe: str) -> None:
    cfg = composed("finetune", "task=mrpc", "model=bert-tiny", "ratio=0.5", f"recipe={recipe}")
    assert cfg.recipe.name == recipe
    assert cfg.exploration is True


def swept(stage: str, *words: str) -> tuple[dict[str, list[str]], list[str]]:
    """Return the axes that a multirun sweeps, in the order of ``conf/sweep/`` and the command line, and its words."""
    plan.register_resolvers()
    plain = [word for word in words if "," not in word]
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        cfg = compose(stage, [*plain, *BLANKS[stage]], return_hydra_config=True)
    axes = dict(OmegaConf.to_container(cfg.hydra.sweeper.params or OmegaConf.create(), resolve=True))
    axes |= dict(word.split("=") for word in words if not word.startswith("+"))
    return {axis: str(values).split(",") for axis, values in axes.items()}, [word for word in words if word[0] == "+"]


BLANKS = {  # what composing alone needs, since the axes come from the sweeper
    "finetune": ["task=mrpc", "model=bert-tiny", "ratio=1"],
    "pretrain": ["model=bert-tiny"],
}
HOW_TO = (paths.ROOT / "docs/how-to.md").read_text()
EXAMPLES = re.findall(r"`python -m pipeline\.stages\.(\w+) --multirun ([^`]+)`", HOW_TO)
EXPLORATIONS = [("finetune", "+sweep=plan"), ("pretrain", "+sweep=ladder"), *EXAMPLES]


@pytest.mark.parametrize(("stage", "words"), EXPLORATIONS)
def test_every_job_of_an_exploration_composes_into_a_cell_of_its_own(stage: str, words: str) -> None:
    axes, fixed = swept(stage, *words.split())
    axes["seed"] = axes.get("seed", ["0"])[:1]  # each takes a tenth of a second
    found = set()
    for values in itertools.product(*axes.values()):
        cfg = composed(stage, *fixed, *(f"{axis}={value}" for axis, value in zip(axes, values, strict=True)))
        assert cfg.exploration is True
        found.add(cfg.cell)
    assert len(found) == math.prod(map(len, axes.values())) > 1


def test_an_exploration_repeats_the_grid_of_the_plan_with_the_axes_that_are_named_replaced() -> None:
    study = plan.load()
    axes, _ = swept("finetune", "+sweep=plan")
    grid = {
        "task": study.tasks,
        "model": study.models,
        "ratio": study.ratios,
        "recipe": study.recipes,
        "seed": study.seeds,
    }
    assert axes == {axis: [str(value) for value in values] for axis, values in grid.items()}
    (example,) = [words for _, words in EXAMPLES if "sweep=plan" in words]
    assert swept("finetune", *example.split())[0] == axes | {"ratio": ["0.05", "0.2"]}


def test_the_comparison_is_the_plans_only_where_dvc_asks_for_it() -> None:
    assert composed("compare").exploration is True
    assert composed("compare", "+sweep=once").exploration is False


def test_a_cell_can_be_named_by_what_is_swept() -> None:
    (example,) = re.findall(r"cell='(.*)'", cell_run.TWO_SETTINGS)
    cfg = composed(
        "finetune", "task=mrpc", "model=bert-tiny", "ratio=0.5", "recipe.learning_rate=1e-4", f"cell={example}"
    )
    assert cfg.cell == "mrpc-bert-tiny-0.5-standard-0.0001"
