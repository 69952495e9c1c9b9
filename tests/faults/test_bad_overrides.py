"""Any command line runs the stage, or ends with one line and a status and has written nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st

from pipeline import plan
from pipeline.cli import main, recommend
from pipeline.core import paths
from pipeline.core.errors import MAX_LINE_LENGTH, UserError, format_error
from pipeline.core.validators import is_cell, is_name, is_whole
from pipeline.execution import overrides
from tests.faults.strategies import EXAMPLES, NASTY, fuzzed, texts

POINT = ["task=mrpc", "model=bert-tiny", "ratio=0.5"]
STAGES = {
    "prepare": ["task=mrpc"],
    "pretrain": ["model=bert-tiny"],
    "finetune": POINT,
    "distill": [*POINT, "teacher=finetune/x"],
    "compress": ["source=finetune/x", "compression=heads"],
    "evaluate": ["source=finetune/x"],
    "benchmark": ["task=mrpc", "model=bert-tiny"],
    "compare": [],
}
KEYS = (
    "task", "model", "recipe", "distillation", "compression", "ratio", "seed", "cell", "source", "teacher", "threads",
    "processes", "exploration", "mirror", "sweep", "hydra.run.dir", "hydra.sweep.dir", "hydra/launcher", "hydra",
    "task.name", "task.labels", "task.source", "task.source._target_", "model.name", "model.learning_rate",
    "recipe.epochs", "recipe.fractions", "distillation.alpha", "distillation.hidden", "compression.method",
    "compression.recovery", "recovery", "recovery.steps", "latency", "budget.examples", "batch", "precision", "dpi",
    "size", "checkpoint_seconds", "nothing", "",
)  # fmt: skip
SIGNS = ("", "", "", "+", "++", "~")
GIVEN = (
    "abc", "nan", "-1", "1.5", "0", "-3", "x", "null", "true", "???", "[1,2]", "{a: 1}", "1,2", "0.1,7", "choice(1,x)",
    "range(1,5)", "glob(*)", "interval(0,1)", "shuffle(1,2)", "${oc.env:HOME}", "'${oc.env:HOME}'", "${nothing}",
    "'${ratio}'", "${cell}", "9" * 30, "9" * 4400, "[" * 300, "'a b'", "'a\nb'", "\\,", "mrpc", "0.5", "heads",
    "finetune/x", "exploration/finetune/x", "finetune/..", "/tmp/x", *NASTY,
)  # fmt: skip
words = st.builds("{}{}={}".format, st.sampled_from(SIGNS), st.sampled_from(KEYS), st.sampled_from(GIVEN))
likely = st.sampled_from(
    ("seed=5", "ratio=0.25", "threads=2", "cell=mine", "recipe=patient", "recipe.epochs=2", "mirror=/x", "+sweep=once")
)
FLAGS = ("--config-dir=/tmp", "-cp", "--experimental-rerun=x.pickle", "--cfg", "-m")
loose = words | likely | texts | st.sampled_from(FLAGS)


@pytest.fixture(scope="module")
def composing() -> Iterator[None]:
    plan.register_resolvers()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        yield


def printable(error: UserError) -> None:
    assert all(line.isprintable() for line in format_error(error).split("\n"))


def one_line(error: UserError) -> str:
    line = format_error(error)
    assert "\n" not in line
    assert line.isprintable()
    assert len(line) <= MAX_LINE_LENGTH + 3
    return line


def test_any_word_is_an_override_or_is_refused_in_a_line() -> None:
    ran, taken = [0], [0]

    @fuzzed("words")
    @given(st.sampled_from(sorted(STAGES)), st.lists(loose, min_size=1, max_size=2))
    def once(stage: str, given: list[str]) -> None:
        ran[0] += 1
        try:
            overrides.check_overrides(stage, [*STAGES[stage], *given])
        except UserError as error:
            one_line(error)
        else:
            taken[0] += 1

    once()
    assert ran[0] >= EXAMPLES["words"]
    assert taken[0] > 20


def test_a_config_that_is_taken_names_only_folders_of_the_project(composing: None) -> None:
    ran, taken = [0], [0]

    @fuzzed("configs")
    @given(st.sampled_from(sorted(STAGES)), words | likely)
    def once(stage: str, word: str) -> None:
        ran[0] += 1
        given = [*STAGES[stage], word]
        try:
            overrides.check_overrides(stage, given)
            cfg = compose(stage, given)
            overrides.check_config(stage, cfg)
        except UserError as error:
            one_line(error)
            return
        except Exception as error:
            if overrides._convert_error(error) is None:
                raise
            one_line(UserError(overrides._join_lines(error)))
            return
        taken[0] += 1
        assert stage == "compare" or is_cell(cfg.cell)
        assert is_whole(cfg.seed, 0, 2**32 - 1)
        assert all(is_name(cfg[group].name) for group in overrides.GROUPS if group in cfg)

    once()
    assert ran[0] >= EXAMPLES["configs"]
    assert taken[0] > 5


def test_the_words_of_the_other_commands_are_taken_or_refused_in_a_line() -> None:
    ran = [0]
    keys = ("latency_p50_ms", "score", "storage_bytes", "length", "batch", "nothing", "")
    word = st.builds(lambda key, value: f"{key}={value}", st.sampled_from(keys), st.sampled_from(GIVEN) | texts) | texts

    parse = main._parse_number("--batch", 1, 9999)

    @fuzzed("arguments")
    @given(st.lists(word, max_size=3))
    def once(given: list[str]) -> None:
        ran[0] += 1
        try:
            recommend.limits(given)
        except UserError as error:
            printable(error)
        for text in given:
            try:
                assert 1 <= parse(text) <= 9999
            except UserError as error:
                printable(error)

    once()
    assert ran[0] >= EXAMPLES["arguments"]


MRPC = sorted(path.stem for path in (paths.CONF / "task").glob("*.yaml"))
SEED = "give a whole number from 0 to 4294967295"


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("seed=-1", f"seed: got -1; {SEED}"),
        ("seed=1.5", f"seed: got 1.5; {SEED}"),
        (f"seed={10**30}", f"seed: got {10**30}; {SEED}"),
        ("seed=0,1,-1", f"seed: got -1; {SEED}"),
        ("ratio=abc", "ratio: got 'abc'; a ratio is a number above 0 and at most 1"),
        ("ratio=nan", "ratio: got nan; a ratio is a number above 0 and at most 1"),
        ("threads=0", "threads: got 0; give a whole number from 1 to 1024, or null"),
        ("processes=x", "processes: got 'x'; give a whole number from 1 to 1024"),
        (
            "cell=../../x",
            "cell: got '../../x'; a cell's name has letters, digits, '.', '-', '_' and '+', 200 at most",
        ),
        (
            "hydra.launcher._target_=os.system",
            "hydra.launcher._target_: cannot be set here, only in conf/hydra/launcher/; allowed: account, "
            "array_parallelism, constraint, cpus_per_task, gpus_per_node, mem_gb, n_jobs, partition, qos, "
            "ray.remote.num_cpus, ray.remote.num_gpus, timeout_min",
        ),
        (
            "hydra.launcher={_target_: os.system}",
            "hydra.launcher: cannot be set here: conf/workspace.yaml decides where a stage writes",
        ),
        ("hydra.launcher.n_jobs=0", "hydra.launcher.n_jobs: got 0; give a whole number from 1, or -1 for all cores"),
        ("hydra.launcher.partition='a b'", "hydra.launcher.partition: got 'a b'; give a plain name"),
        (
            "hydra/launcher=ziggurat",
            "no launcher 'ziggurat' in conf/hydra/launcher/; allowed: basic, cores, ray-cluster, ray-here, slurm, "
            "slurm-here",
        ),
        ("task=mprc", f"task: no task 'mprc' in conf/task/; did you mean 'mrpc'? (allowed: {', '.join(MRPC)})"),
        ("task=../../etc/passwd", f"task: no task '../../etc/passwd' in conf/task/; allowed: {', '.join(MRPC)}"),
        (
            "hydra.run.dir=/tmp/x",
            "hydra.run.dir: cannot be set here: conf/workspace.yaml decides where a stage writes",
        ),
        (
            "+hydra.sweep.dir=../x",
            "hydra.sweep.dir: cannot be set here: conf/workspace.yaml decides where a stage writes",
        ),
        (
            "hydra={run: {dir: /tmp/x}}",
            "hydra: cannot be set here: conf/workspace.yaml decides where a stage writes",
        ),
        ("--config-dir=/tmp", "--config-dir: not allowed: a stage reads its own file of conf/"),
        ("--experimental-rerun=x.pickle", "--experimental-rerun: not allowed: a stage reads its own file of conf/"),
        ("--nothing", "unrecognized arguments: --nothing; write key=value, such as ratio=0.5; --help lists the keys"),
        ("~recipe", "got '~recipe'; a stage needs all of its keys: give recipe another value"),
        ("recipe@x=patient", "got 'recipe@x=patient'; a config group cannot be moved: write recipe=... without @"),
        ("rtaio=0.5", "rtaio: no key of conf/finetune.yaml; did you mean 'ratio'? (allowed: cell, checkpoint_seconds, "
         "exploration, model, processes, ratio, recipe, seed, task, threads)"),
        ("=", "got '=', which Hydra cannot read (it has no key); write key=value"),
        (
            "ratio",
            "got 'ratio', which Hydra cannot read (Error parsing override 'ratio'; missing EQUAL at '<EOF>'); "
            "write key=value",
        ),
        ("a=" + "x" * 4000, f"{'a=' + 'x' * 38!r}...: 4,002 characters; give at most 4,000"),
    ],
)  # fmt: skip
def test_a_word_that_cannot_be_meant_is_told_with_what_can(word: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        overrides.check_overrides("finetune", [*POINT, word])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("stage", "given", "message"),
    [
        ("finetune", POINT[:2], "ratio: missing; give ratio=..."),
        ("evaluate", [], "source: missing; give source=..."),
        (
            "evaluate",
            ["source=finetune/.."],
            "source: got 'finetune/..'; give <stage>/<cell>, the stage one of finetune, distill, compress; "
            "exploration/<stage>/<cell> is one outside the plan",
        ),
        ("finetune", [*POINT, "cell=${cell}"], "Recursive interpolation detected; full_key: cell; object_type=dict"),
        (
            "finetune",
            [*POINT, "cell=${oc.env:HOME}/x"],
            "cell: got '/home/x'; a cell's name has letters, digits, '.', '-', '_' and '+', 200 at most",
        ),
        (
            "prepare",
            ["task=mrpc", "task.source._target_=os.system"],
            "conf/task/mrpc.yaml: source: _target_: got 'os.system', which is no function of this project; name a "
            "function by its module, such as pipeline.data.dataset_sources.files or "
            "pipeline.models.checkpoint_sources.hub",
        ),
        (
            "finetune",
            [*POINT, "recipe.epochs=abc"],
            "conf/recipe/standard.yaml: epochs: got 'abc'; give a number above 0, or null",
        ),
        (
            "compress",
            ["source=finetune/a", "compression=heads", "recovery.steps=3"],
            "recovery.steps: got 3; give null",
        ),
        (
            "benchmark",
            ["task=mrpc", "model=bert-tiny", "latency=3"],
            "latency: got 3; give {rows: ..., calls: ...}",
        ),
        ("compare", ["dpi=0"], "dpi: got 0; give a whole number from 10 to 1200"),
        (
            "finetune",
            [*POINT, "+lr=3"],
            "lr: unknown key; it belongs in conf/recipe/ as learning_rate (allowed here: cell, checkpoint_seconds, "
            "exploration, processes, ratio, seed, threads)",
        ),
        (
            "prepare",
            ["task=mrpc", "+task.class_weights=balanced"],
            "conf/task/mrpc.yaml: class_weights: unknown key; allowed: columns, labels, max_length, metrics, name, "
            "range, report, score, selection, source, subset_seed, train_counts",
        ),
        (
            "pretrain",
            ["model=bert-tiny", "+model.lr=3"],
            "conf/model/bert-tiny.yaml: lr: unknown key; did you mean 'learning_rate'? (allowed: family, "
            "learning_rate, name, source, threads)",
        ),
        (
            "prepare",
            ["task=mrpc", "task.labels=[true,a]"],
            'conf/task/mrpc.yaml: labels[0]: got true, which is no text; put it in quotes: "true" (or as the data '
            "write it: yes, no, on, off)",
        ),
    ],
)
def test_a_config_that_no_trial_can_begin_with_is_told(
    composing: None, monkeypatch: pytest.MonkeyPatch, stage: str, given: list[str], message: str
) -> None:
    monkeypatch.setenv("HOME", "/home")
    with pytest.raises(UserError) as caught:
        overrides.check_config(stage, compose(stage, given))
    assert str(caught.value) == message


def files(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if "__pycache__" not in path.parts}


@pytest.mark.parametrize(
    ("stage", "given", "message"),
    [
        ("finetune", ["--multirun", "seed=0,-1", *POINT], f"seed: got -1; {SEED}"),
        (
            "evaluate",
            ["source='${oc.env:HERE}'", "cell=x"],
            "source: got {!r}; give <stage>/<cell>, the stage one of finetune, distill, compress; "
            "exploration/<stage>/<cell> is one outside the plan",
        ),
        ("pretrain", ["model=bert-tiny", "model.nothing=1"], "Could not override 'model.nothing'; To append to your "
         "config use +model.nothing=1; Key 'nothing' is not in struct; full_key: model.nothing; object_type=dict"),
        ("compare", ["size='${size}'"], "Recursive interpolation detected; full_key: size; object_type=dict"),
    ],
)  # fmt: skip
def test_a_real_command_says_one_line_and_writes_nothing(
    project: Path, stage: str, given: list[str], message: str
) -> None:
    before = files(project.parent)
    command = [sys.executable, "-m", f"pipeline.stages.{stage}", *given]
    here = {**os.environ, "HERE": str(project)}
    done = subprocess.run(command, cwd=project, env=here, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {stage}: {message.format(str(project))}\n"
    made = {path.relative_to(project).parts[0] for path in files(project.parent) - before}
    assert made <= {".cache"}  # where Hydra's sweep and this project's begin


def test_a_command_that_is_run_from_elsewhere_writes_nothing_there(project: Path, tmp_path: Path) -> None:
    here = tmp_path / "elsewhere"
    here.mkdir()
    command = [sys.executable, "-m", "pipeline.stages.prepare", "--multirun", "task=mrpc", "mirror=/nothing"]
    env = {**os.environ, "PYTHONPATH": str(project)}
    done = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: prepare mrpc seed 0: mirror /nothing: no such folder; ")
    assert list(here.iterdir()) == []
