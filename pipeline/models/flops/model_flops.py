"""Costs of a training step by formulas, per part: FLOPs, activations, gradients, optimiser state.

Supports the families of ``traced_flops``, compressed or not; ``counted_flops`` counts the costs of any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import torch
from torch import nn

from pipeline.models import compressed_storage, quantised_layers
from pipeline.models.flops import traced_flops
from pipeline.models.flops.analytic_flops import ModelPart, Polynomial
from pipeline.models.low_rank_layers import LowRankEmbedding

FLOPS_DECAYED, FLOPS_NOT_DECAYED = 14, 13  # of AdamW per parameter, with and without weight decay
FLOPS_CLIPPING = 3  # of clipping by the norm, per parameter: square, sum, scaling
FLOPS_PER_TENSOR, FLOPS_PER_UPDATE = (
    3,
    4,
)  # norm squared, sum, step counter; scale of the gradients


class FlopsPerExample(NamedTuple):
    """FLOPs of one example as polynomials in its length."""

    forward: Polynomial
    backward: Polynomial


@dataclass(frozen=True)
class ParameterCounts:
    """Numbers of distinct parameters, and bytes of the weights in memory and on disk.

    ``trainable`` parameters get a gradient; ``nonzero`` counts nonzero integers of int8 weights; ``non_embedding``
    excludes tables and the Linear after a narrow table (Kaplan et al. 2020).
    """

    parameters: int
    trainable: int
    non_embedding: int
    nonzero: int
    bytes: int
    stored_bytes: int


@dataclass(frozen=True)
class StepCost:
    """Costs of an update over a batch of ``batch`` examples of ``length`` tokens without padding, in fp32.

    Activations are the tensors that autograd saves for backward with eager attention and dropout, without the loss.
    """

    parts: tuple[ModelPart, ...]
    length: int
    batch: int
    update: int
    gradient_bytes: int
    optimizer_bytes: int

    @property
    def flops(self) -> FlopsPerExample:
        """Return the FLOPs of one example."""
        return _sum_flops(self.parts)

    @property
    def activations(self) -> Polynomial:
        """Return the bytes of activations of one example."""
        return reduce(add, (part.activations for part in self.parts))

    @property
    def forward(self) -> int:
        """Return the FLOPs of the batch's forward pass."""
        return self.batch * int(self.flops.forward(self.length))

    @property
    def backward(self) -> int:
        """Return the FLOPs of the batch's backward pass."""
        return self.batch * int(self.flops.backward(self.length))

    @property
    def activation_bytes(self) -> int:
        """Return the bytes of activations of the batch."""
        return self.batch * int(self.activations(self.length))


def compute_step_cost(model: Any, length: int, batch: int = 1) -> StepCost:
    """Return the costs of one update of a model by part; int8 weights are not trained.

    Backward is twice forward if everything is trained: each product has two gradients. The update counts every
    elementwise operation of AdamW (Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2): decay 1,
    first moment 3, second 1 + 3, root 1, correction 1, epsilon 1, step 3. AdamW stores two moments per parameter and a
    counter per tensor.
    Raises UserError for an unsupported family.
    """
    trained = _list_trained(model)
    decayed = sum(each.numel() for each in trained if each.ndim >= 2)
    not_decayed = sum(each.numel() for each in trained if each.ndim < 2)
    update = (
        (FLOPS_DECAYED + FLOPS_CLIPPING) * decayed
        + (FLOPS_NOT_DECAYED + FLOPS_CLIPPING) * not_decayed
        + FLOPS_PER_TENSOR * len(trained)
        + FLOPS_PER_UPDATE * bool(trained)
    )
    gradients = sum(each.nbytes for each in trained)
    counters = torch.float32.itemsize * len(trained)
    return StepCost(traced_flops.trace_parts(model), length, batch, update, gradients, 2 * gradients + counters)


def compute_training_flops(model: Any) -> FlopsPerExample:
    """Return the FLOPs of one example's forward and backward pass as polynomials in its length without padding.

    Each is callable with a length or an array of lengths. An optimised forward pass that skips unused states takes
    fewer. Raises UserError for an unsupported family.
    """
    return _sum_flops(traced_flops.trace_parts(model))


def count_parameters(model: nn.Module) -> ParameterCounts:
    """Return the numbers of parameters of a model of any family, and their bytes."""
    parameters = list(model.parameters())
    inner = quantised_layers.collect_int8_tensors(model).values()
    plain = (each for each in parameters if not hasattr(each, "qdata"))
    return ParameterCounts(
        parameters=sum(each.numel() for each in parameters),
        trainable=sum(each.numel() for each in _list_trained(model)),
        non_embedding=count_non_embedding(model),
        nonzero=sum(int(torch.count_nonzero(getattr(each, "qdata", each))) for each in parameters),
        bytes=sum(tensor.nbytes for tensor in (*plain, *inner)),
        stored_bytes=sum(tensor.nbytes for tensor in compressed_storage.collect_tensors(model).values()),
    )


def count_non_embedding(model: nn.Module) -> int:
    """Return the number of parameters outside embedding tables and the Linears after narrow tables."""
    tables = (module for module in model.modules() if isinstance(module, (nn.Embedding, LowRankEmbedding)))
    inside = {parameter for table in tables for parameter in table.parameters()}
    return sum(parameter.numel() for parameter in model.parameters() if parameter not in inside)


def _list_trained(model: nn.Module) -> list[nn.Parameter]:
    if quantised_layers.get_int8_kind(model) is not None:
        return []
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _sum_flops(parts: tuple[ModelPart, ...]) -> FlopsPerExample:
    return FlopsPerExample(
        reduce(add, (part.forward for part in parts)), reduce(add, (part.backward for part in parts))
    )
