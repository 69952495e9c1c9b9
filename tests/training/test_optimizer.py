"""AdamW and its schedule against closed forms and transformers."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from transformers.models.bert.modeling_bert import BertForSequenceClassification
from transformers.optimization import get_linear_schedule_with_warmup
from transformers.trainer_pt_utils import get_parameter_names

from pipeline.training import optimizer


def test_the_first_update_is_that_of_the_paper() -> None:
    """With bias correction the first step is rate * sign(gradient), and decay is apart from it (Algorithm 2)."""
    model = nn.Linear(3, 2)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for weight in model.parameters():
        weight.grad = torch.randn_like(weight)
    optimizer.create_adamw(model, learning_rate=0.01, weight_decay=0.1).step()
    for name, weight in model.named_parameters():
        kept = before[name] * ((1 - 0.01 * 0.1) if name == "weight" else 1)
        assert weight.grad is not None
        torch.testing.assert_close(weight.detach(), kept - 0.01 * weight.grad.sign())


@pytest.mark.parametrize("clip", [1e-2, 1e3])
def test_a_clipped_step_is_clipping_and_then_a_step(
    bert: Callable[..., BertForSequenceClassification], clip: float
) -> None:
    ours, theirs = bert(), bert()
    quick, plain = (optimizer.create_adamw(model, 1e-3, 0.1) for model in (ours, theirs))
    for update in range(4):
        torch.manual_seed(update)
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        ours.classifier.bias.grad = theirs.classifier.bias.grad = None
        quick.apply_gradients(clip)
        nn.utils.clip_grad_norm_(theirs.parameters(), clip)
        plain.step()
    assert all(weight.grad is None for weight in ours.parameters())
    assert ours.classifier.bias not in quick.state
    expected = theirs.state_dict()
    for name, weight in ours.state_dict().items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-5, atol=1e-6)


def test_what_decays_is_what_transformers_lets_decay(bert: Callable[..., BertForSequenceClassification]) -> None:
    model = bert()
    names = {id(weight): name for name, weight in model.named_parameters()}
    groups = optimizer.create_adamw(model, 1e-3, 0.01).param_groups
    decayed = {names[id(weight)] for group in groups if group["weight_decay"] for weight in group["params"]}
    assert decayed == set(get_parameter_names(model, [nn.LayerNorm], ["bias"]))
    assert sum(len(group["params"]) for group in groups) == len(names)


def test_the_rate_falls_as_that_of_transformers() -> None:
    updates, rising = 50, 5
    weight = nn.Parameter(torch.zeros(1))
    theirs = get_linear_schedule_with_warmup(torch.optim.SGD([weight], lr=1.0), rising, updates)
    ours = [optimizer.compute_rate_share(update, updates, 0.1) for update in range(updates)]
    for update in range(updates):
        if update >= rising:
            assert ours[update] == pytest.approx(theirs.get_last_lr()[0])
        theirs.optimizer.step()
        theirs.step()
    assert ours[:rising] == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])
    assert max(ours) == ours[rising] == 1
    assert min(ours) > 0


def test_without_warmup_the_rate_starts_at_its_height() -> None:
    assert [optimizer.compute_rate_share(update, 4, 0.0) for update in range(4)] == [1, 0.75, 0.5, 0.25]


def test_what_decay_leaves_is_what_adamw_leaves_of_a_weight_without_gradient() -> None:
    model = nn.Linear(3, 2, bias=False).double()
    before = model.weight.detach().clone()
    adamw = optimizer.create_adamw(model, learning_rate=0.1, weight_decay=0.5)
    for update in range(20):
        adamw.param_groups[0]["lr"] = 0.1 * optimizer.compute_rate_share(update, 20, 0.1)
        model.weight.grad = torch.zeros_like(model.weight)
        adamw.step()
    left = optimizer.compute_total_decay(0.1, 0.5, total_steps=20, warmup=0.1)
    torch.testing.assert_close(model.weight.detach(), before * left)
    assert math.exp(-0.05 * 12) < left < math.exp(-0.05 * 9)
