"""A sweep composes each cell once, with the configs that Hydra would compose for each job."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import ConfigCompositionException
from hydra.plugins.sweeper import Sweeper
from hydra.types import RunMode
from omegaconf import OmegaConf

from hydra_plugins.seed_sweeper import SeedConfigLoader, SeedSweeper
from pipeline import plan
from pipeline.core import paths
from pipeline.execution.cell_run import FOLDER, SEED_COUNT

WORDS = ["task=starter-swap", "model=starter-2x64", "ratio=0.1"]


@pytest.fixture
def sweeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a sweeper with a sweep folder; ``composed`` lists the jobs that Hydra validates."""
    monkeypatch.setenv(FOLDER, str(tmp_path))
    made: Any = SeedSweeper(max_batch_size=None)
    made.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    made.seeds, made.launcher, made.hydra_context = set(), BasicLauncher(), SimpleNamespace()
    made.composed = []
    monkeypatch.setattr(Sweeper, "validate_batch_is_legal", lambda self, jobs: made.composed.extend(jobs))
    return made


@pytest.mark.parametrize(
    ("batch", "composed"),
    [
        ([["seed=0", "task=a"], ["seed=1", "task=a"]], []),
        (
            [["seed=0", "task=a"], ["seed=1", "task=a"], ["seed=0", "task=b"]],
            [["seed=1", "task=a"], ["seed=0", "task=b"]],
        ),
    ],
)
def test_one_job_of_each_cell_is_validated(sweeper: Any, batch: list[list[str]], composed: list[list[str]]) -> None:
    sweeper.validate_batch_is_legal(batch)
    assert sweeper.composed == composed


def test_the_sweep_stores_how_many_seeds_each_of_its_cells_has(sweeper: Any, tmp_path: Path) -> None:
    for batch in ([["seed=0", "task=a"], ["seed=1", "task=a"]], [["seed=2", "task=a"], ["seed=0", "task=b"]]):
        sweeper.validate_batch_is_legal(batch)
    assert (tmp_path / SEED_COUNT).read_text() == "3"


def test_a_cell_that_cannot_be_composed_stops_a_sweep_before_its_first_trial(project: Path) -> None:
    words = ("task=starter-swap,starter-swpa", "model=starter-2x64", "ratio=0.1", "seed=0,1")
    command = [sys.executable, "-m", "pipeline.stages.finetune", "--multirun", *words]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "error: finetune: task: no task 'starter-swpa' in conf/task/; did you mean 'starter-swap'? (all"
    )
    assert done.stdout == ""


@pytest.mark.parametrize("sweep", [[], WORDS, ["+sweep=seeds", *WORDS]], ids=["axes", "one cell", "the plan's seeds"])
def test_a_job_has_the_config_that_hydra_composes_whatever_job_came_before(sweep: list[str]) -> None:
    plan.register_resolvers()
    words, other = sweep or WORDS, ["task=starter-nest", "recipe=patient", "model=starter-2x64", "ratio=0.3"]
    jobs = [["seed=0", *words], ["seed=1", *words], [*words, "seed=2"], ["seed=1", *other], [*other, "seed=10"], words]
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        hydra_loader: Any = GlobalHydra.instance().config_loader()
        loader = SeedConfigLoader(hydra_loader.get_search_path())
        master = loader.load_configuration("finetune", ["hydra.mode=MULTIRUN", *sweep], RunMode.MULTIRUN)
        for job in jobs:
            ours, theirs = (each.load_sweep_config(master, job) for each in (loader, hydra_loader))
            assert OmegaConf.to_container(ours) == OmegaConf.to_container(theirs)
            assert ours.cell == theirs.cell
            ours.ratio = 0.5  # a job that changes its config changes no other


def test_a_sweep_that_lacks_a_key_stops_with_hydras_error() -> None:
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        hydra_loader: Any = GlobalHydra.instance().config_loader()
        loader = SeedConfigLoader(hydra_loader.get_search_path())
        master = loader.load_configuration("finetune", ["hydra.mode=MULTIRUN", "ratio=0.1"], RunMode.MULTIRUN)
        messages = []
        for each in (loader, hydra_loader):
            with pytest.raises(ConfigCompositionException) as caught:
                each.load_sweep_config(master, ["seed=0", "ratio=0.1"])
            messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert isinstance(hydra_loader, ConfigLoaderImpl)
