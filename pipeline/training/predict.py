"""Predict the logits of a classifier."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import torch

from pipeline.data import batches
from pipeline.data.batches import Examples
from pipeline.system import hardware
from pipeline.system.distributed import SINGLE_PROCESS, ProcessGroup

ROWS = 64  # of a batch without gradients: large enough for matrix products, small enough for the CPU cache


@torch.inference_mode()
def predict_logits(model: Any, examples: Examples, precision: str, group: ProcessGroup = SINGLE_PROCESS) -> np.ndarray:
    """Return the logits (examples, outputs) in float32, in the order of the examples and without dropout.

    ``precision`` is ``bf16`` (autocast) or ``fp32``. The model stays in its mode (training or evaluation). The
    processes of a ``group`` divide the batches and all return the same.
    """
    device = next(model.parameters()).device
    logits = np.zeros((len(examples), model.config.num_labels), dtype=np.float32)
    training = model.training
    model.eval()
    with hardware.autocast(device, precision):
        for rows in islice(batches.by_length(examples.lengths, ROWS), group.rank, None, group.size):
            batch = batches.collate(examples, rows).to(device)
            logits[rows] = model(**batch.inputs).logits.float().cpu().numpy()
    model.train(training)
    return logits if group.size == 1 else group.all_reduce(torch.from_numpy(logits).to(device)).cpu().numpy()
