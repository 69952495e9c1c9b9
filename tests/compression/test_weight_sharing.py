"""Layers that share weights: which of them, what they become, and that they stay one."""

from typing import Any

import pytest
import torch

from pipeline.compression import weight_sharing
from pipeline.compression.compressed_model import count_parameters
from pipeline.core.errors import UserError
from pipeline.models.layer_surgery import replace_module, select_heads
from pipeline.models.low_rank_layers import LowRankLinear
from pipeline.training import optimizer

ATTENTION = 4 * (32 * 32 + 32) + 2 * 32  # parameters, the layer norm included
FEED_FORWARD = 32 * 48 + 48 + 48 * 32 + 32 + 2 * 32


def storages(model: Any) -> list[list[int]]:
    """Return where each layer's tensors lie."""
    return [[tensor.data_ptr() for tensor in layer.parameters()] for layer in model.bert.encoder.layer]


@pytest.mark.parametrize(
    ("parts", "groups", "saved"),
    [
        ("all", 1, 3 * (ATTENTION + FEED_FORWARD)),
        ("all", 2, 2 * (ATTENTION + FEED_FORWARD)),
        ("attention", 2, 2 * ATTENTION),
        ("feed_forward", 1, 3 * FEED_FORWARD),
        ("all", 3, ATTENTION + FEED_FORWARD),
    ],
)
def test_parameters_are_fewer_by_those_that_are_shared(bert: Any, parts: str, groups: int, saved: int) -> None:
    model = bert()
    before = count_parameters(model)
    weight_sharing.apply(model, parts, groups, "first")
    assert before - count_parameters(model) == saved


def test_what_changed_is_told_in_numbers(bert: Any) -> None:
    changed = weight_sharing.apply(bert(), "feed_forward", 2, "mean").changed
    before = 60 * 32 + 32 * 32 + 2 * 32 + 2 * 32 + 4 * (ATTENTION + FEED_FORWARD) + 32 * 32 + 32 + 2 * 32 + 2
    assert changed == (
        "4 layers use 2 sets of weights for feed-forward, the mean of each group; "
        f"{before:,} -> {before - 2 * FEED_FORWARD:,} parameters"
    )


def test_neighbours_share_and_groups_are_of_nearly_equal_size(bert: Any) -> None:
    model = weight_sharing.apply(bert(num_hidden_layers=5), "all", 2, "first").model
    lies = storages(model)
    assert [lies.index(own) for own in lies] == [0, 0, 0, 3, 3]


def test_the_first_of_a_group_is_taken_or_their_mean(bert: Any) -> None:
    weights = [layer.intermediate.dense.weight.detach().clone() for layer in bert().bert.encoder.layer]
    for take, expected in (("first", weights[2]), ("mean", (weights[2] + weights[3]) / 2)):
        shared = weight_sharing.apply(bert(), "all", 2, take).model
        torch.testing.assert_close(shared.bert.encoder.layer[3].intermediate.dense.weight.detach(), expected)


def test_layers_stay_objects_of_their_own(bert: Any) -> None:
    model = weight_sharing.apply(bert(), "all", 1, "first").model
    assert len(set(map(id, model.bert.encoder.layer))) == 4


def test_a_shared_model_can_be_shared_again_across_its_groups(bert: Any) -> None:
    model = weight_sharing.apply(
        weight_sharing.apply(bert(num_hidden_layers=6), "all", 3, "first").model, "all", 2, "mean"
    ).model
    lies = storages(model)
    assert [lies.index(own) for own in lies] == [0, 0, 0, 3, 3, 3]
    own = [layer.output.dense.weight for layer in bert(num_hidden_layers=6).bert.encoder.layer]
    for layer, expected in ((0, (2 * own[0] + own[2]) / 3), (3, (own[2] + 2 * own[4]) / 3)):
        torch.testing.assert_close(model.bert.encoder.layer[layer].output.dense.weight, expected)


def test_tied_weights_are_one_after_saving_loading_and_a_step_of_training(
    bert: Any, ids: Any, reopened: Any, tmp_path: Any
) -> None:
    plain = reopened(bert())
    size = (tmp_path / "trial" / "model.safetensors").stat().st_size
    model = weight_sharing.apply(plain, "all", 2, "mean").model
    opened = reopened(model)
    assert size - (tmp_path / "trial" / "model.safetensors").stat().st_size > 2 * (ATTENTION + FEED_FORWARD) * 4
    assert torch.equal(opened(**ids).logits, model(**ids).logits)
    before = opened.bert.encoder.layer[1].attention.self.query.weight.detach().clone()
    adamw = optimizer.create_adamw(opened, 1e-2, 0.01)
    opened.train()(**ids, labels=torch.tensor([0, 1, 0])).loss.backward()
    adamw.step()
    lies = storages(opened)
    assert [lies.index(own) for own in lies] == [0, 0, 2, 2]
    assert count_parameters(opened) == count_parameters(model)
    assert not torch.equal(opened.bert.encoder.layer[1].attention.self.query.weight, before)
    opened.eval()
    assert torch.equal(reopened(opened)(**ids).logits, opened(**ids).logits)


def test_a_mean_of_layers_of_different_shapes_is_refused(bert: Any) -> None:
    model = bert()
    select_heads(model.bert.encoder.layer[1].attention, [0])
    with pytest.raises(UserError) as error:
        weight_sharing.apply(model, "attention", 2, "mean")
    assert str(error.value) == (
        "take: mean: attention of these layers is of different shapes; use take: first, or share before"
    )


def test_a_mean_of_factors_is_refused(bert: Any) -> None:
    model = bert()
    for layer in range(4):
        replace_module(model, f"bert.encoder.layer.{layer}.output.dense", LowRankLinear(48, 32, 4, True))
    with pytest.raises(UserError) as error:
        weight_sharing.apply(model, "all", 2, "mean")
    assert str(error.value) == (
        "take: mean: output of these layers is of two factors, of which the product has another mean; "
        "use take: first, or share before"
    )


def test_every_mistake_is_told(bert: Any) -> None:
    with pytest.raises(UserError) as error:
        weight_sharing.apply(bert(), "atention", 4, "last")
    assert str(error.value) == (
        "parts: got 'atention'; did you mean 'attention'? (allowed: all, attention, feed_forward)\n"
        "take: got 'last'; allowed: first, mean\n"
        "groups: got 4 for 4 layers, so nothing is shared; use at most 3"
    )
