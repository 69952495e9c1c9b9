"""Linears whose weights are int8, by torchao: the only file that imports it, and only where a model is quantised.

Weights have one scale for each output, symmetric and without calibration: w ~= scale * q with q from -127 to 127, so
that an entry is off by half a scale at most. ``int8-dynamic`` rounds the activations as well, one scale for each token
as it comes, and multiplies in integers; ``int8-weight-only`` multiplies in floating point.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from pipeline.core.errors import UserError
from pipeline.models import bert_layers
from pipeline.system import hardware

DYNAMIC, WEIGHT_ONLY = "int8-dynamic", "int8-weight-only"
TENSOR_NAMES = ("qdata", "scale")  # of a weight; its zero points are zeros, for the rounding is symmetric
MIN_NARROW = -64  # of the int8 numbers where products are added up in 16 bits
IGNORED_LOGS = {  # what the import logs wherever a GPU's kernels do not load, and of torch's own future
    "torchao": "Failed to load",
    "torch.utils._pytree": "is an Enum subclass",
}


def get_int8_kind(model: nn.Module) -> str | None:
    """Return ``int8-dynamic`` or ``int8-weight-only``, or None for a model without int8 weights."""
    for weight in _find_int8_weights(model).values():
        return WEIGHT_ONLY if weight.act_quant_kwargs is None else DYNAMIC
    return None


def convert_to_int8(model: nn.Module, kind: str) -> None:
    """Turn the Linears of the encoder's layers into int8 of a ``kind``, in place and on the device where they lie.

    The pooler and the head stay as they are: they see one token of an example, which saves no time, hold little, and
    what they are off by nothing after them evens out.
    Raises UserError for a model whose layers are not BERT's, and whatever torchao raises where it cannot do it.
    """
    if sys.modules.get("torchao", sys) is None:  # barred by the package
        del sys.modules["torchao"]
    with _filter_logs():
        from torchao import quantization  # type: ignore[import-untyped]
    for linear in bert_layers.list_linears(model):
        if kind == DYNAMIC:
            narrow = hardware.has_int8_overflow(linear.weight.device)
            config: Any = quantization.Int8DynamicActivationInt8WeightConfig(
                set_inductor_config=False, reduce_range=narrow
            )
        else:
            config = quantization.Int8WeightOnlyConfig(set_inductor_config=False)
        quantization.quantize_(linear, config)


def collect_int8_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return what int8 weights consist of, each shared one once: ``<weight>.qdata`` and ``<weight>.scale``."""
    return {
        f"{name}.{inner}": getattr(weight, inner)
        for name, weight in _find_int8_weights(model).items()
        for inner in TENSOR_NAMES
    }


def load_int8_tensors(model: nn.Module, kind: str, tensors: Mapping[str, Tensor]) -> None:
    """Quantise a freshly built model as the saved one was and give it the saved ``tensors``: the same outputs exactly.

    Raises UserError when a tensor is missing or of another shape or type than the model asks for, or holds numbers
    that this processor cannot add up.
    """
    convert_to_int8(model, kind)
    for name, weight in _find_int8_weights(model).items():
        for inner in TENSOR_NAMES:
            to, given = getattr(weight, inner), tensors.get(f"{name}.{inner}")
            if given is None or (given.shape, given.dtype) != (to.shape, to.dtype):
                what = "missing" if given is None else f"{_format_tensor(given)} in place of {_format_tensor(to)}"
                raise UserError(f"{name}.{inner} of the int8 weights is {what}")
            to.copy_(given)
        if kind == DYNAMIC and weight.reduce_range and weight.qdata.amin() < MIN_NARROW:
            raise UserError(
                f"{name} was made int8 on other hardware, in a range whose products overflow on this processor; "
                "compress the model again here, or without activations"
            )


def _find_int8_weights(model: nn.Module) -> dict[str, Any]:
    return {name: weight for name, weight in model.named_parameters() if hasattr(weight, "qdata")}


def _format_tensor(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"


@contextmanager
def _filter_logs() -> Iterator[None]:
    """Keep torchao's import from logging about kernels that are not for this machine."""
    undo = []
    for name, said in IGNORED_LOGS.items():
        logger = logging.getLogger(name)
        hush = lambda record, said=said: said not in record.getMessage()  # noqa: E731
        logger.addFilter(hush)
        undo.append((logger, hush))
    try:
        yield
    finally:
        for logger, hush in undo:
            logger.removeFilter(hush)
