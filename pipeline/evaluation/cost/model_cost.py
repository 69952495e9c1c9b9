"""Costs of a model: parameters, bytes, FLOPs, throughput, latency."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.core.errors import UserError
from pipeline.data import batches
from pipeline.data.batches import Examples
from pipeline.evaluation.cost import energy, speed, timing
from pipeline.models.flops import model_flops
from pipeline.models.flops.counted_flops import UNCOUNTED
from pipeline.models.model_files import WEIGHTS
from pipeline.training.predict import ROWS, predict_logits

CALLS = 100  # single examples per latency measurement


def storage(model: nn.Module, folder: Path) -> dict[str, int]:
    """Return parameters, those not zero, those outside the embeddings, and bytes of the weights as stored.

    Shared weights count once; an int8 weight counts its integers, not its scales. The embeddings (Kaplan et al. 2020)
    include the Linear after a factored table.
    """
    known = model_flops.count_parameters(model)
    return {
        "parameters": known.parameters,
        "parameters_trainable": known.trainable,
        "parameters_nonzero": known.nonzero,
        "parameters_non_embedding": known.non_embedding,
        "storage_bytes": (folder / WEIGHTS).stat().st_size,
    }


@torch.inference_mode()
def flops(model: nn.Module, examples: Examples) -> dict[str, float]:
    """Return the FLOPs of a forward pass for one example of the median length, alone and without padding.

    Multiplications and additions of matrix products, floating-point or integer, counted: 2 m n k for (m, k) by (k, n).
    Zeros in a dense weight are multiplied, so they count.
    """
    row = _median(examples)
    inputs = batches.collate(examples, np.array([row])).to(_device(model)).inputs
    training = model.training
    model.eval()
    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
        model(**inputs)
    model.train(training)
    counted = float(counter.get_total_flops())
    return {
        "inference_flops": counted,
        "inference_flops_per_token": counted / float(examples.lengths[row]),
    }


def training(model: nn.Module, examples: Examples) -> dict[str, float]:
    """Return the cost of one more training step on that example, by the formulas of ``models.flops``.

    Returns nothing for untrainable (int8) weights and for families that the formulas do not know.
    """
    try:
        whole = model_flops.compute_step_cost(model, int(examples.lengths[_median(examples)]))
    except UserError:
        return {}
    if not whole.backward:
        return {}
    return {
        "training_flops": whole.forward + whole.backward,
        "update_flops": whole.update,
        "activation_bytes": whole.activation_bytes,
        "gradient_bytes": whole.gradient_bytes,
        "optimizer_bytes": whole.optimizer_bytes,
    }


def predict(model: nn.Module, examples: Examples) -> tuple[np.ndarray, dict[str, float]]:
    """Return the logits (examples, outputs), and the throughput in pairs and real tokens per second.

    Computes in fp32, so that a score is the same on every machine, in batches of similar length, after a warm-up with
    the first batch. Adds joules if there is a counter.
    """
    device = _device(model)
    first = batches.collate(examples, next(batches.by_length(examples.lengths, ROWS)))
    with torch.inference_mode():
        model(**first.to(device).inputs)
    with energy.measured(device) as meter:
        started = timing.now(device)
        outputs = predict_logits(model, examples, "fp32")
        seconds = timing.now(device) - started
    found = {
        "inference_pairs_per_second": len(examples) / seconds,
        "inference_tokens_per_second": float(examples.lengths.sum()) / seconds,
    }
    if meter.joules is not None:
        found["inference_joules_per_pair"] = meter.joules / len(examples)
    return outputs, found


def latency(model: nn.Module, examples: Examples) -> dict[str, float]:
    """Return percentiles of the milliseconds of one example alone, in fp32: ``latency_p50_ms`` etc."""
    found = speed.latency(model, examples, "fp32", 1, CALLS)
    return {name.replace("_b1_", "_"): value for name, value in found.items()}


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _median(examples: Examples) -> int:
    return int(np.argsort(examples.lengths, kind="stable")[len(examples) // 2])
