"""Linears with int8 weights by torchao, which is imported here only, and only for quantised models.

Weights have one symmetric scale per output and need no calibration: w ~= scale * q with q from -127 to 127, so the
error of an entry is at most half a scale. ``int8-dynamic`` also rounds activations, with one scale per token, and
multiplies integers; ``int8-weight-only`` multiplies in floating point.
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
TENSOR_NAMES = ("qdata", "scale")  # of a weight; the zero points of symmetric rounding are 0
MIN_NARROW = -64  # smallest int8 weight if products are accumulated in 16 bits
IGNORED_LOGS = {  # logged on import about GPU kernels that cannot be loaded, and about a deprecation in torch
    "torchao": "Failed to load",
    "torch.utils._pytree": "is an Enum subclass",
}


def get_int8_kind(model: nn.Module) -> str | None:
    """Return ``int8-dynamic`` or ``int8-weight-only``, or None for a model without int8 weights."""
    for weight in _find_int8_weights(model).values():
        return WEIGHT_ONLY if weight.act_quant_kwargs is None else DYNAMIC
    return None


def convert_to_int8(model: nn.Module, kind: str) -> None:
    """Convert the Linears of the encoder's layers to int8 of a ``kind``, in place and on their device.

    Pooler and head stay in floating point: they process one token per example and are small, so that int8 would save
    nothing, and no later layer compensates their errors.
    Raises UserError for a model without BERT's module names, and errors of torchao.
    """
    if sys.modules.get("torchao", sys) is None:  # set by pipeline/__init__.py to block the import
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
    """Return the tensors of distinct int8 weights: ``<weight>.qdata`` and ``<weight>.scale``."""
    return {
        f"{name}.{inner}": getattr(weight, inner)
        for name, weight in _find_int8_weights(model).items()
        for inner in TENSOR_NAMES
    }


def load_int8_tensors(model: nn.Module, kind: str, tensors: Mapping[str, Tensor]) -> None:
    """Convert a model to int8 and load the saved ``tensors``, which restores identical outputs.

    Raises UserError if a tensor is missing, has another shape or type, or contains numbers whose products overflow on
    this processor.
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
    """Suppress log messages of torchao's import about kernels for other hardware."""
    undo = []
    for name, text in IGNORED_LOGS.items():
        logger = logging.getLogger(name)
        log_filter = lambda record, text=text: text not in record.getMessage()  # noqa: E731
        logger.addFilter(log_filter)
        undo.append((logger, log_filter))
    try:
        yield
    finally:
        for logger, log_filter in undo:
            logger.removeFilter(log_filter)
