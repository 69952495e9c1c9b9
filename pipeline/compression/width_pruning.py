"""Width pruning: the least important neurons of each feed-forward are removed (Molchanov et al. 2019)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline.compression.argument_checks import IMPORTANCES, EncoderShape, check_choice, check_share
from pipeline.compression.compressed_model import CompressedModel, count_parameters, validate_for_model
from pipeline.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from pipeline.compression.calibration import Calibration


def check(shape: EncoderShape | None, remove: object, importance: object) -> list[str]:
    """Return the mistakes in the arguments of ``apply``."""
    mistakes = [*check_share("remove", remove, "of the width"), *check_choice("importance", importance, IMPORTANCES)]
    if not mistakes and shape and isinstance(remove, float):
        left = shape.intermediate - round(remove * shape.intermediate)
        if left < 1 or left == shape.intermediate:
            word = "nothing" if left < 1 else "all of them"
            mistakes.append(f"remove: {remove} of {shape.intermediate} leaves {word}")
    return mistakes


def apply(model: Any, calibration: Calibration, remove: float, importance: str) -> CompressedModel:
    """Remove the share ``remove`` of the neurons of each feed-forward, the least important within it.

    ``importance`` is ``gradient``, E|a * dL/da| of a neuron's activation (Molchanov et al. 2019), or ``magnitude``, the
    L2 norm of its weights. Layers that share their feed-forward lose the same neurons. Raises UserError for invalid
    arguments.
    """
    from pipeline.compression.importance import compute_input_importance
    from pipeline.models import bert_layers, layer_surgery

    validate_for_model(model, check, remove=remove, importance=importance)
    before = count_parameters(model)
    pairs = list(
        dict.fromkeys((layer.module.intermediate, layer.module.output) for layer in bert_layers.list_layers(model))
    )
    widths = [bert_layers.get_input_linear(output.dense).in_features for _, output in pairs]
    for size in widths:
        if not 0 < round(remove * size) < size:
            raise UserError(f"remove: {remove} of the {size} neurons that are left is {round(remove * size)}")
    if importance == "gradient":
        inputs = [(output.dense, size) for (_, output), size in zip(pairs, widths, strict=True)]
        scores = compute_input_importance(model, calibration, inputs)
    else:
        scores = [_compute_norms(*pair, size) for pair, size in zip(pairs, widths, strict=True)]
    for (intermediate, output), score in zip(pairs, scores, strict=True):
        neurons = score.argsort(stable=True)[round(remove * len(score)) :].sort().values.tolist()
        layer_surgery.select_neurons(intermediate, output, neurons)
    return CompressedModel(
        model,
        f"{sum(round(remove * size) for size in widths)} of {sum(widths)} neurons removed by {importance}; "
        f"{before:,} -> {count_parameters(model):,} parameters",
    )


def _compute_norms(intermediate: Any, output: Any, size: int) -> Tensor:
    """Return the L2 norm of each neuron's incoming and outgoing weights, (size,)."""
    from pipeline.compression.importance import sum_column_squares, sum_row_squares

    return (sum_row_squares(intermediate.dense, size) + sum_column_squares(output.dense, size)).sqrt()
