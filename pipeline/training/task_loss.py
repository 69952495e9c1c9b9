"""The loss of a classifier on a batch, and the module that holds model and loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.data.batches import Batch

# A run fails when its loss exceeds the first loss, or 1 if larger, by this factor. Useless learning rates reach 200.
MAX_LOSS_RATIO = 100.0


def compute_task_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross entropy of logits (rows, classes), or the mean squared error of outputs (rows, 1)."""
    if logits.shape[1] == 1:
        return nn.functional.mse_loss(logits[:, 0], labels)
    return nn.functional.cross_entropy(logits, labels)


class TaskLoss(nn.Module):
    """The loss of the labels, and the base class of other losses.

    A loss may have weights, which are trained with the model's. ``needs_all_tokens`` is True if it reads more of the
    last layer than the first token. It is called under autocast and computes in fp32.
    """

    needs_all_tokens = False

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of a batch, a scalar."""
        logits = model(**batch.inputs).logits
        with torch.autocast(logits.device.type, enabled=False):
            return compute_task_loss(logits.float(), batch.labels)


class LossModule(nn.Module):
    """Model and loss as one module, so that DDP exchanges the gradients of both."""

    def __init__(self, model: nn.Module, loss: TaskLoss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, a scalar."""
        loss: Tensor = self.loss(self.model, batch)
        return loss
