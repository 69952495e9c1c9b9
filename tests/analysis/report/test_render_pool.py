"""Figures rendered in other processes: identical files, and no process outlives its parent."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from pipeline.analysis.report import build_report, html
from pipeline.analysis.report.figures import figure
from pipeline.analysis.report.render_pool import RenderPool
from pipeline.analysis.results.cell_table import CellRow
from pipeline.analysis.results.costs import CellCost
from pipeline.core import paths
from tests.analysis import findings

ASKING = """
import time
from pipeline.analysis.report import render_pool
with render_pool.open_render_pool() as drawing:
    drawing.library.result()
    print("drawn", flush=True)
    time.sleep(60)
"""


def test_figures_come_in_order_and_are_those_that_this_process_would_draw(
    counted: list[CellRow], measured: list[CellCost], tmp_path: Path, drawing: RenderPool
) -> None:
    figures = [*build_report.create_figures(findings.material(counted[:15], measured[:1]), "parameters_non_embedding")][
        :4
    ]
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
    saved = drawing.save_figures(figures, there, 40)
    assert [(one.name, svg.name, png.name) for one, svg, png in saved] == [
        (one.name, f"{one.name}.svg", f"{one.name}.png") for one in figures
    ]
    for one, *pair in saved:
        assert [path.read_bytes() for path in pair] == [path.read_bytes() for path in figure.save_figure(one, here, 40)]
    assert drawing.library.result() == html.load_library()


def test_what_draws_ends_with_the_process_that_asked_however_that_ends() -> None:
    with subprocess.Popen([sys.executable, "-c", ASKING], cwd=paths.ROOT, stdout=subprocess.PIPE) as asking:
        assert asking.stdout
        assert asking.stdout.readline() == b"drawn\n"
        drawing = psutil.Process(asking.pid).children(recursive=True)
        assert len(drawing) > 1  # including Python's resource tracker
        os.kill(asking.pid, signal.SIGKILL)
    gone, left = psutil.wait_procs(drawing, timeout=10)
    assert (len(gone), left) == (len(drawing), [])
