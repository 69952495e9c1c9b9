"""What a model costs to keep and to ask: parameters, bytes, pairs a second, latency."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pipeline.data import batches
from pipeline.data.batches import Batch, Examples
from pipeline.models.files import WEIGHTS
from pipeline.training.prediction import ROWS, logits

CALLS = 60  # single examples whose latency is taken
WARMUP = 5  # such calls before the clock counts: kernels are chosen and caches filled then


def storage(model: nn.Module, folder: Path) -> dict[str, int]:
    """Return parameters, parameters but for the embeddings (Kaplan et al. 2020), and bytes of the weights as stored."""
    total = sum(weight.numel() for weight in model.parameters())
    tables = (module for module in model.modules() if isinstance(module, nn.Embedding))
    embeddings = sum(table.weight.numel() for table in tables)
    return {
        "parameters": total,
        "parameters_non_embedding": total - embeddings,
        "storage_bytes": (folder / WEIGHTS).stat().st_size,
    }


def predict(model: nn.Module, examples: Examples) -> tuple[np.ndarray, float]:
    """Return the logits of the examples (examples, outputs) and how many of them were told a second.

    In fp32, so that a score is the same on every machine; batches of like length, after a warm-up by the first of
    them: the kernels that it has chosen are those that the clock should find.
    """
    first = batches.collate(examples, next(batches.by_length(examples.lengths, ROWS)))
    with torch.inference_mode():
        model(**first.to(next(model.parameters()).device).inputs)
    started = _now(model)
    said = logits(model, examples, "fp32")
    return said, len(examples) / (_now(model) - started)


@torch.inference_mode()
def latency(model: nn.Module, examples: Examples) -> dict[str, float]:
    """Return the median and the 95th percentile of the milliseconds that one example takes alone, in fp32.

    The examples asked are spread evenly over the split; they are tokenised already and not padded.
    """
    for row in range(min(WARMUP, len(examples))):
        model(**_alone(model, examples, row).inputs)
    taken = []
    for row in np.linspace(0, len(examples) - 1, CALLS).round().astype(int):
        batch = _alone(model, examples, row)
        started = _now(model)
        model(**batch.inputs)
        taken.append((_now(model) - started) * 1000)
    p50, p95 = np.percentile(taken, [50, 95])
    return {"latency_p50_ms": float(p50), "latency_p95_ms": float(p95)}


def _alone(model: nn.Module, examples: Examples, row: int) -> Batch:
    return batches.collate(examples, np.array([row])).to(next(model.parameters()).device)


def _now(model: nn.Module) -> float:
    """Return the time in seconds at which the model's device has done all that it was asked."""
    if next(model.parameters()).device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
