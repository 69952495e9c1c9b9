"""What a compressed model's file holds: each tied tensor once, the parts of int8 weights, and sparse weights packed.

A sparse weight is a bit for each entry, ``<name>.mask``, and those entries that are not zero, ``<name>.values``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.models import quantised_layers, sparse_masks

MASK, VALUES = ".mask", ".values"
HEADER_BYTES = 120  # bytes that one more tensor takes in the header of a file, about


class TensorMatch(NamedTuple):
    """Names of tensors of the model that were not stored, or in another shape, and of stored ones without a place."""

    missing: set[str]
    other_shape: set[str]
    unexpected: set[str]


def collect_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return what is to be stored of a model, on the CPU, under the first of a tensor's names."""
    inner = quantised_layers.collect_int8_tensors(model)
    sparse = sparse_masks.find_sparse_weights(model)
    held = {}
    for name, tensor in {**_collect_float_tensors(model, inner), **inner}.items():
        stored = tensor.detach().cpu().contiguous()
        held.update(_encode_sparse(name, stored) if name in sparse else {name: stored})
    return held


def load_tensors(model: nn.Module, stored: Mapping[str, Tensor], kind: str | None) -> TensorMatch:
    """Copy what ``tensors`` returned into a model of the same structure, int8 weights of ``kind`` included.

    Raises UserError where the int8 weights are not those of the model.
    """
    if kind is not None:
        quantised_layers.load_int8_tensors(model, kind, stored)
    inner = quantised_layers.collect_int8_tensors(model)
    fit = TensorMatch(set(), set(), set(stored) - set(inner))
    for name, tensor in _collect_float_tensors(model, inner).items():
        value = _get_stored(name, tensor.shape, stored)
        if value is None:
            fit.missing.add(name)
        elif value.shape != tensor.shape:
            fit.other_shape.add(name)
        else:
            tensor.detach().copy_(value)
        fit.unexpected.difference_update((name, f"{name}{MASK}", f"{name}{VALUES}"))
    return fit


def _collect_float_tensors(model: nn.Module, inner: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a model in floating point, each once by the first of its names."""
    int8 = {name.rpartition(".")[0] for name in inner}
    found: dict[int, tuple[str, Tensor]] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        found.setdefault(id(tensor), (name, tensor))
    return {name: tensor for name, tensor in found.values() if name not in int8}


def _encode_sparse(name: str, weight: Tensor) -> dict[str, Tensor]:
    """Return mask and values of a weight, or the weight itself where they would take no fewer bytes."""
    flat = weight.flatten()
    kept = flat != 0
    mask = torch.from_numpy(np.packbits(kept.numpy()))
    values = flat[kept]
    if mask.nbytes + values.nbytes + HEADER_BYTES >= weight.nbytes:
        return {name: weight}
    return {f"{name}{MASK}": mask, f"{name}{VALUES}": values}


def _get_stored(name: str, shape: torch.Size, stored: Mapping[str, Tensor]) -> Tensor | None:
    mask, values = stored.get(f"{name}{MASK}"), stored.get(f"{name}{VALUES}")
    if mask is None or values is None:
        return stored.get(name)
    return _decode_sparse(mask, values, shape)


def _decode_sparse(mask: Tensor, values: Tensor, shape: torch.Size) -> Tensor:
    """Return the weight of ``shape`` that was packed, the values alone where they are not those of such a one."""
    size = shape.numel()
    if mask.dtype != torch.uint8 or mask.shape != (-(-size // 8),):
        return values
    kept = torch.from_numpy(np.unpackbits(mask.numpy(), count=size)).bool()
    if values.shape != (int(kept.sum()),):
        return values
    weight = values.new_zeros(size)
    weight[kept] = values
    return weight.view(shape)
