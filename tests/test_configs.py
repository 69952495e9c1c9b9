"""Every committed config composes, and every cell of every plan that ships; nothing is trained."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from pipeline import paths, plan

STAGES = ("prepare", "pretrain", "finetune", "evaluate")
PLANS = [paths.PARAMS, *sorted((paths.CONF / "plan").glob("*.yaml"))]


def composed(stage: str, *overrides: str) -> DictConfig:
    plan.register_resolver()
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
    cells = plan.load(path).cells
    points = {(cell.stage, cell.task, cell.model, cell.recipe, cell.ratio): cell for cell in cells}
    for cell in points.values():
        words = {"task": cell.task, "model": cell.model, "ratio": cell.ratio}
        overrides = [f"{key}={value}" for key, value in words.items() if value is not None]
        sweep = "seeds" if cell.ratio else "once"
        recipe = [f"recipe={cell.recipe}"] if cell.stage == "finetune" else []
        cfg = composed(cell.stage, f"+sweep={sweep}", *overrides, *recipe)
        assert cfg.exploration is False
        if cell.recipe == plan.RECIPE:
            assert cfg.cell == cell.name


@pytest.mark.parametrize("recipe", sorted(path.stem for path in (paths.CONF / "recipe").glob("*.yaml")))
def test_every_recipe_composes(recipe: str) -> None:
    cfg = composed("finetune", "task=mrpc", "model=bert-tiny", "ratio=0.5", f"recipe={recipe}")
    assert cfg.recipe.name == recipe
    assert cfg.exploration is True
