"""Quantisation: the weights of the encoder's layers in int8, and the activations too where they are asked for."""

from __future__ import annotations

import copy
from typing import Any

import torch

from pipeline.compression import method_checks
from pipeline.compression.calibration import Compressed, agreed, parameters
from pipeline.models import bert_layers, quantised_layers

KINDS = {"dynamic": quantised_layers.DYNAMIC, "none": quantised_layers.WEIGHT_ONLY}
PROBES = ((1, 1), (2, 7))  # rows and tokens of what the quantised model is asked once, to see that it answers


def int8(model: Any, activations: str) -> Compressed:
    """Quantise the Linears of the encoder's layers; embeddings, norms, biases, pooler and head stay in fp32.

    ``activations`` is dynamic, which rounds them as well as they come, or none. Nothing is calibrated. This comes last
    of all steps, for int8 weights are not trained and not cut. Where torchao cannot serve the model on the device on
    which it lies, the model stays as it is and that is what is told, with torchao's own words. Raises UserError for an
    argument that is not allowed and for int8 weights.
    """
    agreed(model, method_checks.int8, activations=activations)
    plain, linears = copy.deepcopy(model), bert_layers.linears(model)
    try:
        quantised_layers.quantise(model, KINDS[activations])
        _probe(model)
    except torch.OutOfMemoryError:
        raise
    except (NotImplementedError, RuntimeError, AssertionError, ImportError) as error:
        device = next(model.parameters()).device.type
        words = str(error).strip().splitlines() or [type(error).__name__]
        told = f"nothing, and the weights stay fp32: torchao cannot serve {KINDS[activations]} on {device}: {words[0]}"
        return Compressed(plain, told)
    total = parameters(model)
    weights = sum(linear.weight.numel() for linear in linears)
    told = "and the activations before them " if activations == "dynamic" else ""
    return Compressed(
        model,
        f"{len(linears)} Linears {told}in int8, {weights:,} of {total:,} parameters ({weights / total:.1%}); "
        "the embeddings and all else stay fp32",
    )


@torch.no_grad()
def _probe(model: Any) -> None:
    for shape in PROBES:
        model(input_ids=torch.zeros(shape, dtype=torch.long, device=next(model.parameters()).device))
