"""Importance of heads, neurons and layers: the gradient of the loss, or the norm of the weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from pipeline.compression.calibration import Calibration
from pipeline.models.bert_layers import get_input_linear, get_output_linear
from pipeline.models.low_rank_layers import LowRankLinear
from pipeline.training.task_loss import compute_task_loss


def compute_input_importance(
    model: nn.Module, calibration: Calibration, inputs: Sequence[tuple[nn.Module, int]]
) -> list[Tensor]:
    """Return E|dL/dxi| of the parts of each input, one tensor (parts,) for each pair of module and number of parts.

    xi is 1 and scales one part, such as a head, for one example. So dL/dxi is the sum of a * dL/da over the part and
    the example's tokens (Michel et al. 2019, section 4.1; Molchanov et al. 2019 for neurons). L is the task's loss of
    the example, without dropout. The mean is over the calibration. A module in several layers gets the sum.
    """
    scales: list[list[Tensor]] = [[] for _ in inputs]
    hooks = [
        module.register_forward_pre_hook(partial(_scale_input, parts=parts, scales=uses))
        for (module, parts), uses in zip(inputs, scales, strict=True)
    ]
    return _compute_slopes(model, calibration, hooks, scales)


def compute_layer_importance(model: nn.Module, calibration: Calibration, layers: Sequence[nn.Module]) -> list[Tensor]:
    """Return E|<output - input, dL/d output>| of each layer, (1,): its first-order effect on the loss."""
    scales: list[list[Tensor]] = [[] for _ in layers]
    hooks = [
        layer.register_forward_hook(partial(_scale_change, scales=uses))
        for layer, uses in zip(layers, scales, strict=True)
    ]
    return _compute_slopes(model, calibration, hooks, scales)


def _scale_input(module: nn.Module, inputs: tuple[Tensor, ...], parts: int, scales: list[Tensor]) -> tuple[Tensor]:
    states = inputs[0]
    scales.append(states.new_ones(len(states), parts, requires_grad=True))
    return ((states.view(*states.shape[:-1], parts, -1) * scales[-1][:, None, :, None]).flatten(-2),)


def _scale_change(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor, scales: list[Tensor]) -> Tensor:
    scales.append(output.new_ones(len(output), 1, requires_grad=True))
    return inputs[0] + scales[-1][:, :, None] * (output - inputs[0])


def _compute_slopes(
    model: Any, calibration: Calibration, hooks: Sequence[RemovableHandle], scales: list[list[Tensor]]
) -> list[Tensor]:
    """Return the mean absolute gradient of the loss with respect to ``scales``, which the hooks append to."""
    sums, examples, training = [torch.zeros(1)] * len(scales), 0, model.training
    model.eval()
    try:
        for batch in calibration.batches(next(model.parameters()).device):
            loss = compute_task_loss(model(**batch.inputs).logits, batch.labels)
            slopes = iter(torch.autograd.grad(loss, [scale for uses in scales for scale in uses]))
            for number, uses in enumerate(scales):
                for _ in uses:  # the loss is a mean over rows, so a row's own slope is len(batch) times larger
                    sums[number] = sums[number] + len(batch) * next(slopes).abs().sum(0).cpu()
                uses.clear()
            examples += len(batch)
    finally:
        for hook in hooks:
            hook.remove()
        model.train(training)
    return [total / examples for total in sums]


def sum_row_squares(module: nn.Module, parts: int) -> Tensor:
    """Return the sum of squares of each of ``parts`` equal blocks of a Linear's outputs, (parts,)."""
    return _compose_weight(module).square().sum(1).view(parts, -1).sum(1)


def sum_column_squares(module: nn.Module, parts: int) -> Tensor:
    """Return the sum of squares of each of ``parts`` equal blocks of a Linear's inputs, (parts,)."""
    return _compose_weight(module).square().sum(0).view(parts, -1).sum(1)


def _compose_weight(module: nn.Module) -> Tensor:
    first, last = get_input_linear(module).weight.detach(), get_output_linear(module).weight.detach()
    return last @ first if isinstance(module, LowRankLinear) else last
