"""A `_target_` is called with the arguments of its conf file, and a wrong one is told before it runs."""

from typing import Any

import pytest

from pipeline.core import instantiate
from pipeline.core.errors import UserError

NAMED = (
    "name a function by its module, such as pipeline.data.dataset_sources.files "
    "or pipeline.models.checkpoint_sources.hub"
)
HERE = "conf/task/mine.yaml: source"


def refusal(**settings: Any) -> str:
    with pytest.raises(UserError) as error:
        instantiate.call_target(settings, HERE)
    return str(error.value)


def test_the_function_gets_its_own_arguments_and_of_the_given_ones_those_it_takes() -> None:
    settings = {"_target_": "pipeline.data.mirror.advice", "mirror": None, "kind": "data"}
    told = instantiate.call_target(settings, HERE, name="mine", log=None)
    assert told == "no mirror is named; put data/mine/ into a folder that LAB_MIRROR names, or go online"


def test_a_function_that_is_not_there_is_told() -> None:
    assert refusal(_target_="pipeline.data.mirror.fin") == (
        f"{HERE}: _target_: got 'pipeline.data.mirror.fin', but pipeline.data.mirror has no such function; "
        "did you mean 'find'? (allowed: advice, find)"
    )
    assert refusal(_target_="pipeline.data.synthetic.pair") == (
        f"{HERE}: _target_: got 'pipeline.data.synthetic.pair', but pipeline.data.synthetic has no such function; "
        "did you mean 'pairs'? (allowed: documents, pairs)"
    )
    assert refusal(_target_="pipeline.absent.fetch") == (
        f"{HERE}: _target_: got 'pipeline.absent.fetch', which is no function of this project; {NAMED}"
    )
    assert refusal(_target_="glue") == (f"{HERE}: _target_: got 'glue', which is no function of this project; {NAMED}")
    assert refusal() == f"{HERE}: _target_: missing; {NAMED}"


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "subprocess.run",
        "builtins.eval",
        "pipeline.core.paths.shutil.rmtree",
        "pipeline.core.paths.rmtree",
        "pipeline.core.instantiate.import_module",
        "pipeline.core.instantiate._find_type_mistake",
        "pipeline.system.hardware.subprocess.run",
        "pipeline..errors.suggest",
        "pipeline/core/errors.suggest",
        "tests.fakes.write",
        "",
        ".",
        3,
        ["os", "system"],
    ],
)
def test_nothing_but_a_function_that_this_project_defines_can_be_named(path: object) -> None:
    told = refusal(_target_=path)
    assert told.startswith(f"{HERE}: _target_: got {path!r}, ")
    assert "no such function; " in told or told.endswith(f"which is no function of this project; {NAMED}")


def test_an_argument_of_another_kind_is_told_before_the_function_runs() -> None:
    assert refusal(_target_="pipeline.data.dataset_sources.files", path=3) == f"{HERE}: path: got 3; give text"
    assert (
        refusal(_target_="pipeline.data.dataset_sources.files", path="a\0b")
        == f"{HERE}: path: got 'a\\x00b'; give text"
    )
    sha = refusal(_target_="pipeline.models.checkpoint_sources.directory", path="a", sha256=[1])
    assert sha == f"{HERE}: sha256: got [1]; give text or null"
    many = refusal(_target_="pipeline.data.synthetic.pairs", grade="swap", rows={"train": -1}, seed=0)
    assert many == f"{HERE}: rows: got {{'train': -1}}; give whole numbers from 0 by name"


def test_a_source_without_arguments_is_told() -> None:
    with pytest.raises(UserError) as error:
        instantiate.call_target("pipeline.data.dataset_sources.glue", HERE)
    assert str(error.value) == (
        f"{HERE}: got 'pipeline.data.dataset_sources.glue'; give a _target_ and its arguments by name"
    )


def test_an_argument_that_it_does_not_take_is_told_with_the_nearest() -> None:
    assert refusal(_target_="pipeline.data.dataset_sources.glue", config="mrpc", revison="0") == (
        f"{HERE}: revison: not an argument of glue; did you mean 'revision'? (allowed: config, revision)"
    )


def test_a_missing_argument_is_told() -> None:
    assert refusal(_target_="pipeline.data.dataset_sources.glue", config="mrpc") == (
        f"{HERE}: revision: missing; glue takes config, revision"
    )


def test_what_the_function_raises_comes_through_as_it_is() -> None:
    assert refusal(_target_="pipeline.data.dataset_sources.files", path="absent/folder") == (
        "conf/task: source.path: got 'absent/folder', but the project has no such folder; give one, such as "
        "inputs/<name>, that holds train and validation as .jsonl, .json, .csv, .tsv, .parquet (each also .gz)"
    )


def test_what_the_caller_gives_is_neither_offered_nor_taken_from_a_conf_file() -> None:
    def refused(**settings: Any) -> str:
        with pytest.raises(UserError) as error:
            instantiate.call_target(
                {"_target_": "pipeline.models.checkpoint_sources.hub", **settings}, HERE, out="a folder", log=None
            )
        return str(error.value)

    assert refused(repo="a/b", out="mine") == (f"{HERE}: out: not an argument of hub; allowed: repo, revision")
    assert refused(repo="a/b") == f"{HERE}: revision: missing; hub takes repo, revision"
