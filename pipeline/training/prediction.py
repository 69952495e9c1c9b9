"""What a classifier says of examples."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pipeline.data import batches
from pipeline.data.batches import Examples

ROWS = 64  # of a batch without gradients: enough to fill matrix products, little enough to stay in the cache


@torch.inference_mode()
def logits(model: Any, examples: Examples, precision: str) -> np.ndarray:
    """Return the model's outputs, (examples, outputs) float32, without dropout and in the order of the examples.

    ``precision`` is ``bf16`` (autocast) or ``fp32``. The model is left in the mode it was in.
    """
    at = next(model.parameters()).device
    said = np.empty((len(examples), model.config.num_labels), dtype=np.float32)
    training = model.training
    model.eval()
    with torch.autocast(at.type, torch.bfloat16, enabled=precision == "bf16"):
        for rows in batches.by_length(examples.lengths, ROWS):
            batch = batches.collate(examples, rows).to(at)
            said[rows] = model(**batch.inputs).logits.float().cpu().numpy()
    model.train(training)
    return said
