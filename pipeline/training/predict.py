"""What a classifier says of examples."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import torch

from pipeline.data import batches
from pipeline.data.batches import Examples
from pipeline.system import hardware
from pipeline.system.distributed import SINGLE_PROCESS, ProcessGroup

ROWS = 64  # of a batch without gradients: enough to fill matrix products, little enough to stay in the cache


@torch.inference_mode()
def logits(model: Any, examples: Examples, precision: str, group: ProcessGroup = SINGLE_PROCESS) -> np.ndarray:
    """Return the model's outputs, (examples, outputs) float32, without dropout and in the order of the examples.

    ``precision`` is ``bf16`` (autocast) or ``fp32``. The model is left in the mode it was in. The processes of a
    ``group`` take turns at the batches, and all of them return the same.
    """
    at = next(model.parameters()).device
    said = np.zeros((len(examples), model.config.num_labels), dtype=np.float32)
    training = model.training
    model.eval()
    with hardware.autocast(at, precision):
        for rows in islice(batches.by_length(examples.lengths, ROWS), group.rank, None, group.size):
            batch = batches.collate(examples, rows).to(at)
            said[rows] = model(**batch.inputs).logits.float().cpu().numpy()
    model.train(training)
    return said if group.size == 1 else group.all_reduce(torch.from_numpy(said).to(at)).cpu().numpy()
