"""Layer removal: the least important layers of the encoder are removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.compression.argument_checks import IMPORTANCES, EncoderShape, check_choice
from pipeline.compression.compressed_model import CompressedModel, count_parameters, validate_for_model
from pipeline.core.validators import is_whole

if TYPE_CHECKING:
    from torch import nn

    from pipeline.compression.calibration import Calibration


def check(shape: EncoderShape | None, remove: object, importance: object) -> list[str]:
    """Return the mistakes in the arguments of ``apply``."""
    mistakes = check_choice("importance", importance, IMPORTANCES)
    if not is_whole(remove, 1):
        return [*mistakes, f"remove: got {remove!r}; write a whole number from 1, below the number of layers"]
    if shape and remove >= shape.layers:
        return [*mistakes, f"remove: got {remove} of {shape.layers} layers; use at most {shape.layers - 1}"]
    return mistakes


def apply(model: Any, calibration: Calibration, remove: int, importance: str) -> CompressedModel:
    """Remove the ``remove`` least important layers.

    ``importance`` is ``gradient``, E|<output - input, dL/d output>|, or ``magnitude``, the L2 norm of all weights of
    the layer. Raises UserError for invalid arguments.
    """
    import torch

    from pipeline.compression.importance import compute_layer_importance
    from pipeline.models import bert_layers, layer_surgery

    validate_for_model(model, check, remove=remove, importance=importance)
    before = count_parameters(model)
    modules: list[nn.Module] = [layer.module for layer in bert_layers.list_layers(model)]
    if importance == "gradient":
        scores = torch.cat(compute_layer_importance(model, calibration, modules))
    else:
        scores = torch.stack([torch.nn.utils.get_total_norm(module.parameters()).detach() for module in modules])
    order = scores.argsort(stable=True).tolist()
    layer_surgery.select_layers(model, sorted(order[remove:]))
    numbers = ", ".join(str(number + 1) for number in sorted(order[:remove]))
    return CompressedModel(
        model,
        f"of {len(modules)} layers {numbers} removed by {importance}; "
        f"{before:,} -> {count_parameters(model):,} parameters",
    )
