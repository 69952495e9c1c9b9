"""What a tracking store of 10,000 runs costs: `lab sync`, its size, and the UI's memory and answers.

``python benchmarks/big_store.py --runs 10000`` fills a store from the files of 100 cells with 3 seeds by `lab sync`,
copies its runs by SQL under other names until there are so many, serves it, and asks what the page asks.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import many_runs
from pipeline.tracking.mlflow import runs, store, ui, views

TABLES = ("tags", "params", "metrics", "latest_metrics")  # by run_uuid; artifacts stay files of the first copy
TASK, SEEDS = "mrpc", 3
RATIOS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
EVALUATED = f"tags.stage = 'evaluate' and params.task = '{TASK}'"


def seconds(work: Callable[[], Any]) -> float:
    """Return how long some work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def multiply(database: Path, wanted: int) -> int:
    """Copy the runs of the plan, each copy of a cell under a name of its own; return how many there are then."""
    with closing(sqlite3.connect(database)) as link, link:
        columns = {
            table: [row[1] for row in link.execute(f"PRAGMA table_info({table})")] for table in ("runs", *TABLES)
        }
        (count,) = link.execute("SELECT count(*) FROM runs").fetchone()
        for copy in range(1, max(1, round(wanted / count))):
            name = f"x{copy:04d}"
            for table, names in columns.items():
                shown = [f"'{name}' || substr(run_uuid, 6)" if each == "run_uuid" else each for each in names]
                link.execute(
                    f"INSERT INTO {table} SELECT {', '.join(shown)} FROM {table} WHERE run_uuid NOT LIKE 'x____%'"  # noqa: S608
                )
            own = f"run_uuid LIKE '{name}%' AND key"
            link.execute(f"UPDATE tags SET value = '{name}-' || value WHERE {own} = 'cell'")  # noqa: S608
            link.execute(f"UPDATE tags SET value = '{name}' || substr(value, 6) WHERE {own} = 'mlflow.parentRunId'")  # noqa: S608
        (count,) = link.execute("SELECT count(*) FROM runs").fetchone()
    return int(count)


def memory(process: psutil.Process) -> float:
    """Return the proportional set size of a process and its children, in MiB."""
    family = [process, *process.children(recursive=True)]
    return sum(each.memory_full_info().pss for each in family) / 2**20


def ask(port: int, path: str, **content: Any) -> dict[str, Any]:
    """Return what the server answers to the page."""
    address = f"http://{ui.HOST}:{port}/ajax-api/2.0/mlflow/{path}"
    request = urllib.request.Request(address, json.dumps(content).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as answer:  # noqa: S310
        found: dict[str, Any] = json.load(answer)
        return found


def page(port: int, experiment: str) -> dict[str, Callable[[], object]]:
    """Return what the page asks: the table, a chart of all cells, the cells with their trials."""
    search = {"experiment_ids": [experiment], "run_view_type": "ACTIVE_ONLY"}

    def pages(text: str, most: int) -> list[dict[str, Any]]:
        found = ask(port, "runs/search", **search, filter=text, max_results=most)
        listed = found["runs"]
        while "next_page_token" in found:
            token = found["next_page_token"]
            found = ask(port, "runs/search", **search, filter=text, max_results=most, page_token=token)
            listed += found.get("runs", [])
        return listed

    def table() -> object:
        order = ["metrics.`score` DESC"]
        wanted = f"{EVALUATED} and tags.level = 'cell'"
        return ask(port, "runs/search", **search, filter=wanted, order_by=order, max_results=100)

    return {
        "the table, 100 runs": table,
        "the table again": table,
        "a chart of every cell": lambda: pages(f"{EVALUATED} and tags.level = 'cell'", 1000),
        "every run, cells and trials": lambda: pages("", 1000),
    }


def served(database: Path, experiment: str) -> None:
    """Serve the store as `lab ui` does, and print time and memory of each request."""
    port = ui._find_free_port(None)
    server = ui._start_server(f"sqlite:///{database}", port)
    try:
        print(f"the server answers after {seconds(lambda: ui._wait_for_server(server, port)):.1f} s")
        process = psutil.Process(server.pid)
        print(f"its processes: {memory(process):.0f} MiB at start")
        for name, request in page(port, experiment).items():
            took = seconds(request)
            print(f"{name}: {took:.2f} s, then {memory(process):.0f} MiB", flush=True)
    finally:
        for each in [*psutil.Process(server.pid).children(recursive=True), server]:
            each.terminate()
        server.wait()


def read(uri: str) -> None:
    """Read of the store what `lab sync` reads of it."""
    client = store.connect(uri)
    runs.end_killed_runs(client)
    runs.find_cell_runs(client)
    views.write_views(client)


def main() -> None:
    """Fill, multiply and serve a store."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--runs", type=int, default=10_000)
    with tempfile.TemporaryDirectory() as folder:
        root, database = Path(folder), Path(folder) / "mlflow.db"
        many_runs.laboratory(root, [TASK], RATIOS, SEEDS)
        settings = {**os.environ, "PYTHONPATH": str(root), "MLFLOW_TRACKING_URI": f"sqlite:///{database}"}
        command = [sys.executable, "-m", "pipeline.cli.main", "sync"]
        for name in ("lab sync of 100 cells, 400 runs", "once more, nothing to do"):
            took = seconds(lambda: subprocess.run(command, cwd=root, env=settings, check=True))
            print(f"{name}: {took:.1f} s")
        uri = f"sqlite:///{database}"
        print(
            f"what sync reads of 400 runs: {seconds(lambda: read(uri)):.2f} s, {seconds(lambda: read(uri)):.2f} again"
        )
        count = multiply(database, asked.parse_args().runs)
        print(f"{count} runs: {database.stat().st_size / 1e6:.0f} MB")
        print(f"what sync reads of them: {seconds(lambda: read(uri)):.2f} s")
        served(database, store.get_experiment_id(store.connect(uri)))


if __name__ == "__main__":
    main()
