"""What a model costs by its formulas, part by part, compressed or not: FLOPs, activations, gradients, moments.

Follows the families of ``tracing``; for any other ``counting`` counts what a pass through it does.
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

FLOPS_DECAYED, FLOPS_NOT_DECAYED = 14, 13  # FLOPs of AdamW for each parameter that decays or does not
FLOPS_CLIPPING = 3  # of clipping by the norm, likewise: a square and its sum, and the scaling
FLOPS_PER_TENSOR, FLOPS_PER_UPDATE = (
    3,
    4,
)  # of a tensor: its norm squared and summed, its step; of an update: what the gradients are scaled by


class FlopsPerExample(NamedTuple):
    """FLOPs of one example as functions of its length."""

    forward: Polynomial
    backward: Polynomial


@dataclass(frozen=True)
class ParameterCounts:
    """Parameters, each shared one once, and bytes of the weights in memory and as stored.

    ``trainable`` are those that get a gradient; ``nonzero`` counts int8 weights by their integers; ``non_embedding``
    leaves out tables and the Linear behind a narrow one (Kaplan et al. 2020).
    """

    parameters: int
    trainable: int
    non_embedding: int
    nonzero: int
    bytes: int
    stored_bytes: int


@dataclass(frozen=True)
class StepCost:
    """What an update over a batch of ``batch`` examples of ``length`` real tokens costs, FLOPs and bytes in fp32.

    Activations are those that autograd keeps from forward to backward, with eager attention and dropout, but for the
    loss behind the logits.
    """

    parts: tuple[ModelPart, ...]
    length: int
    batch: int
    update: int
    gradient_bytes: int
    optimizer_bytes: int

    @property
    def flops(self) -> FlopsPerExample:
        """The FLOPs of one example."""
        return _sum_flops(self.parts)

    @property
    def activations(self) -> Polynomial:
        """The bytes kept of one example."""
        return reduce(add, (part.activations for part in self.parts))

    @property
    def forward(self) -> int:
        """FLOPs of the batch's forward pass."""
        return self.batch * int(self.flops.forward(self.length))

    @property
    def backward(self) -> int:
        """FLOPs of the batch's backward pass."""
        return self.batch * int(self.flops.backward(self.length))

    @property
    def activation_bytes(self) -> int:
        """Bytes kept of the batch."""
        return self.batch * int(self.activations(self.length))


def compute_step_cost(model: Any, length: int, batch: int = 1) -> StepCost:
    """Return what training a model for one update costs, by part; weights that are int8 are not trained.

    Backward is twice forward where all is trained: of each product the gradients of both of its sides. The update has
    AdamW's moments, decay and bias correction (Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm
    2), every elementwise operation counted: decay 1, first moment 3, second 1 + 3, root 1, correction 1, epsilon 1,
    step 3. AdamW holds two moments for each parameter and a counter for each tensor.
    Raises UserError for a family that is not followed.
    """
    trained = _list_trained(model)
    decayed = sum(each.numel() for each in trained if each.ndim >= 2)
    kept = sum(each.numel() for each in trained if each.ndim < 2)
    update = (
        (FLOPS_DECAYED + FLOPS_CLIPPING) * decayed
        + (FLOPS_NOT_DECAYED + FLOPS_CLIPPING) * kept
        + FLOPS_PER_TENSOR * len(trained)
        + FLOPS_PER_UPDATE * bool(trained)
    )
    gradients = sum(each.nbytes for each in trained)
    counters = torch.float32.itemsize * len(trained)
    return StepCost(traced_flops.trace_parts(model), length, batch, update, gradients, 2 * gradients + counters)


def compute_training_flops(model: Any) -> FlopsPerExample:
    """Return the FLOPs of one example's forward and backward pass, as functions of its real length.

    Each is called with a length, or with an array of them. They are those of the model's own forward: a pass that
    leaves out what nobody reads takes fewer. Raises UserError for a family that is not followed.
    """
    return _sum_flops(traced_flops.trace_parts(model))


def count_parameters(model: nn.Module) -> ParameterCounts:
    """Return how many parameters a model of any family has, and how many bytes they take."""
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
    """Return the parameters outside tables of embeddings and the Linears behind narrow ones."""
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
