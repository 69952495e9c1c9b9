"""Records and folders of cells that never ran: the shape of real ones, with scores that follow a saturating curve."""

import hashlib
import json
import math
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.analysis.results.cell_table import CellCoordinates
from pipeline.core import checksums, records
from pipeline.evaluation import predictions
from pipeline.metrics import registry
from pipeline.plan import Benchmark, Plan
from pipeline.system import hardware

TASKS = {"mrpc": ("f1", 3302, 0.812), "starter-swap": ("accuracy", 7200, 0.5)}  # score, rows, majority baseline
MODELS = {"bert-tiny": (0.4, 4.4), "bert-mini": (3.2, 11.2), "bert-small": (12.6, 28.8), "bert-medium": (25.2, 41.4)}
RATIOS = (0.1, 0.3, 1.0)
SEEDS = (0, 1, 2)
EXAMPLES = 400  # reported
MACHINE = {"processor": "a processor", "device": "cpu", "threads": 2, **hardware.get_versions()}
NO_BENCHMARK = Benchmark.model_construct(task="mrpc", models=(), processes=(), threads=(), precisions=(), batches=())
COORDINATES = ("task", "model", "recipe", "ratio", "source")


def grid(models: Iterable[str] = (*MODELS, "bert-mini-fresh")) -> list[tuple[str, str, float]]:
    """Return every point of a plan of two tasks, five models and three ratios."""
    return [(task, model, ratio) for task in TASKS for model in models for ratio in RATIOS]


def evaluation(task: str, model: str, ratio: float, seeds: Iterable[int] = SEEDS) -> dict[str, Any]:
    """Return the record that evaluating a cell would leave."""
    trials = [_evaluated(task, model, ratio, seed) for seed in seeds]
    return record("evaluate", task, model, ratio, trials)


def finetuning(task: str, model: str, ratio: float, seeds: Iterable[int] = SEEDS) -> dict[str, Any]:
    """Return the record that fine-tuning a cell would leave."""
    trials = [
        {"seed": seed, "selection_score": _evaluated(task, model, ratio, seed)["score"], "train_seconds": 3.5,
         "precision": "fp32", "trial_seconds": 4.0}
        for seed in seeds
    ]  # fmt: skip
    return record("finetune", task, model, ratio, trials)


def record(stage: str, task: str, model: str, ratio: float, trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Return trials with the head and the summary that the frame gives them."""
    return records.sign({
        "schema": records.SCHEMA, "stage": stage, "cell": f"{task}-{model}-{ratio}-standard", "exploration": False,
        "task": task, "model": model, "recipe": "standard", "ratio": ratio, "trials": trials,
        **({"source": f"finetune/{task}-{model}-{ratio}-standard"} if stage == "evaluate" else {}),
        "summary": records.compute_summary(trials),
        "inputs": {"data": _digest(task), "model": _digest(model)},
        "tags": {"git_commit": _digest("commit")[:40], "inputs_sha256": _digest(f"{stage}{task}{model}{ratio}")},
        "machine": MACHINE,
    })  # fmt: skip


def planned(points: Iterable[CellCoordinates], seeds: Iterable[int] = SEEDS) -> records.Planned:
    """Return a plan that evaluates exactly these points."""
    keys, numbers = ("task", "model", "ratio", "recipe"), frozenset(seeds)
    return {
        f"evaluate/{point.cell}": records.PlannedCell({key: getattr(point, key) for key in keys}, numbers)
        for point in points
    }


def prepare(root: Path, plan: Plan) -> None:
    """Leave a record, of which only the presence counts, for each cell that makes data or a pre-trained model."""
    for stage, names in (("prepare", plan.tasks), ("pretrain", plan.models)):
        for name in names:
            path = root / "metrics" / stage / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def write(root: Path, cells: Iterable[dict[str, Any]]) -> None:
    """Lay records, sealed, and their trials' folders out as the stages do."""
    for content in cells:
        stage, cell = content["stage"], content["cell"]
        path = root / "metrics" / stage / f"{cell}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(records.sign(content)))
        for trial in content["trials"]:
            folder = root / "runs" / stage / cell / f"seed-{trial['seed']}"
            folder.mkdir(parents=True)
            shown = [folder / "predictions.parquet"] if stage == "evaluate" else []
            for file in shown:
                file.write_text("what the model says of each example")
            names = [str(file.relative_to(root)) for file in shown]
            (folder / "trial.json").write_text(json.dumps({**trial, "artifacts": names}))
            (folder / "config.yaml").write_text(f"seed: {trial['seed']}\n")
            (folder / "curves.jsonl").write_text("".join(json.dumps(row) + "\n" for row in curve(content, trial)))
            checksums.write_checksums(folder)


def curve(content: dict[str, Any], trial: dict[str, Any]) -> list[dict[str, float]]:
    """Return the learning curve of a trial; only fine-tuning has one."""
    if content["stage"] != "finetune":
        return []
    noise = random.Random(str([content["cell"], trial["seed"]]))
    final = trial["selection_score"]
    rows = []
    for step in range(5, 105, 5):
        fade = math.exp(-step / 30)
        loss = 0.25 + 0.45 * fade + noise.gauss(0, 0.02)
        rows.append(
            {
                "step": step,
                "loss": loss,
                "learning_rate": 3e-4 * (1 - step / 110),
                "selection_score": final - 0.2 * fade,
            }
        )
    return rows


def _evaluated(task: str, model: str, ratio: float, seed: int) -> dict[str, Any]:
    score_name, rows, majority = TASKS[task]
    family = "fresh" if model.endswith("-fresh") else "pretrained"
    inner, total = MODELS[model.removesuffix("-fresh")]
    noise = random.Random(str([task, model, ratio, seed]))
    gain = 0.17 * (1 - 0.75 * inner**-0.12) / 0.5 * ratio**0.35
    score = (
        majority
        + (0.35 if family == "fresh" else 1.0) * gain * (1.8 if majority < 0.6 else 0.9)
        + noise.gauss(0, 0.008)
    )
    said, true = answers(task, score, noise)
    score = float(registry.SCORES[score_name](said, true))
    seconds = 0.0006 + 0.00011 * inner
    return {
        "seed": seed, "score": score, "score_name": score_name, score_name: score,
        "majority_score": majority, "collapsed": score < majority + 0.004, "train_examples": round(ratio * rows),
        "parameters": int(total * 1e6), "parameters_non_embedding": int(inner * 1e6), "storage_bytes": int(total * 4e6),
        "latency_p50_ms": 1000 * seconds, "latency_p95_ms": 1200 * seconds, "inference_pairs_per_second": 3 / seconds,
        "family": family, "precision": "fp32", "trial_seconds": 1.5,
        "loss": 0.9 - 0.8 * score, "train_flops": 6e6 * inner * ratio * rows, "train_seconds": 0.01 * ratio * rows,
        "inference_flops": 7e7 * inner, "inference_memory_mib": 400 + total,
        "predictions": predictions.as_text(said), "references": predictions.as_text(true),
    }  # fmt: skip


def answers(task: str, score: float, noise: random.Random) -> tuple[np.ndarray, np.ndarray]:
    """Return what is said and what is true of some examples of a task, as nearly of ``score`` as they allow."""
    name, _, majority = TASKS[task]
    ones = round(EXAMPLES * (majority / (2 - majority) if name == "f1" else majority))
    true = np.array([1] * ones + [0] * (EXAMPLES - ones))
    wrong = noise.sample(range(EXAMPLES), EXAMPLES)
    tries = [np.where(np.isin(np.arange(EXAMPLES), wrong[:count]), 1 - true, true) for count in range(0, EXAMPLES, 2)]
    return min(tries, key=lambda said: abs(float(registry.SCORES[name](said, true)) - score)), true


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
