"""How much heads, neurons and layers matter: by the size of their weights, or by what the loss says of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from pipeline.compression.calibration import Calibration
from pipeline.models.bert_layers import reading, writing
from pipeline.models.low_rank_layers import Factorised
from pipeline.training.objective import objective


def of_inputs(model: nn.Module, calibration: Calibration, places: Sequence[tuple[nn.Module, int]]) -> list[Tensor]:
    """Return E|dL/dxi| for parts of the inputs of modules, (parts,) for each of ``places``, a module and its parts.

    xi is 1 and scales one part, such as a head, for one example, so dL/dxi is the sum of a * dL/da over the part and
    the example's tokens (Michel et al. 2019, section 4.1; Molchanov et al. 2019 for neurons). L is the task's loss of
    the example, without dropout; the mean is over the calibration. A module that is used in several layers has the sum.
    """
    scales: list[list[Tensor]] = [[] for _ in places]
    hooks = [
        module.register_forward_pre_hook(partial(_scale_input, parts=parts, into=into))
        for (module, parts), into in zip(places, scales, strict=True)
    ]
    return _sensitivity(model, calibration, hooks, scales)


def of_layers(model: nn.Module, calibration: Calibration, layers: Sequence[nn.Module]) -> list[Tensor]:
    """Return E|<output - input, dL/d output>| of each layer, (1,): to the first order what the loss has from it."""
    scales: list[list[Tensor]] = [[] for _ in layers]
    hooks = [
        layer.register_forward_hook(partial(_scale_change, into=into))
        for layer, into in zip(layers, scales, strict=True)
    ]
    return _sensitivity(model, calibration, hooks, scales)


def _scale_input(module: nn.Module, inputs: tuple[Tensor, ...], parts: int, into: list[Tensor]) -> tuple[Tensor]:
    states = inputs[0]
    into.append(states.new_ones(len(states), parts, requires_grad=True))
    return ((states.view(*states.shape[:-1], parts, -1) * into[-1][:, None, :, None]).flatten(-2),)


def _scale_change(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, into: list[Tensor]) -> Tensor:
    into.append(output.new_ones(len(output), 1, requires_grad=True))
    return inputs[0] + into[-1][:, :, None] * (output - inputs[0])


def _sensitivity(
    model: Any, calibration: Calibration, hooks: Sequence[RemovableHandle], scales: list[list[Tensor]]
) -> list[Tensor]:
    """Return the mean over the examples of the loss's absolute slopes along ``scales``, which ``hooks`` fill."""
    sums, rows, training = [torch.zeros(1)] * len(scales), 0, model.training
    model.eval()
    try:
        for batch in calibration.batches(next(model.parameters()).device):
            loss = objective(model(**batch.inputs).logits, batch.labels)
            slopes = iter(torch.autograd.grad(loss, [scale for uses in scales for scale in uses]))
            for number, uses in enumerate(scales):
                for _ in uses:  # the loss is the mean of the rows', so a row's own slope is as many times larger
                    sums[number] = sums[number] + len(batch) * next(slopes).abs().sum(0).cpu()
                uses.clear()
            rows += len(batch)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
    return [total / rows for total in sums]


def rows(module: nn.Module, parts: int) -> Tensor:
    """Return the sum of squares of each of ``parts`` equal blocks of a Linear's outputs, (parts,)."""
    return _weight(module).square().sum(1).view(parts, -1).sum(1)


def columns(module: nn.Module, parts: int) -> Tensor:
    """Return the sum of squares of each of ``parts`` equal blocks of a Linear's inputs, (parts,)."""
    return _weight(module).square().sum(0).view(parts, -1).sum(1)


def _weight(module: nn.Module) -> Tensor:
    first, last = reading(module).weight.detach(), writing(module).weight.detach()
    return last @ first if isinstance(module, Factorised) else last
