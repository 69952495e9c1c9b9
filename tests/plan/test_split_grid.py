"""A grid that is split into parts: what each part says, and that parts which no longer fit are told."""

import dataclasses
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline import plan
from pipeline.cli.split import split
from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.plan import split_grid
from tests.pipelines import read_blocks

WHOLE = split_grid.read_pipeline()
STUDY = plan.load()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of which nothing has run."""
    (tmp_path / "dvc.yaml").write_text(WHOLE)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return tmp_path


def lay(root: Path, study: plan.Plan) -> None:
    (root / "dvc.yaml").write_text(split_grid.empty_axes(WHOLE, study.parts))
    for name, content in split_grid.create_parts(split_grid.read_pipeline(), study).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)


def test_the_blocks_of_the_grid_are_those_over_all_of_its_axes() -> None:
    assert list(split_grid.find_grid_blocks(WHOLE)) == ["finetune", "evaluate"]


@pytest.mark.parametrize(
    "by", [("task",), ("model",), ("ratio",), ("task", "model"), ("task", "recipe"), ("task", "model", "ratio")]
)
def test_a_split_empties_the_axes_of_the_grid_alone_and_a_join_gives_the_same_bytes_again(by: tuple[str, ...]) -> None:
    text = split_grid.empty_axes(WHOLE, by)
    differ = [(a, b) for a, b in zip(WHOLE.splitlines(), text.splitlines(), strict=True) if a != b]
    assert differ == [(f"      {axis}: ${{{split_grid.AXES[axis]}}}", f"      {axis}: []") for axis in by] * 2
    assert split_grid.empty_axes(text, ()) == WHOLE


def test_a_part_holds_the_blocks_of_the_grid_for_its_point_and_runs_them_where_they_always_ran() -> None:
    study = dataclasses.replace(STUDY, parts=("task", "ratio"))
    made = split_grid.create_parts(split_grid.empty_axes(WHOLE, study.parts), study)
    assert list(made) == [f"parts/{task}/{ratio}/dvc.yaml" for task in study.tasks for ratio in study.ratios]
    own = YAML(typ="safe").load(made["parts/starter-nest/0.3/dvc.yaml"])
    assert own["vars"] == ["../../../params.yaml"]
    whole = read_blocks()
    for name, block in own["stages"].items():
        assert block.pop("wdir") == "../../.."
        assert block.pop("matrix") == {
            "task": ["starter-nest"],
            "model": "${models}",
            "ratio": [0.3],
            "recipe": "${recipes}",
        }
        assert block == {key: value for key, value in whole[name].items() if key not in ("matrix", "wdir")}
    assert list(own["stages"]) == ["finetune", "evaluate"]


def test_a_cell_bears_the_address_of_its_part(root: Path) -> None:
    study = dataclasses.replace(STUDY, parts=("model",))
    lay(root, study)
    assert split_grid.get_split_axes() == ("model",)
    cells = {cell.address: cell for cell in study.cells}
    trained = "parts/starter-2x64/dvc.yaml:finetune@starter-swap-starter-2x64-0.1-standard"
    asked = cells["parts/starter-2x64/dvc.yaml:evaluate@starter-swap-starter-2x64-0.1-standard"]
    assert asked.needs == ("prepare@starter-swap", trained)
    assert {"finetune-variants@equal-steps", "evaluate-compress@narrow"} < cells.keys()


def test_parts_that_params_or_dvc_no_longer_make_are_told(root: Path) -> None:
    study = dataclasses.replace(STUDY, parts=("task",))
    lay(root, study)
    split_grid.check_parts(study)
    more = dataclasses.replace(study, tasks=(*study.tasks, "mrpc"))
    asking = root / "dvc.yaml"
    edited = asking.read_text().replace("source=finetune/${item.task}", "source=else/${item.task}")
    for asked, text, file, count in [
        (more, None, "mrpc", 1), (dataclasses.replace(study, tasks=study.tasks[:1]), None, "starter-nest", 1),
        (study, edited, "starter-nest", 2),
    ]:  # fmt: skip
        asking.write_text(text or asking.read_text())
        with pytest.raises(UserError) as error:
            split_grid.check_parts(asked)
        assert str(error.value) == (
            f"parts/{file}/dvc.yaml: got another content than params.yaml and dvc.yaml make, in {count} parts; run "
            "`lab split`, then the same command again"
        )


def test_a_word_that_is_no_axis_is_refused() -> None:
    with pytest.raises(UserError) as error:
        split(["tasks"])
    assert str(error.value) == "got 'tasks'; did you mean 'task'? (allowed: model, none, ratio, recipe, task)"
