"""Records of a benchmark that never ran, whose costs follow laws that are known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pipeline.core import records
from pipeline.plan.cells import TIMED
from pipeline.system import hardware

MACHINE = {"processor": "a processor", "device": "cpu", "threads": 2, **hardware.get_versions()}
LADDERS = {"depth": (1, 2, 4, 8), "width": (64, 128, 256, 512), "length": (16, 32, 64, 128), "batch": (4, 8, 16, 32)}


def flops(layers: float, hidden: float, tokens: float, pairs: float) -> float:
    """Return the FLOPs of a training step: forward, and twice as much backward.

    Forward, of d layers of hidden size h and t tokens: 24 d t h^2 of the Linears and 4 d t^2 h of attention.
    """
    return 3 * pairs * (24 * layers * tokens * hidden**2 + 4 * layers * tokens**2 * hidden)


def growth(layers: int, hidden: int, rate: float, start: float) -> list[dict[str, float | str | int]]:
    """Return a step's cost along each axis: ``start`` seconds and its FLOPs at ``rate`` a second."""
    base = {"depth": layers, "width": hidden, "length": 32, "batch": 8}
    points: list[dict[str, float | str | int]] = []
    for axis, values in LADDERS.items():
        for value in values:
            at = {**base, axis: value}
            done = flops(at["depth"], at["width"], at["length"], at["batch"])
            seconds = start + done / rate
            points.append({
                "axis": axis, "value": value, "seconds": seconds, "seconds_low": 0.96 * seconds,
                "seconds_high": 1.05 * seconds, "flops": done, "activation_bytes": 1000 * value,
            })  # fmt: skip
    return points


def alone(model: str = "bert-tiny", layers: int = 2, hidden: int = 128, rate: float = 800.0) -> dict[str, Any]:
    """Return the record of one process of ``rate`` pairs a second, every key measured but energy and price."""
    forward = flops(layers, hidden, 32, 1) / 3
    return record(model, {
        "parameters": 4.4e6, "parameters_non_embedding": 12 * layers * hidden**2, "parameters_trainable": 4.4e6,
        "forward_flops": forward, "backward_flops": 2 * forward, "update_flops": 5.28e7,
        "activation_bytes": 3 * 2**20, "gradient_bytes": 17.5 * 2**20, "optimizer_bytes": 35 * 2**20,
        "processes": 1, "threads": 1, "precision": "bf16", "batch_size": 32, "device": "cpu",
        "train_pairs_per_second": rate, "train_pairs_per_second_low": 0.97 * rate,
        "train_pairs_per_second_high": 1.02 * rate, "train_tokens_per_second": 32 * rate,
        "train_step_ms": 32e3 / rate, "train_data_ms": 0.4, "train_forward_ms": 9e3 / rate,
        "train_backward_ms": 18e3 / rate, "train_update_ms": 4e3 / rate, "train_utilisation": 0.237,
        "peak_flops_per_second": 2.53e11, "budget_examples": 1e6, "budget_seconds": 1e6 / rate,
        "budget_process_hours": 1e6 / rate / 3600, "inference_pairs_per_second": 4 * rate,
        "inference_pairs_per_second_low": 3.9 * rate, "inference_pairs_per_second_high": 4.1 * rate,
        "inference_tokens_per_second": 128 * rate, "inference_utilisation": 0.316,
        **{f"latency_b{size}_{name}_ms": size**0.8 * by * 500 / rate
           for size in (1, 8, 32) for name, by in (("p50", 1), ("p90", 1.2), ("p95", 1.31), ("p99", 2))},
        "load_memory_mib": 412.3, "forward_memory_mib": 431.9, "backward_memory_mib": 466.0,
        "update_memory_mib": 501.5, "inference_memory_mib": 428.7, "load_memory_added_mib": 20.1,
        "forward_memory_added_mib": 39.7, "backward_memory_added_mib": 73.8, "update_memory_added_mib": 109.3,
        "inference_memory_added_mib": 36.5, "growth": growth(layers, hidden, 2.5e10, 0.004),
    })  # fmt: skip


def several(model: str = "bert-tiny", processes: int = 2) -> dict[str, Any]:
    """Return the record of several processes, which reach 372 of the 400 pairs a second that two of one alone would."""
    return record(model, {
        "processes": processes, "threads": 1, "precision": "bf16", "batch_size": 32, "device": "cpu",
        "train_pairs_per_second": 372.0, "train_pairs_per_second_low": 365.2, "train_pairs_per_second_high": 380.1,
        "train_tokens_per_second": 11904.0, "train_step_ms": 86.02, "train_data_ms": 0.21, "train_forward_ms": 25.5,
        "train_backward_ms": 48.7, "train_update_ms": 11.6, "train_utilisation": 0.22,
        "peak_flops_per_second": 5.06e11, "alone_pairs_per_second": 200.0, "strong_efficiency": 372 / (2 * 200),
        "weak_pairs_per_second": 388.0, "weak_efficiency": 388 / (2 * 200), "communication_share": 0.048,
        "budget_examples": 1e6, "budget_seconds": 1e6 / 372, "budget_process_hours": 2 * 1e6 / 372 / 3600,
    })  # fmt: skip


def record(model: str, trial: dict[str, Any]) -> dict[str, Any]:
    """Return a trial with the head that the frame gives it; a cell is named after what ran."""
    words = (model, trial["processes"], trial["threads"], trial["precision"], trial["batch_size"])
    timed = dict(zip(TIMED, words[1:], strict=True))
    trials = [{"seed": 0, **trial}]
    return records.sign({
        "schema": records.SCHEMA, "stage": "benchmark", "cell": "-".join(map(str, words)), "exploration": False,
        "task": "starter-swap", "model": model, **timed, "trials": trials,
        "summary": records.compute_summary(trials), "inputs": {}, "tags": {}, "machine": MACHINE,
    })  # fmt: skip


def planned(made_up: Iterable[dict[str, Any]]) -> records.Planned:
    """Return a plan whose benchmark made exactly these records."""
    return {
        f"benchmark/{one['cell']}": records.PlannedCell(
            {key: one[key] for key in ("task", "model", *TIMED)}, frozenset([0])
        )
        for one in made_up
    }
