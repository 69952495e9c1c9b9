"""What a plan of 1,000 cells costs, not split and split into parts: what a user types, in turns.

``python benchmarks/big_plan.py --cells 1000`` lays out a copy of the project whose cells run a command that makes their
outputs at once, and fills DVC's records of them. It takes six minutes; processor time is told, which other work on
the machine disturbs little.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from ruamel.yaml import YAML

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline import plan
from pipeline.core import records
from pipeline.core.paths import ROOT

TASKS = ["starter-swap", "starter-nest", "starter-replace", "rte", "wnli"]
MODELS = [
    "starter-2x64", "starter-2x96", "starter-3x96", "starter-4x128", "starter-2x64-fresh", "starter-3x96-random",
    "ladder-2x64", "ladder-2x96", "ladder-3x96", "ladder-4x128",
]  # fmt: skip
# Stands in for `python` on the PATH of a cell's command: the files of three seeds, as many as a trial leaves.
CELL = """#!/bin/sh
case $2 in pipeline.stages.*) ;; *) exec {python} "$@" ;; esac
stage=${{2##*.}}; name=${{DVC_STAGE##*:}}; cell=${{name#*@}}
[ $stage = compare ] && {{ mkdir -p report; echo > report/index.html; cell=plan; }}
[ $stage = prepare ] && {{ mkdir -p data/$cell; echo $cell > data/$cell/rows; }}
[ $stage = pretrain ] && {{ mkdir -p models/$cell; echo $cell > models/$cell/weights; }}
mkdir -p metrics/$stage
for seed in 0 1 2; do
  mkdir -p runs/$stage/$cell/seed-$seed
  for file in 1 2 3 4 5 6 7; do echo $name $seed $file > runs/$stage/$cell/seed-$seed/$file; done
done
cp bin/record.json metrics/$stage/$cell.json
"""
POINTS = [(TASKS[-1], MODELS[0]), (TASKS[0], MODELS[-1])]  # whose cells are run again, to time the cells of a first run
AGAIN = 4


def laboratory(root: Path, cells: int) -> None:
    """Lay out a copy of the project with about so many cells, none of which has run."""
    for name in ("conf", "hydra_plugins", "pipeline", "starter"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "dvc.lock"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore", "params.yaml"):
        shutil.copy(ROOT / name, root / name)
    ratios = [round(0.1 + 0.08 * step, 2) for step in range(max(1, round(cells / 100)))]
    edit(root, tasks=TASKS, models=MODELS, ratios=ratios, variants={}, distill={}, compress={})
    (root / "bin").mkdir()
    (root / "bin/python").write_text(CELL.format(python=sys.executable))
    (root / "bin/python").chmod(0o755)
    record = {"schema": records.SCHEMA, "summary": {"trial_seconds": {"mean": 1.0}}, "trials": [], "tags": {}}
    (root / "bin/record.json").write_text(json.dumps(records.sign(record)))
    for stage in plan.COMPARED:
        (root / "metrics" / stage).mkdir(parents=True)
    run(root, "git", "init", "--quiet")
    run(root, "dvc", "init", "--quiet")
    shutil.copy(ROOT / ".dvc/config", root / ".dvc/config")


def edit(root: Path, **sections: object) -> None:
    """Replace sections of the plan, which times nothing."""
    yaml = YAML()
    content = yaml.load(root / "params.yaml")
    content.update(sections)
    content["benchmark"].update(task=TASKS[0], models=[])
    yaml.dump(content, root / "params.yaml")


def environment(root: Path, **more: str) -> dict[str, str]:
    """Return the environment in which a cell's `python` is the one that trains nothing."""
    found = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    path = f"{root / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**found, "PATH": path, "LAB_WARM": "0", "DVC_NO_ANALYTICS": "1", **more}


def run(root: Path, *words: str) -> float:
    """Run a command in the laboratory and return the seconds of processor time that it and its children took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(words, cwd=root, env=environment(root), capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def fill(root: Path) -> None:
    """Make all outputs, and DVC's records of them in one go: `dvc repro` would take seconds for each."""
    import networkx
    from dvc.repo import Repo

    os.chdir(root)
    with Repo() as repo, repo.lock:
        made: dict[str, list[object]] = {}
        for stage in reversed([*networkx.topological_sort(repo.index.graph)]):
            own = environment(root, DVC_STAGE=stage.addressing)
            subprocess.run(["sh", "-c", stage.cmd], cwd=root, env=own, check=True, stdout=subprocess.DEVNULL)
            stage.save()
            stage.commit()
            made.setdefault(stage.path, []).append(stage)
        for stages in made.values():
            stages[0].dvcfile.dump_stages(stages, update_pipeline=False)


def a_cell(root: Path, axes: list[str], ratios: list[float]) -> float:
    """Return the seconds of processor time that a cell of a first run takes, but for its own work."""
    found = []
    for task, model in POINTS:
        file = (
            "/".join(["parts", *({"task": task, "model": model}[axis] for axis in axes), "dvc.yaml"])
            if axes
            else "dvc.yaml"
        )
        cells = [f"{file}:finetune@{task}-{model}-{ratio}-standard" for ratio in ratios[: 1 + AGAIN]]
        one, all_of_them = (run(root, "dvc", "repro", "-q", "-f", "-s", *asked) for asked in (cells[:1], cells))
        found.append((all_of_them - one) / (len(cells) - 1))
    return sum(found) / len(found)


def measure(root: Path, axes: list[str]) -> dict[str, float]:
    """Return the seconds of what a user types, for a plan that is split by some axes or by none."""
    found = {"lab split": run(root, sys.executable, "-m", "pipeline.cli.main", "split", *(axes or ["none"]))}
    found["the check"] = run(root, sys.executable, "-m", "pipeline.plan")
    run(root, "dvc", "repro", "-q")
    found["lab status"] = run(root, sys.executable, "-m", "pipeline.cli.main", "status")
    found["a no-op"] = run(root, "dvc", "repro", "-q")
    if axes:
        point = {"task": TASKS[0], "model": MODELS[0]}
        part = "/".join(["parts", *(point[axis] for axis in axes), "dvc.yaml"])
        found["a no-op of one part"] = run(root, "dvc", "repro", "-q", part)
    ratios = YAML(typ="safe").load(root / "params.yaml")["ratios"]
    found["a cell of a first run"] = a_cell(root, axes, ratios)
    found["one variant more"] = one_more(root)
    return found


def one_more(root: Path) -> float:
    """Return the seconds that a variant takes which is added to the plan: two cells, the check and the comparison."""
    before = YAML(typ="safe").load(root / "params.yaml")["variants"]
    entry = {"task": TASKS[0], "model": MODELS[0], "ratio": 0.1, "recipe": "equal-steps"}
    edit(root, variants={**before, f"more-{len(before)}": entry})
    return run(root, "dvc", "repro", "-q")


def show(splits: Iterable[list[str]], found: list[dict[str, float]]) -> None:
    """Print a table: a row for what is typed, a column for a split, and the ratio of the last to the first."""
    print(" | ".join(["", *(" x ".join(axes) or "not split" for axes in splits), "last / first"]))
    for name in found[-1]:
        row = [each.get(name) for each in found]
        ratio = f"{row[-1] / row[0]:.3f}" if row[0] else ""
        print(" | ".join([name, *("" if value is None else f"{value:.2f}" for value in row), ratio]))


def main() -> None:
    """Measure a plan in one file, split by tasks, and by tasks and models."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--cells", type=int, default=1000, help="about so many, a multiple of 100 from 200")
    splits: list[list[str]] = [[], ["task"], ["task", "model"]]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        laboratory(root, asked.parse_args().cells)
        fill(root)
        show(splits, [measure(root, axes) for axes in splits])


if __name__ == "__main__":
    main()
