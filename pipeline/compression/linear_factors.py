"""Replaces Linears and embeddings by two factors, and measures the inputs of Linears for the weighted variant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.compression.calibration import Calibration
from pipeline.compression.singular_values import Spectrum
from pipeline.models import bert_layers
from pipeline.models.low_rank_layers import LowRankEmbedding, LowRankLinear

RIDGE = 1e-6  # of the mean square of the inputs, so that directions that never occur have an inverse


def create_factors(linear: nn.Linear, spectrum: Spectrum, rank: int) -> LowRankLinear:
    """Return ``linear`` as two factors of ``rank``; each has the roots of the singular values."""
    module = LowRankLinear(linear.in_features, linear.out_features, rank, linear.bias is not None)
    module = module.to(linear.weight.device, linear.weight.dtype).train(linear.training)
    first, last = spectrum.compute_factors(rank)
    bert_layers.get_input_linear(module).weight.copy_(first)
    bert_layers.get_output_linear(module).weight.copy_(last)
    if linear.bias is not None:
        bert_layers.get_output_linear(module).bias.copy_(linear.bias)
    return module


def create_embedding_factors(table: nn.Embedding, spectrum: Spectrum, rank: int) -> LowRankEmbedding:
    """Return a table of words as a table of ``rank`` columns and a Linear."""
    module = LowRankEmbedding(*spectrum.size, rank, table.padding_idx).to(table.weight.device, table.weight.dtype)
    basis, columns = spectrum.compute_factors(rank)
    for part, values in zip(module, (columns, basis.T), strict=True):
        next(part.parameters()).copy_(values)
    return module.train(table.training)


def replace(model: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Replace every use of ``old`` by ``new``, so that shared modules stay shared."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if child is old:
                setattr(parent, name, new)


def compute_input_roots(model: Any, calibration: Calibration, linears: Iterable[nn.Linear]) -> dict[nn.Linear, Tensor]:
    """Return the Cholesky factor of X^T X for the inputs X of each Linear, without padding, in float64."""
    device = next(model.parameters()).device
    real: list[Tensor | None] = [None]
    sums: dict[nn.Linear, Tensor] = {}

    def add_inputs(linear: nn.Linear, inputs: tuple[Tensor]) -> None:
        rows = (inputs[0].flatten(0, 1) if real[0] is None else inputs[0][real[0]]).double()
        sums[linear] = sums.get(linear, 0) + rows.T @ rows

    hooks = [linear.register_forward_pre_hook(add_inputs) for linear in linears]
    training = model.training
    model.eval()
    with torch.no_grad():
        for batch in calibration.batches(device):
            mask = batch.inputs.get("attention_mask")
            real[0] = None if mask is None else mask.bool()
            model(**batch.inputs)
    model.train(training)
    for hook in hooks:
        hook.remove()
    return {linear: _compute_root(total) for linear, total in sums.items()}


def _compute_root(total: Tensor) -> Tensor:
    ridge = RIDGE * total.diagonal().mean().clamp(min=torch.finfo(total.dtype).tiny)
    root: Tensor = torch.linalg.cholesky(total + ridge * torch.eye(len(total), dtype=total.dtype, device=total.device))
    return root
