"""What a plan of 1,000 cells costs DVC and this project, in one ``dvc.yaml`` and split into parts.

``python benchmarks/big_plan.py --cells 1000`` lays out a copy of the project whose cells run a command that makes
their outputs at once, fills its lock files, and times what a user types, in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parent.parent
TASKS = ["starter-swap", "starter-nest", "starter-replace", "rte", "wnli"]
MODELS = [
    "starter-2x64", "starter-2x96", "starter-3x96", "starter-4x128", "starter-2x64-fresh", "starter-3x96-random",
    "ladder-2x64", "ladder-2x96", "ladder-3x96", "ladder-4x128",
]  # fmt: skip
# Stands in for `python` on the PATH of a cell's command: the files of three seeds, as many as a trial leaves.
CELL = """#!/bin/sh
case $2 in pipeline.stages.*) ;; *) exec {python} "$@" ;; esac
stage=${{2##*.}}; name=${{DVC_STAGE##*:}}; cell=${{name#*@}}
[ $stage = compare ] && {{ mkdir -p report metrics/compare; echo > report/index.html; cell=plan; }}
[ $stage = prepare ] && {{ mkdir -p data/$cell; echo $cell > data/$cell/rows; }}
[ $stage = pretrain ] && {{ mkdir -p models/$cell; echo $cell > models/$cell/weights; }}
for seed in 0 1 2; do
  mkdir -p runs/$stage/$cell/seed-$seed metrics/$stage
  for file in 1 2 3 4 5 6 7; do echo $name $seed $file > runs/$stage/$cell/seed-$seed/$file; done
done
echo "{{\\"summary\\": {{\\"trial_seconds\\": {{\\"mean\\": 1.0}}}}}}" > metrics/$stage/$cell.json
"""


def laboratory(folder: Path, cells: int) -> Path:
    """Lay out a copy of the project with about so many cells."""
    root = folder / f"cells-{cells}"
    for name in ("conf", "pipeline", "starter"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, root / name)
    ratios = [round(0.1 + 0.8 * i / max(1, cells // 100), 3) for i in range(max(1, round(cells / 100)))]
    yaml = YAML()
    content = yaml.load(ROOT / "params.yaml")
    content |= {"tasks": TASKS, "models": MODELS, "ratios": ratios, "variants": {}, "distill": {}, "compress": {}}
    content["benchmark"]["models"] = []
    yaml.dump(content, root / "params.yaml")
    (root / "bin").mkdir()
    (root / "bin/python").write_text(CELL.format(python=sys.executable))
    (root / "bin/python").chmod(0o755)
    (root / "metrics/benchmark").mkdir(parents=True)
    command(root, "git", "init", "--quiet")
    command(root, "dvc", "init", "--quiet")
    shutil.copy(ROOT / ".dvc/config", root / ".dvc/config")
    return root


def command(root: Path, *words: str, where: str = ".") -> str:
    """Run a command in the laboratory and return what it printed."""
    environment = {**os.environ, "PATH": f"{root / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    environment |= {"PYTHONPATH": str(root), "LAB_WARM": "0", "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(words, cwd=root / where, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def fill(root: Path) -> None:
    """Make all outputs and DVC's record of them at once: by `dvc repro` it would take 2 s a cell."""
    from dvc.repo import Repo

    os.chdir(root)
    with Repo() as repo, repo.lock:
        made = {}
        for stage in reversed([*__import__("networkx").topological_sort(repo.index.graph)]):
            environment = {**os.environ, "PATH": f"{root / 'bin'}:{os.environ['PATH']}", "DVC_STAGE": stage.addressing}
            environment["PYTHONPATH"] = str(root)
            subprocess.run(stage.cmd, shell=True, cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL)
            stage.save()
            stage.commit()
            made.setdefault(stage.path, (stage.dvcfile, []))[1].append(stage)
        for file, stages in made.values():
            file.dump_stages(stages, update_pipeline=False)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    root = laboratory(folder, int(sys.argv[2]))
    print("fill", seconds(lambda: fill(root)))
    print("noop", seconds(lambda: print(command(root, "dvc", "repro")[-200:])))
