"""``dvc plots``: what the comparison wrote, and two revisions of it over each other."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import vl_convert
from ruamel.yaml import YAML

from pipeline.analysis.report.tables import csv_files
from pipeline.analysis.results import cell_table
from pipeline.analysis.results.cell_table import CellCoordinates
from pipeline.core import paths
from tests import fakes

PLOTS = YAML(typ="safe").load(paths.ROOT / "dvc.yaml")["plots"]
NAMES = [next(iter(plot)) for plot in PLOTS]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository that holds the plots of the project and the numbers of a comparison, and one more since."""
    root = tmp_path_factory.mktemp("plots") / "project"
    (root / ".dvc").mkdir(parents=True)
    run(root, "git", "init", "--quiet")
    run(root, "dvc", "init", "--quiet", "--force")
    shutil.copytree(paths.ROOT / ".dvc" / "plots", root / ".dvc" / "plots")
    YAML().dump({"plots": PLOTS}, root / "dvc.yaml")
    write(root, ["bert-tiny", "bert-mini"])
    run(root, "git", "add", "--all")
    run(root, "git", "-c", "user.name=me", "-c", "user.email=me@here", "commit", "--quiet", "--message", "first")
    write(root, ["bert-tiny", "bert-mini", "bert-small"])
    return root


def write(root: Path, models: list[str]) -> None:
    """Write the comparison's file of cells, the last of which has not run."""
    points = [
        CellCoordinates(f"{task}-{model}-{ratio}-standard", task, model, ratio, "standard", "evaluate@x")
        for task, model, ratio in fakes.grid(models)
    ]
    beside = CellCoordinates(
        "narrow", "mrpc", "bert-tiny", 1.0, "standard", "evaluate-compress@narrow", section="compress"
    )
    shutil.rmtree(root / "runs", ignore_errors=True)
    fakes.write(root, [fakes.evaluation(point.task, point.model, point.ratio) for point in points])
    (root / "report").mkdir(exist_ok=True)
    intervals = {point.cell: {"low": 0.6, "high": 0.9} for point in points}
    rows = cell_table.read_rows([*points, beside], root / "metrics" / "evaluate", fakes.planned(points), intervals)
    (root / "report" / "cells.csv").write_text(csv_files.render_cells(rows))


def run(root: Path, *command: str) -> str:
    words = [sys.executable, "-m", *command] if command[0] == "dvc" else [*command]
    kept = {name: os.environ[name] for name in ("PATH",)}
    done = subprocess.run(
        words, cwd=root, capture_output=True, text=True, env={**kept, "HOME": str(root.parent)}, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def drawn(told: str) -> dict[str, dict[str, Any]]:
    """Return the specification of each plot by its title."""
    found = json.loads(told)
    assert not found.get("errors")
    specs = [one["content"] for plots in found["data"].values() for one in plots]
    return {spec["title"]: spec for spec in specs}


def test_every_plot_draws_each_cell_that_has_run(project: Path) -> None:
    found = drawn(run(project, "dvc", "plots", "show", "--json"))
    assert list(found) == NAMES
    for spec in found.values():
        svg = vl_convert.vegalite_to_svg(spec)
        assert svg.count('aria-roledescription="point"') == 18  # two tasks, three models, three ratios
        assert svg.count('aria-roledescription="rule mark"') == 18  # the intervals
        assert "NaN" not in svg
        assert svg.count(">mrpc<") == svg.count(">starter-swap<") == 1


def test_two_revisions_are_drawn_over_each_other(project: Path) -> None:
    found = drawn(run(project, "dvc", "plots", "diff", "HEAD", "--json"))
    assert list(found) == NAMES
    for spec in found.values():
        svg = vl_convert.vegalite_to_svg(spec)
        assert svg.count('aria-roledescription="point"') == 18 + 12
        assert ">HEAD<" in svg
        assert ">workspace<" in svg
