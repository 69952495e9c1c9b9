"""Tensors of a compressed model's file: tied tensors once, the parts of int8 weights, sparse weights packed.

A sparse weight is stored as a bit mask, ``<name>.mask``, and its nonzero entries, ``<name>.values``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.models import quantised_layers, sparse_masks

MASK, VALUES = ".mask", ".values"
HEADER_BYTES = 120  # approximate size of a tensor's entry in the header of a file


class TensorMatch(NamedTuple):
    """Names of tensors that the file lacks, has in another shape, or has in addition to the model's."""

    missing: set[str]
    other_shape: set[str]
    unexpected: set[str]


def collect_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the tensors to store, on the CPU; a tied tensor has the first of its names."""
    inner = quantised_layers.collect_int8_tensors(model)
    sparse = sparse_masks.find_sparse_weights(model)
    stored = {}
    for name, tensor in {**_collect_float_tensors(model, inner), **inner}.items():
        value = tensor.detach().cpu().contiguous()
        stored.update(_encode_sparse(name, value) if name in sparse else {name: value})
    return stored


def load_tensors(model: nn.Module, stored: Mapping[str, Tensor], kind: str | None) -> TensorMatch:
    """Load the result of ``collect_tensors`` into a model of the same structure, with int8 weights of ``kind``.

    Raises UserError if the int8 weights do not match the model.
    """
    if kind is not None:
        quantised_layers.load_int8_tensors(model, kind, stored)
    inner = quantised_layers.collect_int8_tensors(model)
    match = TensorMatch(set(), set(), set(stored) - set(inner))
    for name, tensor in _collect_float_tensors(model, inner).items():
        value = _get_stored(name, tensor.shape, stored)
        if value is None:
            match.missing.add(name)
        elif value.shape != tensor.shape:
            match.other_shape.add(name)
        else:
            tensor.detach().copy_(value)
        match.unexpected.difference_update((name, f"{name}{MASK}", f"{name}{VALUES}"))
    return match


def _collect_float_tensors(model: nn.Module, inner: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the distinct floating-point tensors of a model by the first of their names."""
    int8 = {name.rpartition(".")[0] for name in inner}
    by_id: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        by_id.setdefault(id(tensor), (name, tensor))
    return {name: tensor for name, tensor in by_id.values() if name not in int8}


def _encode_sparse(name: str, weight: Tensor) -> dict[str, Tensor]:
    """Return mask and values of a weight, or the weight itself if that takes fewer bytes."""
    flat = weight.flatten()
    nonzero = flat != 0
    mask = torch.from_numpy(np.packbits(nonzero.numpy()))
    values = flat[nonzero]
    if mask.nbytes + values.nbytes + HEADER_BYTES >= weight.nbytes:
        return {name: weight}
    return {f"{name}{MASK}": mask, f"{name}{VALUES}": values}


def _get_stored(name: str, shape: torch.Size, stored: Mapping[str, Tensor]) -> Tensor | None:
    mask, values = stored.get(f"{name}{MASK}"), stored.get(f"{name}{VALUES}")
    if mask is None or values is None:
        return stored.get(name)
    return _decode_sparse(mask, values, shape)


def _decode_sparse(mask: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    """Return the weight of ``shape``, or the values if they do not fit it; the caller reports their shape."""
    size = shape.numel()
    if mask.dtype != torch.uint8 or mask.shape != (-(-size // 8),):
        return values
    nonzero = torch.from_numpy(np.unpackbits(mask.numpy(), count=size)).bool()
    if values.shape != (int(nonzero.sum()),):
        return values
    weight = values.new_zeros(size)
    weight[nonzero] = values
    return weight.view(shape)
