"""The frame, seen through a stage of three lines that is added to a copy of the project."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from pipeline import plan
from pipeline.core import checksums, paths, records
from pipeline.core.errors import UserError
from pipeline.execution import provenance, trial
from tests import fakes

TOY = '''"""toy: a stage that the tests add."""
from pipeline.execution import entry
from pipeline.core.errors import UserError

def toy(cfg, out, log):
    (out / "made").write_text("x")
    log.log_artifact(out / "made")
    log.log_metrics(1, {"loss": 0.5})
    if cfg.seed == cfg.bad:
        raise UserError("bad: got 1; allowed: others; choose another")
    if cfg.seed == cfg.broken:
        raise ValueError("a bug")
    return {"score": 0.5 + cfg.seed, "steps": 10, "note": "text"}

if __name__ == "__main__":
    entry.run_stage(toy)
'''
CONF = "defaults: [workspace, _self_]\ncell: toy\nbad: -1\nbroken: -1\n"


@pytest.fixture
def toy(project: Path) -> Path:
    (project / "pipeline/stages/toy.py").write_text(TOY)
    (project / "conf/toy.yaml").write_text(CONF)
    return project


def run(root: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.stages.toy", *overrides]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


TOGETHER = '''"""toy: a stage of several processes that the tests add."""
import os
import torch
from pipeline.core import paths
from pipeline.execution import entry
from pipeline.system import distributed
from pipeline.core.errors import UserError

def toy(cfg, out, log):
    group = distributed.get_group()
    with (paths.ROOT / "worked").open("a") as file:
        file.write(f"{cfg.seed} {group.rank} {group.size} {torch.get_num_threads()}\\n")
    (out / "made").write_text(str(group.rank))
    log.log_artifact(out / "made")
    log.log_metrics(1, {"loss": 0.5})
    log.print_line("at work")
    if cfg.seed == cfg.bad or (cfg.seed == 1 and (paths.ROOT / "bad").exists()):
        raise UserError("bad: got 1; allowed: others; choose another")
    return {"score": group.sum_number(1 + cfg.seed), "steps": 10}

if __name__ == "__main__":
    entry.run_stage(toy)
'''
TRAINED = ["config.yaml", "curves.jsonl", "made", "resources.jsonl", "sha256.txt", "trial.json"]


@pytest.fixture
def together(project: Path) -> Path:
    """Return a project whose toy runs in two processes of one thread, and whose plan has two seeds."""
    (project / "pipeline/stages/toy.py").write_text(TOGETHER)
    (project / "conf/toy.yaml").write_text(
        "defaults: [workspace, _self_]\ncell: toy\nbad: -1\nprocesses: 2\nthreads: 1\n"
    )
    (project / "params.yaml").write_text(
        (project / "params.yaml").read_text().replace("seeds: [0, 1, 2]", "seeds: [0, 1]")
    )
    return project


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_cell_holds_every_seed_with_mean_and_deviation(toy: Path) -> None:
    done = run(toy, "--multirun", "+sweep=seeds")
    assert done.returncode == 0, done.stderr
    record = read(toy / "metrics/toy/toy.json")
    assert [trial["score"] for trial in record["trials"]] == [0.5, 1.5, 2.5]
    assert record["summary"]["score"] == {"mean": 1.5, "std": 1.0}
    assert re.fullmatch(r"toy toy: 3 seeds in \d+\.\d s, score 1\.500 ± 1\.000\n", done.stdout)
    assert "note" not in record["summary"]
    assert "seed" not in record["summary"]
    for seed in (0, 1, 2):
        folder = toy / f"runs/toy/toy/seed-{seed}"
        assert sorted(path.name for path in folder.iterdir()) == TRAINED
        assert read(folder / "curves.jsonl") == {"step": 1, "loss": 0.5}
        assert read(folder / "trial.json")["artifacts"] == [f"runs/toy/toy/seed-{seed}/made"]
    assert "artifacts" not in record["trials"][0]


def test_a_mistake_in_one_trial_is_one_line_and_the_others_go_on(toy: Path) -> None:
    done = run(toy, "--multirun", "+sweep=seeds", "bad=1")
    assert done.returncode == 1
    assert "error: toy toy seed 1: bad: got 1; allowed: others; choose another\n" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (toy / "metrics/toy/toy.json").exists()
    assert sorted(path.name for path in (toy / "runs/toy/toy").iterdir()) == ["seed-0", "seed-2"]


def test_a_failed_trial_leaves_what_stood_there(toy: Path) -> None:
    run(toy, "--multirun", "+sweep=seeds")
    before = read(toy / "metrics/toy/toy.json")
    done = run(toy, "--multirun", "+sweep=seeds", "broken=1")
    assert done.returncode == 1
    assert "ValueError: a bug" in done.stderr
    assert read(toy / "metrics/toy/toy.json") == before
    assert (toy / "runs/toy/toy/seed-1/made").exists()
    assert not list((toy / "runs/toy/toy").glob(".*"))
    assert not list((toy / ".cache").glob("sweep-*"))


def test_a_ctrl_c_among_the_imports_of_a_stage_that_dvc_runs_makes_no_traceback(toy: Path) -> None:
    file = toy / "pipeline/stages/toy.py"
    file.write_text(
        TOY.replace("from pipeline.execution import entry", "import os, signal\nos.kill(os.getpid(), signal.SIGINT)", 1)
    )
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.stages.toy"],
        cwd=toy,
        env={**os.environ, "DVC_STAGE": "toy"},
        capture_output=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # ignored in the background
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


LEAVING = TOY.replace(
    """    entry.run_stage(toy)
""",
    """    from pipeline.core import paths
    from pipeline.system import preload

    def leave():
        record = paths.get_metrics_path("toy", "toy").exists()
        print("left with its record", record, "in a sweep", bool(list(paths.CACHE.glob("sweep-*"))), flush=True)
        return True

    preload.release_client = leave
    entry.run_stage(toy)
""",
)


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ([], ["left with its record True in a sweep True"]),
        (["bad=1"], []),
        (["broken=1"], []),
        (["cell='x ${seed}'"], []),
    ],
    ids=["all is well", "a mistake", "a bug", "refused"],
)
def test_a_cell_lets_go_of_its_command_once_its_files_are_whole(toy: Path, words: list[str], left: list[str]) -> None:
    (toy / "pipeline/stages/toy.py").write_text(LEAVING)
    done = run(toy, "--multirun", "+sweep=seeds", *words)
    assert [line for line in done.stdout.splitlines() if line.startswith("left")] == left
    assert done.returncode == (0 if left else 1)
    assert not list((toy / ".cache").glob("sweep-*"))


def worked(root: Path) -> list[list[int]]:
    """Return seed, rank, number of processes and threads of everybody who worked, sorted."""
    return sorted([int(word) for word in line.split()] for line in (root / "worked").read_text().splitlines())


def check_kept(root: Path, cell: str, seeds: list[int]) -> None:
    """See that all seeds are in one record and that the first process alone left files."""
    record = read(root / f"metrics/toy/{cell}.json")
    assert [(trial["seed"], trial["score"]) for trial in record["trials"]] == [(seed, 2 + 2 * seed) for seed in seeds]
    assert record["machine"]["threads"] == 1
    assert [path.name for path in (root / "metrics").rglob("*.json")] == [f"{cell}.json"]
    assert not (root / "runs/exploration").exists()
    for seed in seeds:
        folder = root / f"runs/toy/{cell}/seed-{seed}"
        assert sorted(path.name for path in folder.iterdir()) == TRAINED
        assert (folder / "made").read_text() == "0"
        assert read(folder / "curves.jsonl") == {"step": 1, "loss": 0.5}  # one line
    assert not list((root / ".cache").glob("sweep-*"))


def test_processes_that_torchrun_started_keep_one_record(together: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "pipeline.stages.toy"]
    command = [*torchrun, "--multirun", "+sweep=seeds"]
    done = subprocess.run(command, cwd=together, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert worked(together) == [[0, 0, 2, 1], [0, 1, 2, 1], [1, 0, 2, 1], [1, 1, 2, 1]]
    assert done.stdout.count("toy toy: 2 seeds") == 1
    check_kept(together, "toy", [0, 1])


def test_trials_of_several_processes_are_kept_and_told_once_and_so_is_a_mistake(together: Path) -> None:
    done = run(together, "--multirun", "+sweep=seeds", "cell=toy-${seed}", "bad=0")
    assert done.returncode == 1
    assert done.stderr == (
        "error: toy toy-0 seed 0: bad: got 1; allowed: others; choose another\n"
        "toy toy-0: not finished, so it has no record\n"
    )
    assert worked(together) == [[0, 0, 2, 1], [0, 1, 2, 1], [1, 0, 2, 1], [1, 1, 2, 1]]
    assert re.fullmatch(
        r"toy toy-0 seed 0: at work\ntoy toy-1 seed 1: at work\ntoy toy-1: 1 seed in \d+\.\d s, score 4\.000\n",
        done.stdout,
    )
    assert not list((together / "runs/toy/toy-0").iterdir())
    check_kept(together, "toy-1", [1])


def test_a_trial_of_several_processes_that_had_ended_is_not_run_again(together: Path) -> None:
    (together / "bad").touch()
    assert run(together, "--multirun", "+sweep=seeds").returncode == 1
    (together / "bad").unlink()
    done = run(together, "--multirun", "+sweep=seeds")
    assert done.returncode == 0, done.stderr
    assert "toy toy seed 0: finished by an earlier run, so it does not run again\n" in done.stdout
    assert worked(together) == [[0, 0, 2, 1], [0, 1, 2, 1], *[[1, 0, 2, 1]] * 2, *[[1, 1, 2, 1]] * 2]
    check_kept(together, "toy", [0, 1])


@pytest.mark.parametrize(
    ("processes", "got"), [("0", "0"), ("1.5", "1.5"), ("two", "'two'"), ("true", "True"), ("null", "None")]
)
def test_a_number_of_processes_that_is_none_is_refused(processes: str, got: str) -> None:
    cfg = OmegaConf.create(f"{{threads: 1, processes: {processes}}}")
    with pytest.raises(UserError) as caught:
        trial._launch_processes("toy", cfg)
    assert str(caught.value) == f"processes: got {got}; give a whole number from 1"


def test_what_dvc_did_not_ask_for_is_exploration_and_leaves_the_plan_alone(toy: Path) -> None:
    done = run(toy, "seed=7")
    assert done.returncode == 0, done.stderr
    assert not (toy / "metrics").exists()
    record = read(toy / "runs/exploration/toy/toy/metrics.json")
    assert (record["exploration"], len(record["trials"])) == (True, 1)


def test_a_swept_axis_that_the_cells_name_leaves_out_is_refused(toy: Path) -> None:
    done = run(toy, "--multirun", "bad=2,3")
    assert done.returncode == 1
    assert done.stderr == (
        "error: toy toy seed 0: got other settings than an earlier trial of this cell in the same sweep, and one would "
        "overwrite the other; give each cell a name, such as "
        "cell='${task.name}-${model.name}-${ratio}-${recipe.name}-${recipe.learning_rate}'\n"
        "toy toy: not finished, so it has no record; seed 0 will not run again\n"
    )
    assert not (toy / "runs/exploration/toy/toy/metrics.json").exists()
    done = run(toy, "--multirun", "bad=2,3", "seed=0,1", "cell=toy-${bad}")
    assert done.returncode == 0, done.stderr
    for name in ("toy-2", "toy-3"):
        assert len(read(toy / f"runs/exploration/toy/{name}/metrics.json")["trials"]) == 2


def test_the_advice_for_a_task_outside_the_plan_is_a_command_that_works(project: Path) -> None:
    axes = ["task=starter-replace", "model=starter-2x64", "ratio=0.1", "seed=0"]
    command = [sys.executable, "-m", "pipeline.stages.finetune", "--multirun", "+sweep=plan", *axes]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    advised = "python -m pipeline.stages.prepare --multirun +sweep=once task=starter-replace"
    assert done.stderr == (
        "error: finetune starter-replace-starter-2x64-0.1-standard seed 0: data/starter-replace: not made yet; "
        f"run `{advised}`\n"
    )
    subprocess.run([sys.executable, *advised.split()[1:]], cwd=project, capture_output=True, check=True)
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert done.stderr == (
        "error: finetune starter-replace-starter-2x64-0.1-standard seed 0: models/starter-2x64: not made yet; "
        "run `dvc repro pretrain@starter-2x64`\n"
    )


SOURCE = "finetune/mrpc-bert-tiny-0.5-standard"


@pytest.fixture
def evaluation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DictConfig:
    """Return the config of an evaluation in a root that holds its data, its model and its source."""
    plan.register_resolvers()
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        cfg = compose("evaluate", [f"source={SOURCE}", "+sweep=seeds"])
        trained = compose("finetune", ["task=mrpc", "model=bert-tiny", "ratio=0.5", "+sweep=seeds"])
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    paths.write_json(tmp_path / "data/mrpc/summary.json", {})
    source = {"kind": "hub", "id": "a/b", "revision": None}
    paths.write_json(tmp_path / "models/bert-tiny/source.json", source)
    folder = paths.get_trial_dir("finetune", "mrpc-bert-tiny-0.5-standard", 0)
    folder.mkdir(parents=True)
    OmegaConf.resolve(trained)
    OmegaConf.save(trained, folder / "config.yaml")
    for made in (tmp_path / "data/mrpc", tmp_path / "models/bert-tiny", folder):
        checksums.write_checksums(made)
    return cfg


def test_an_evaluation_takes_over_what_its_source_was_made_of(evaluation: DictConfig) -> None:
    cfg = provenance.merge_source_config(evaluation)
    assert (cfg.task.name, cfg.model.name, cfg.ratio, cfg.recipe.name) == ("mrpc", "bert-tiny", 0.5, "standard")
    assert (cfg.cell, cfg.source, cfg.origin, cfg.seed) == ("mrpc-bert-tiny-0.5-standard", SOURCE, SOURCE, 0)


def test_a_step_of_a_chain_keeps_its_own_settings_and_where_the_chain_began(
    evaluation: DictConfig, tmp_path: Path
) -> None:
    theirs = {"compression": {"name": "heads", "method": {"remove": 0.5}}}
    first = OmegaConf.create({**provenance.merge_source_config(evaluation), **theirs})
    (tmp_path / "runs/compress/few/seed-0").mkdir(parents=True)
    OmegaConf.save(first, tmp_path / "runs/compress/few/seed-0/config.yaml")
    checksums.write_checksums(tmp_path / "runs/compress/few/seed-0")
    mine = {"name": "magnitude", "method": {"share": 0.5}}
    cfg = provenance.merge_source_config(OmegaConf.create({"source": "compress/few", "seed": 0, "compression": mine}))
    assert cfg.compression == mine
    assert (cfg.source, cfg.origin) == ("compress/few", SOURCE)


def test_what_went_into_an_evaluation_holds_how_its_model_was_trained(evaluation: DictConfig, tmp_path: Path) -> None:
    def hashed(recipe: str) -> str:
        path = tmp_path / "metrics/finetune/mrpc-bert-tiny-0.5-standard.json"
        paths.write_json(path, records.sign({"schema": records.SCHEMA, "tags": {"inputs_sha256": recipe}}))
        return provenance.make_identity("evaluate", provenance.merge_source_config(evaluation)).tags["inputs_sha256"]

    assert hashed("standard") == hashed("standard") != hashed("patient")


def test_an_evaluation_before_all_seeds_of_its_source_is_told_so(evaluation: DictConfig) -> None:
    with pytest.raises(UserError) as caught:
        provenance.make_identity("evaluate", provenance.merge_source_config(evaluation))
    assert str(caught.value) == (
        "metrics/finetune/mrpc-bert-tiny-0.5-standard.json: not made yet; "
        "every seed of finetune/mrpc-bert-tiny-0.5-standard writes it at its end"
    )


PLANNED = plan.Plan(("mrpc",), ("bert-tiny",), (0.5,), ("standard",), (0, 1), fakes.NO_BENCHMARK)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (
            "finetune/mrpc-bert-tiny-0.5-standard",
            "runs/finetune/mrpc-bert-tiny-0.5-standard/seed-7: not made yet; "
            "run `dvc repro finetune@mrpc-bert-tiny-0.5-standard`; "
            "a seed must be one of the plan's",
        ),
        (
            "finetune/mrpc-bert-tiny-0.4-standard",
            "runs/finetune/mrpc-bert-tiny-0.4-standard/seed-7: not made yet; the plan has no such cell; did you mean "
            "'finetune/mrpc-bert-tiny-0.5-standard'? (allowed: finetune/mrpc-bert-tiny-0.5-standard)",
        ),
        (
            "exploration/finetune/a",
            "runs/exploration/finetune/a/seed-7: not made yet; run finetune with this seed first",
        ),
        *(
            (
                source,
                f"got {source!r}; give <stage>/<cell>, the stage one of finetune, distill, compress; "
                "exploration/<stage>/<cell> is one outside the plan",
            )
            for source in ("mrpc-bert-tiny-0.5-standard", "prepare/mrpc", "finetune/../../data")
        ),
    ],
)
def test_a_source_that_is_not_there_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, source: str, told: str) -> None:
    monkeypatch.setattr(plan, "load", lambda: PLANNED)
    with pytest.raises(UserError) as caught:
        provenance.find_source_dir(source, 7)
    assert str(caught.value) == told


def test_an_unknown_word_lists_the_options_and_is_no_traceback(project: Path) -> None:
    command = [sys.executable, "-m", "pipeline.stages.prepare", "--multirun", "+sweep=once", "task=mprc"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    allowed = ", ".join(sorted(path.stem for path in (paths.CONF / "task").glob("*.yaml")))
    told = f"error: prepare: task: no task 'mprc' in conf/task/; did you mean 'mrpc'? (allowed: {allowed})\n"
    assert (done.returncode, done.stderr, done.stdout) == (1, told, "")
    assert not (project / ".cache").exists()


def test_a_plan_with_mistakes_stops_a_stage_before_any_work(toy: Path) -> None:
    (toy / "params.yaml").write_text(
        "tasks: [mrpc]\nmodels: [bert-tiny]\nratios: [2]\nrecipes: [standard]\nseeds: [0]\n"
        "variants: {}\ndistill: {}\ncompress: {}\n"
        "benchmark: {task: mrpc, models: [], processes: [1], threads: [1], precisions: [fp32], batches: [8]}\n"
        "compare: {budget: {}}\n"
    )
    done = run(toy, "--multirun", "+sweep=seeds")
    assert done.returncode == 1
    assert done.stderr == "error: params.yaml: ratios[0]: got 2; a ratio is a number above 0 and at most 1\n"
    assert not (toy / "runs").exists()
