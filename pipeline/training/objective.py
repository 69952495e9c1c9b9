"""What a batch costs a classifier, and that as one module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.data.batches import Batch

# Times the first loss, or 1 where that is less, a run has failed: at rates from which nothing learns, 200 and more.
EXPLODED = 100.0


def objective(said: Tensor, labels: Tensor) -> Tensor:
    """Return the mean loss of a batch: cross entropy of logits (rows, classes), squared error of numbers (rows, 1)."""
    if said.shape[1] == 1:
        return nn.functional.mse_loss(said[:, 0], labels)
    return nn.functional.cross_entropy(said, labels)


class Loss(nn.Module):
    """What a batch costs a model: ``objective`` of its labels. Another loss derives from this one.

    A loss may have weights of its own, which are trained with the model's. ``whole`` says that it reads more of the
    last layer than the first token. It is called under autocast and computes in fp32 itself.
    """

    whole = False

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss, a number."""
        said = model(**batch.inputs).logits
        with torch.autocast(said.device.type, enabled=False):
            return objective(said.float(), batch.labels)


class Objective(nn.Module):
    """A loss of a model as one module, for several processes to share the gradients of all that it trains."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, a number."""
        loss: Tensor = self.loss(self.model, batch)
        return loss
