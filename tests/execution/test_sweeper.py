"""A sweep composes each cell before its first job, and no cell more often than its seeds ask for."""

import subprocess
import sys
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import ConfigCompositionException
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import OmegaConf

from pipeline import plan
from pipeline.core import paths
from pipeline.execution import sweeper


@pytest.mark.parametrize(
    ("batch", "ahead"),
    [
        ([["seed=0", "task=a"], ["seed=1", "task=a"]], []),
        (
            [["seed=0", "task=a"], ["seed=1", "task=a"], ["seed=0", "task=b"]],
            [["seed=1", "task=a"], ["seed=0", "task=b"]],
        ),
    ],
)
def test_one_job_of_each_cell_is_composed_ahead(
    monkeypatch: pytest.MonkeyPatch, batch: list[list[str]], ahead: list[list[str]]
) -> None:
    composed: list[list[str]] = []
    monkeypatch.setattr(Sweeper, "validate_batch_is_legal", Sweeper.validate_batch_is_legal)
    monkeypatch.setattr(sweeper, "compose_all", lambda _, jobs: composed.extend(jobs))
    sweeper.compose_seeds_once()
    (basic,) = (kind for kind in Plugins.instance().discover(Sweeper) if kind.__name__ == "BasicSweeper")
    basic(max_batch_size=None).validate_batch_is_legal(batch)
    assert composed == ahead


def test_a_cell_that_cannot_be_composed_stops_a_sweep_before_its_first_trial(project: Path) -> None:
    words = ("task=starter-swap,starter-swpa", "model=starter-2x64", "ratio=0.1", "seed=0,1")
    command = [sys.executable, "-m", "pipeline.stages.finetune", "--multirun", *words]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert said.startswith(
        "error: finetune: task: no task 'starter-swpa' in conf/task/; did you mean 'starter-swap'? (all"
    )
    assert done.stdout == ""  # not even begun


def test_a_sweep_tells_how_many_seeds_each_of_its_cells_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "_seeds", set())
    monkeypatch.setattr(sweeper, "compose_all", lambda _, jobs: None)
    monkeypatch.setattr(Sweeper, "validate_batch_is_legal", Sweeper.validate_batch_is_legal)
    assert sweeper.seeds() == 1
    sweeper.compose_seeds_once()
    (basic,) = (kind for kind in Plugins.instance().discover(Sweeper) if kind.__name__ == "BasicSweeper")
    for batch in ([["seed=0", "task=a"], ["seed=1", "task=a"]], [["seed=2", "task=a"], ["seed=0", "task=b"]]):
        basic(max_batch_size=None).validate_batch_is_legal(batch)
    assert sweeper.seeds() == 3


WORDS = ["task=starter-swap", "model=starter-2x64", "ratio=0.1"]


@pytest.mark.parametrize("sweep", [[], WORDS, ["+sweep=seeds", *WORDS]], ids=["axes", "one cell", "the plan's seeds"])
def test_a_job_has_the_configuration_that_hydra_composes_whatever_came_before(
    monkeypatch: pytest.MonkeyPatch, sweep: list[str]
) -> None:
    plan.register_resolvers()
    monkeypatch.setattr(sweeper, "_composed", {})
    words, other = sweep or WORDS, ["task=starter-nest", "recipe=patient", "model=starter-2x64", "ratio=0.3"]
    jobs = [["seed=0", *words], ["seed=1", *words], [*words, "seed=2"], ["seed=1", *other], [*other, "seed=10"], words]
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("finetune", ["hydra.mode=MULTIRUN", *sweep], RunMode.MULTIRUN)
        for job in jobs:
            mine, theirs = (made(loader, master, job) for made in (sweeper._once, sweeper.compose))
            assert OmegaConf.to_container(mine) == OmegaConf.to_container(theirs)
            assert mine.cell == theirs.cell
            mine.ratio = 0.5  # what a job does to its own reaches no other


def test_a_sweep_that_lacks_a_word_stops_as_hydra_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper, "_composed", {})
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        master = loader.load_configuration("finetune", ["hydra.mode=MULTIRUN", "ratio=0.1"], RunMode.MULTIRUN)
        with pytest.raises(ConfigCompositionException) as theirs:
            sweeper.compose(loader, master, ["seed=0", "ratio=0.1"])
        with pytest.raises(ConfigCompositionException) as mine:
            sweeper._once(loader, master, ["seed=0", "ratio=0.1"])
    assert str(mine.value) == str(theirs.value)
