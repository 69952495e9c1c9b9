"""Zeros that stay zero in training, where there are enough of them to be meant."""

from typing import Any

import pytest
import torch
from torch import nn

from pipeline.models.sparse_masks import find_sparse_weights, freeze_zeros
from pipeline.training import optimizer


def linear(share: float) -> nn.Sequential:
    """Return a Linear of 20 x 50 with a share of zeros, and a dense one behind it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(50, 20), nn.Linear(20, 2))
    model[0].weight.data.view(-1)[: round(share * 1000)] = 0.0
    return model


def trained(model: nn.Module) -> Any:
    adamw = optimizer.create_adamw(model, 0.1, 0.1)
    for _ in range(3):
        model(torch.randn(8, 50)).square().sum().backward()
        adamw.step()
        adamw.zero_grad()
    return model


def test_zeros_stay_and_the_rest_is_trained() -> None:
    model = linear(0.5)
    before = model[0].weight.detach().clone()
    with freeze_zeros(model):
        trained(model)
    assert torch.equal(model[0].weight == 0, before == 0)
    assert not (model[0].weight == before)[before != 0].any()


def test_zeros_move_without_it_and_after_it() -> None:
    model = linear(0.5)
    with freeze_zeros(model):
        pass
    assert not (trained(model)[0].weight == 0).any()


@pytest.mark.parametrize(("share", "found"), [(0.0, []), (0.01, ["0.weight"])])
def test_weights_are_sparse_from_a_few_zeros_on(share: float, found: list[str]) -> None:
    assert list(find_sparse_weights(linear(share))) == found


def test_frozen_weights_need_no_mask() -> None:
    model = linear(0.5).requires_grad_(False)
    with freeze_zeros(model):
        assert list(find_sparse_weights(model)) == ["0.weight"]


def test_a_shared_linear_is_named_once() -> None:
    model = linear(0.5)
    assert list(find_sparse_weights(nn.ModuleDict({"one": model, "other": model}))) == ["one.0.weight"]
