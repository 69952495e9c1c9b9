"""What a model costs to keep and to ask: parameters, bytes, operations, memory, pairs a second, latency."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline import machine
from pipeline.data import batches
from pipeline.data.batches import Batch, Examples
from pipeline.models.factorised import FactorisedEmbedding
from pipeline.models.files import WEIGHTS
from pipeline.training.prediction import ROWS, logits

CALLS = 60  # single examples whose latency is taken
WARMUP = 5  # such calls before the clock counts: kernels are chosen and caches filled then


def _product(one: tuple[int, int], other: tuple[int, int], *_: object, **__: object) -> int:
    return 2 * one[0] * one[1] * other[1]


def _attention(query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *_: object, **__: object) -> int:
    rows, heads, asked, size = query
    return 2 * rows * heads * asked * key[2] * (size + value[3])


UNCOUNTED = {  # by torch's counter: products of integers, and attention in one kernel on the CPU
    torch.ops.aten._int_mm: _product,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
}


def storage(model: nn.Module, folder: Path) -> dict[str, int]:
    """Return parameters, those not zero, those outside the embeddings, and bytes of the weights as stored.

    What modules share counts once; an int8 weight counts by its integers, without their scales. To the embeddings
    (Kaplan et al. 2020) belongs the Linear behind a narrow table as well.
    """
    parameters = list(model.parameters())
    total = sum(parameter.numel() for parameter in parameters)
    tables = (module for module in model.modules() if isinstance(module, (nn.Embedding, FactorisedEmbedding)))
    embeddings = {parameter for table in tables for parameter in table.parameters()}
    return {
        "parameters": total,
        "parameters_nonzero": sum(_nonzero(parameter) for parameter in parameters),
        "parameters_non_embedding": total - sum(parameter.numel() for parameter in embeddings),
        "storage_bytes": (folder / WEIGHTS).stat().st_size,
    }


@torch.inference_mode()
def operations(model: nn.Module, examples: Examples) -> dict[str, float]:
    """Return the operations of a forward pass for one example of the median length, alone and without padding.

    Multiplications and additions of matrix products, floating-point or integer, each counted by itself: 2 m n k for
    (m, k) by (k, n). Zeros in a dense weight are multiplied like any other number, and so are counted.
    """
    row = int(np.argsort(examples.lengths, kind="stable")[len(examples) // 2])
    inputs = _alone(model, examples, row).inputs
    training = model.training
    model.eval()
    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
        model(**inputs)
    model.train(training)
    return {"inference_operations": float(counter.get_total_flops())}


def predict(model: nn.Module, examples: Examples) -> tuple[np.ndarray, float]:
    """Return the logits of the examples (examples, outputs) and how many of them were told a second.

    In fp32, so that a score is the same on every machine; batches of like length, after a warm-up by the first of
    them: the kernels that it has chosen are those that the clock should find. The peak of ``memory`` starts anew.
    """
    machine.reset_peak_memory()
    first = batches.collate(examples, next(batches.by_length(examples.lengths, ROWS)))
    with torch.inference_mode():
        model(**first.to(next(model.parameters()).device).inputs)
    started = now(model)
    said = logits(model, examples, "fp32")
    return said, len(examples) / (now(model) - started)


def memory(model: nn.Module) -> dict[str, float]:
    """Return the peak since ``predict`` began: of the tensors on a GPU, else of the process's resident memory.

    The latter holds Python and its libraries too, some hundreds of MiB that no compression takes away.
    """
    return {"inference_memory_mib": machine.peak_memory_mib(next(model.parameters()).device)}


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
        started = now(model)
        model(**batch.inputs)
        taken.append((now(model) - started) * 1000)
    p50, p95 = np.percentile(taken, [50, 95])
    return {"latency_p50_ms": float(p50), "latency_p95_ms": float(p95)}


def _nonzero(parameter: Any) -> int:
    return int(torch.count_nonzero(getattr(parameter, "qdata", parameter)))


def _alone(model: nn.Module, examples: Examples, row: int) -> Batch:
    return batches.collate(examples, np.array([row])).to(next(model.parameters()).device)


def now(model: nn.Module) -> float:
    """Return the time in seconds at which the model's device has done all that it was asked."""
    if next(model.parameters()).device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
