"""The page that says what the numbers mean names every key that a stage writes, and no other."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf

from pipeline.analysis.comparison import Comparison
from pipeline.analysis.laws import LawCell, LawSelection, fit_task_laws
from pipeline.analysis.results import export_tables
from pipeline.core import checksums, paths
from pipeline.evaluation.cost import step_scaling
from pipeline.execution import cell_run, provenance
from pipeline.stages import compare
from pipeline.stages.benchmark import benchmark
from pipeline.stages.compress import compress
from pipeline.stages.distill import distill
from pipeline.stages.evaluate import evaluate
from pipeline.stages.finetune import finetune
from pipeline.stages.prepare import prepare
from pipeline.stages.pretrain import pretrain
from pipeline.system import hardware
from tests.analysis import places

from .conftest import Configure, Told, made_up

PAGE = paths.ROOT / "docs" / "metrics.md"
METRICS = ("accuracy", "f1", "matthews_correlation", "pearson", "spearmanr")
POINTS = [(f"task={task}", "model=bert-tiny", "ratio=0.5") for task in ("rte", "stsb")]
FRESH = {"layers": 1, "hidden": 16, "heads": 2, "vocabulary": 200, "corpus": {"topics": 40}, "steps": 2, "batch": 4}
WORK: dict[str, Any] = {
    work.__name__: work for work in (prepare, pretrain, finetune, distill, compress, evaluate, benchmark)
}
STAGES = [*WORK, "compare"]

Records = dict[str, list[dict[str, Any]]]
Curves = dict[str, set[str]]


@pytest.fixture
def records(laboratory: Path, configured: Configure, monkeypatch: pytest.MonkeyPatch) -> tuple[Records, Curves]:
    """Return the records of every stage, and what the curves of its trials hold."""
    monkeypatch.setattr(step_scaling, "growth", lambda *_: [])  # which has tests of its own, and takes a while
    mirror = laboratory / "mirror"
    for task in ("rte", "stsb"):
        (mirror / "data" / task).mkdir(parents=True)
        for split, rows in (("train", 80), ("validation", 20)):
            pq.write_table(made_up(rows, task), mirror / "data" / task / f"{split}.parquet")
    shutil.copytree(laboratory / "models" / "bert-tiny", mirror / "models" / "bert-tiny")
    fresh = configured("pretrain", "model=starter-2x64-fresh")
    fresh.model.source.update(FRESH)
    finetuned = "exploration/finetune/rte-bert-tiny-0.5-standard"
    trials: dict[str, list[tuple[str, ...]]] = {
        "prepare": [
            (point[0], f"mirror={mirror}", f"task.train_counts={counts}")
            for point, counts in zip(POINTS, ("[50,30]", "[80]"), strict=True)
        ],
        "pretrain": [("model=bert-tiny", f"mirror={mirror}")],
        "finetune": POINTS,
        "distill": [(*POINTS[0], f"teacher={finetuned}", "cell=taught")],
        "compress": [(f"source={finetuned}", f"compression={name}", f"cell={name}") for name in ("svd", "magnitude")],
        "evaluate": [
            *((f"source=exploration/finetune/{task}-bert-tiny-0.5-standard",) for task in ("rte", "stsb")),
            ("source=exploration/distill/taught",),
            ("source=exploration/compress/svd",),
        ],
        "benchmark": [(*POINTS[0][:2], "batch=4", "at_most=0.01", "latency.calls=2", "budget.price_per_hour=2")],
    }
    curves: Curves = {name: set() for name in STAGES}
    found = {
        name: [_record(name, configured(name, *words), curves[name]) for words in cells]
        for name, cells in trials.items()
    }
    found["pretrain"].append(_record("pretrain", fresh, curves["pretrain"]))
    numbers = laboratory / "report" / "results.csv"
    numbers.parent.mkdir()
    numbers.touch()
    compared = SimpleNamespace(law_selections=_laws(), samples=places.drawn({"mrpc-a": 0.7}))
    measures = export_tables.collect_metrics(Comparison((compared,), ()))  # type: ignore[arg-type]
    return found | {"compare": [compare._record([], measures, [numbers], exploration=False)]}, curves


def _laws() -> list[LawSelection]:
    """Return what a grid says whose losses fall as a law of every parameter would have them."""
    points = [
        (10**n, 10**d, 1 + 30 * 10 ** (-0.4 * n) + 20 * 10 ** (-0.5 * d)) for n in range(3, 7) for d in range(2, 6)
    ]
    cells = [
        LawCell(f"{n}-{d}", "pretrained", {"parameters": n, "parameters_non_embedding": n}, d, n * d,
             tuple(loss * (1 + 1e-4 * seed) for seed in (-1, 0, 1)), ())
        for n, d, loss in points
    ]  # fmt: skip
    return fit_task_laws("mrpc", cells, ["loss"])


def _record(name: str, cfg: Any, curve: set[str]) -> dict[str, Any]:
    """Do the work of a trial where the frame would, and return the record that the frame makes of it."""
    log, product = Told(), paths.get_product_dir(name, cfg.cell)
    folder = paths.get_trial_dir(name, cfg.cell, cfg.seed, exploration=True)
    for out in filter(None, (folder, product)):
        out.mkdir(parents=True, exist_ok=True)
    result = WORK[name](cfg, product or folder, log)
    trial = {"seed": cfg.seed, **result, "trial_seconds": 1.0, "artifacts": []}
    (folder / "trial.json").write_text(json.dumps(trial, allow_nan=False))
    OmegaConf.save(cfg, folder / "config.yaml")
    for out in filter(None, (folder, product)):
        checksums.write_checksums(out)
    record = cell_run.make_record(provenance.make_identity(name, cfg), {cfg.seed: hardware.describe_machine()})
    paths.write_json(paths.get_metrics_path(name, cfg.cell, exploration=True), record)
    curve |= {key for _, values in log.curve for key in values}
    return record


def table(title: str) -> list[list[str]]:
    """Return the rows of the table under a heading of the page."""
    sections = re.split(r"^#+ ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    (found,) = (section for section in sections if section.startswith(f"{title}\n"))
    return [line.strip("| ").split(" | ") for line in found.splitlines() if line.startswith("| `")]


def named(rows: list[list[str]]) -> set[str]:
    return {key for row in rows for key in re.findall(r"`([^`]+)`", row[0])}


def spelled(key: str) -> set[str]:
    """Return a key of the page with each metric in the place of ``<metric>``, each batch in that of ``<rows>``."""
    return {key.replace("<metric>", metric).replace("<rows>", rows) for metric in METRICS for rows in ("1", "8", "32")}


def test_every_key_of_every_record_is_explained_and_every_key_that_is_explained_occurs(
    records: tuple[Records, Curves],
) -> None:
    found, curves = records
    for name in STAGES:
        heads = {key for record in found[name] for key in _head(record)}
        assert heads == named([row for row in table("What the numbers mean") if row[1] == "all" or name in row[1]])
        every = named(table("Every trial"))
        numbers = {key for record in found[name] for trial in record["trials"] or [record["summary"]] for key in trial}
        numbers = {re.sub("^law/[^/]+/[^/]+/[^/]+/", "law/<task>/<target>/<axes>/", key) for key in numbers}
        numbers = {re.sub("^score/.+", "score/<cell>", key) for key in numbers}
        assert all(every <= trial.keys() for record in found[name] for trial in record["trials"])
        explained = named(table(name))
        training = named(table("finetune")) if name in ("distill", "compress") else set()
        assert (numbers - every) | curves[name] <= {each for key in explained | training for each in spelled(key)}
        assert {key for key in explained if not spelled(key) & (numbers | curves[name])} == set()


def _head(record: dict[str, Any]) -> set[str]:
    """Return the keys of a record, those of its small dicts dotted."""
    dotted = {f"{part}.{key}" for part in ("inputs", "tags", "machine") for key in record[part]}
    return (record.keys() - {"inputs", "tags", "machine"}) | dotted
