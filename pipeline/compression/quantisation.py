"""Quantisation: the weights of the encoder's layers become int8, and optionally the activations (torchao)."""

from __future__ import annotations

import copy
from typing import Any

from pipeline.compression.argument_checks import EncoderShape, check_choice
from pipeline.compression.compressed_model import CompressedModel, count_parameters, validate_for_model

MUST_BE_LAST = True  # int8 weights can be neither trained nor pruned
PROBE_SHAPES = ((1, 1), (2, 7))  # rows and tokens of two batches that the quantised model must accept


def check(shape: EncoderShape | None, activations: object) -> list[str]:
    """Return the mistakes in the arguments of ``apply``."""
    return check_choice("activations", activations, ("dynamic", "none"))


def apply(model: Any, activations: str) -> CompressedModel:
    """Quantise the Linears of the encoder's layers; embeddings, norms, biases, pooler and head stay in fp32.

    ``activations`` is ``dynamic``, which rounds them at run time, or ``none``. No calibration is needed. If torchao
    does not support the model on its device, the model stays as it is, and the description has torchao's message.
    Raises UserError for invalid arguments and for int8 weights.
    """
    import torch

    from pipeline.models import bert_layers, quantised_layers

    validate_for_model(model, check, activations=activations)
    kind = quantised_layers.DYNAMIC if activations == "dynamic" else quantised_layers.WEIGHT_ONLY
    original, linears = copy.deepcopy(model), bert_layers.list_linears(model)
    try:
        quantised_layers.convert_to_int8(model, kind)
        _run_probes(model)
    except torch.OutOfMemoryError:
        raise
    except (NotImplementedError, RuntimeError, AssertionError, ImportError) as error:
        device = next(model.parameters()).device.type
        message = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return CompressedModel(
            original, f"nothing, and the weights stay fp32: torchao cannot serve {kind} on {device}: {message}"
        )
    total = count_parameters(model)
    weights = sum(linear.weight.numel() for linear in linears)
    inputs = "and the activations before them " if activations == "dynamic" else ""
    return CompressedModel(
        model,
        f"{len(linears)} Linears {inputs}in int8, {weights:,} of {total:,} parameters ({weights / total:.1%}); "
        "the embeddings and all else stay fp32",
    )


def _run_probes(model: Any) -> None:
    import torch

    with torch.no_grad():
        for shape in PROBE_SHAPES:
            model(input_ids=torch.zeros(shape, dtype=torch.long, device=next(model.parameters()).device))
