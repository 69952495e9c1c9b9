"""What DVC makes of the plan: which cells there are, and which of them a change makes stale."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline import plan
from pipeline.core import paths
from pipeline.plan.schema import SECTIONS
from pipeline.runner import code_digests
from pipeline.runner.scheduler import FIRST
from tests.pipelines import read_blocks

DIGESTS = "source-digests"
GRID = ".cache/code/grid/${item.recipe}/${item.model}.txt"
WORDS = {"tasks": "starter-replace", "models": "bert-tiny", "ratios": 0.5, "recipes": "equal-steps"}


@pytest.fixture(scope="module")
def repro(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project whose every stage was run, with a command that only makes the outputs it declares."""
    root = tmp_path_factory.mktemp("dvc") / "project"
    root.mkdir()
    for folder in ("conf", "pipeline"):
        shutil.copytree(paths.ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__", "dvc.lock"))
    for file in ("params.yaml", "dvc.yaml", ".dvcignore"):
        shutil.copy(paths.ROOT / file, root / file)
    edit(root / "dvc.yaml", quick)
    edit(root / "params.yaml", small)
    (root / "make.py").write_text(
        "import pathlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    path = pathlib.Path(name); path.parent.mkdir(parents=True, exist_ok=True)\n"
        "    file = path.suffix in ('.json', '.txt') or 'plan-is' in name\n"
        "    path.write_text(name) if file else path.mkdir(exist_ok=True)\n"
        "    (path / 'made').write_text(name) if path.is_dir() else None\n"
        "with open('ran.txt', 'a') as file: file.write(' '.join(sys.argv[1:2]) + '\\n')\n"
    )
    for stage in plan.COMPARED:  # as the check of the plan does: the comparison depends on them
        (root / "metrics" / stage).mkdir(parents=True)
    dvc(root, "init", "--no-scm", "--quiet")
    dvc(root, "repro", "--quiet")
    return root


def small(content: dict[str, Any]) -> None:
    content["tasks"], content["ratios"] = content["tasks"][:1], content["ratios"][-1:]
    content["models"] = content["models"][:1]
    content["variants"], content["distill"], content["compress"] = {}, {}, {}
    content["benchmark"]["models"] = []


def quick(content: dict[str, Any]) -> None:
    """Replace what each block runs, except the digests; what it depends on and makes stays as it ships."""
    for block in [block for name, block in content["stages"].items() if name not in ("code-digests", "source-digests")]:
        stage = block.get("do", block)
        made = [*stage.get("outs", []), *stage.get("metrics", [])]
        stage["cmd"] = " ".join(
            ["python make.py", *(name if isinstance(name, str) else next(iter(name)) for name in made)]
        )


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    yaml = YAML()
    content = yaml.load(path)
    change(content)
    yaml.dump(content, path)


def dvc(root: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    done = subprocess.run(
        command, cwd=root, capture_output=True, text=True, env={"PATH": path, "HOME": str(root)}, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ran_after(root: Path, change: Callable[[dict[str, Any]], None]) -> list[str]:
    """Return what `dvc repro` runs after a change of the plan, the first output of each stage."""
    (root / "ran.txt").write_text("")
    edit(root / "params.yaml", change)
    dvc(root, "repro", "--quiet")
    return sorted((root / "ran.txt").read_text().split())


def expected(root: Path, before: plan.Plan) -> list[str]:
    """Return the first output of the cells that stand in the plan now and did not stand in it before."""
    known = {cell.address for cell in before.cells}
    new = [cell for cell in plan.load(root / "params.yaml").cells if cell.address not in known]
    folders = {"prepare": "data", "pretrain": "models"}
    made = [f"{folders.get(cell.stage, f'runs/{cell.stage}')}/{cell.name}" for cell in new]
    return sorted([".cache/plan-checked", "report", *made])


@pytest.mark.parametrize("axis", WORDS)
def test_one_more_word_runs_exactly_the_cells_it_names(repro: Path, axis: str) -> None:
    before = plan.load(repro / "params.yaml")
    ran = ran_after(repro, lambda content: content[axis].append(WORDS[axis]))
    assert ran == expected(repro, before)
    assert len(ran) > 4


def test_one_more_entry_of_a_section_runs_exactly_its_cells(repro: Path) -> None:
    def longer(content: dict[str, Any]) -> None:
        entry = {"task": content["tasks"][0], "model": content["models"][0], "ratio": 1.0, "recipe": "equal-steps"}
        content["variants"]["longer"] = entry

    def taught(content: dict[str, Any]) -> None:
        content["distill"]["taught"] = {
            "task": content["tasks"][0], "student": content["models"][0], "teacher": "finetune/longer", "ratio": 1.0,
            "recipe": "standard", "distillation": "logits",
        }  # fmt: skip

    def narrow(content: dict[str, Any]) -> None:
        content["compress"]["narrow"] = {"source": "distill/taught", "compression": "width"}

    def narrower(content: dict[str, Any]) -> None:
        content["compress"]["narrower"] = {"source": "compress/narrow", "compression": "width"}

    stages = {"longer": "finetune", "taught": "distill", "narrow": "compress", "narrower": "compress"}
    for add in (longer, taught, narrow, narrower):
        name = add.__name__
        made = [f"runs/evaluate/{name}", f"runs/{stages[name]}/{name}"]
        assert ran_after(repro, add) == sorted([".cache/plan-checked", "report", *made])

    def otherwise(content: dict[str, Any]) -> None:
        content["compress"]["narrow"]["compression"] = "heads"

    # what is made of it would run too, had this command made anything else than before
    assert ran_after(repro, otherwise) == [".cache/plan-checked", "report", "runs/compress/narrow"]


def test_a_second_repro_runs_nothing(repro: Path) -> None:
    (repro / "ran.txt").write_text("")
    lines = dvc(repro, "repro").splitlines()
    assert [line for line in lines if line.startswith("Running stage")] == [f"Running stage '{DIGESTS}':"]
    assert (repro / "ran.txt").read_text() == ""


def split(root: Path, *words: str) -> str:
    command = [sys.executable, "-m", "pipeline.cli.main", "split", *words]
    done = subprocess.run(command, cwd=root, env={"PYTHONPATH": str(root)}, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_a_plan_that_is_split_and_joined_runs_nothing_and_a_word_more_only_what_it_names(repro: Path) -> None:
    def add_words(content: dict[str, Any]) -> None:
        for axis in ("tasks", "models"):
            if WORDS[axis] not in content[axis]:
                content[axis].append(WORDS[axis])

    ran_after(repro, add_words)
    whole = (repro / "dvc.yaml").read_text()
    assert split(repro, "model", "task") == "4 parts, each with its dvc.yaml and dvc.lock below parts/\n"
    assert not re.findall("  (finetune|evaluate)@starter", (repro / "dvc.lock").read_text())
    test_a_second_repro_runs_nothing(repro)
    before = plan.load(repro / "params.yaml")
    assert ran_after(repro, lambda content: content["ratios"].append(0.25)) == expected(repro, before)
    assert split(repro, "task") == "2 parts, each with its dvc.yaml and dvc.lock below parts/\n"
    test_a_second_repro_runs_nothing(repro)
    names = dvc(repro, "stage", "list", "--all", "--name-only").split()
    study = dataclasses.replace(plan.load(repro / "params.yaml"), parts=("task",))
    assert sorted(names) == sorted([*FIRST, "compare", *(cell.address for cell in study.cells)])
    assert split(repro, "none") == "one grid, without parts\n"
    assert ((repro / "dvc.yaml").read_text(), (repro / "parts").exists()) == (whole, False)
    test_a_second_repro_runs_nothing(repro)


def test_a_model_that_is_fine_tuned_otherwise_is_not_pre_trained_again(repro: Path) -> None:
    path = repro / "conf/model" / f"{plan.load(repro / 'params.yaml').models[0]}.yaml"
    (repro / "ran.txt").write_text("")
    edit(path, lambda content: content.update(learning_rate=0.5))
    dvc(repro, "repro", "--quiet")
    ran = (repro / "ran.txt").read_text().split()
    assert any(name.startswith("runs/finetune/") for name in ran)
    assert not [name for name in ran if name.startswith(("models/", "data/"))]
    (repro / "ran.txt").write_text("")
    edit(path, lambda content: content["source"].update(path="elsewhere"))
    dvc(repro, "repro", "--quiet")
    assert f"models/{path.stem}" in (repro / "ran.txt").read_text().split()


def test_dvc_and_the_plan_name_the_same_cells() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--all", "--name-only"],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(done.stdout.split()) == sorted([*FIRST, "compare", *(cell.address for cell in plan.load().cells)])


def test_every_conf_file_that_a_command_reads_makes_its_cell_stale() -> None:
    """An undeclared conf file would leave everything `up to date` after an edit.

    conf/<stage>.yaml stands in the list of modules, on which all cells of the stage depend
    (tests/runner/test_code_digests.py).
    conf/workspace.yaml and conf/sweep/ are left out on purpose. They say where a result goes (folders, exploration or
    not) and which seeds a sweep names, not what a trial computes; the seeds stand in the params of every cell that
    trains (the grid's in its lists), and in what the others are made of. Declared, an edit of them would train the
    whole plan anew for the same numbers.
    """
    shared = [f"conf/{stage}.yaml" for stage in code_digests.STAGES]
    assert YAML(typ="safe").load(paths.ROOT / "dvc.yaml")["params"] == [
        *shared,
        *(f"conf/recipe/{name}.yaml" for name in plan.load().recipes),
    ]
    for name, block in read_blocks().items():
        stage = block.get("do", block)
        if "pipeline.stages." not in stage["cmd"]:
            continue
        declared = json.dumps([stage.get("params"), stage["deps"]])
        if GRID in stage["deps"]:  # tests/runner/test_code_digests.py says what stands there
            declared += "conf/recipe/ conf/model/"
        for group in ("model", "recipe", "distillation", "compression"):
            if f" {group}=" in stage["cmd"]:
                assert f"conf/{group}/" in declared, (name, group)
        if " task=" in stage["cmd"]:  # data/<task> holds what is asked of its rows
            assert "conf/task/" in declared or '"data/${' in declared, name
        for section, model in SECTIONS.items():
            if block.get("foreach") == f"${{{section}}}" and not name.startswith("evaluate"):
                assert all(f"=${{item.{key}}}" in stage["cmd"] for key in model.model_fields), name


def test_the_comparison_depends_on_every_record_that_decides_whether_a_result_counts() -> None:
    assert {f"metrics/{stage}" for stage in plan.COMPARED} <= {*read_blocks()["compare"]["deps"]}
    needed = {name.partition("/")[0] for name in plan.load().describe_cells()}
    assert needed == {*plan.COMPARED}


def test_every_cell_depends_on_the_modules_of_its_stage() -> None:
    assert read_blocks()["code-digests"]["outs"] == [{".cache/code": {"cache": False}}]
    assert code_digests.FOLDER == paths.ROOT / ".cache/code"
    for name, block in read_blocks().items():
        if name not in ("check", "code-digests", "source-digests"):
            wanted = GRID if name == "finetune" else f".cache/code/{name.split('-')[0]}.txt"
            assert wanted in block.get("do", block)["deps"], name
