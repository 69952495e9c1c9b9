"""Zeros: exactly as many as asked for, the smallest, and zero they stay."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.compression import magnitude, n_m_sparsity, weight_sharing
from pipeline.core.errors import UserError
from pipeline.models.bert_layers import list_linears
from pipeline.models.layer_surgery import replace_module, select_neurons
from pipeline.models.low_rank_layers import LowRankLinear
from pipeline.models.sparse_masks import freeze_zeros
from pipeline.training import optimizer

LAYER = 4 * 32 * 32 + 2 * 32 * 48  # weights of the matrices of a layer


def matrices(model: Any) -> list[Tensor]:
    return [linear.weight.detach().clone() for linear in list_linears(model)]


def zeros(weights: list[Tensor]) -> int:
    return sum(int((weight == 0).sum()) for weight in weights)


def trained(model: Any, steps: int = 3) -> Any:
    """Train a model with dropout and weight decay."""
    adamw = optimizer.create_adamw(model, 1e-2, 0.1)
    for step in range(steps):
        ids = torch.randint(5, 60, (4, 10), generator=torch.Generator().manual_seed(step))
        model.train()(input_ids=ids, labels=torch.tensor([0, 1, 1, 0])).loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        adamw.step()
        adamw.zero_grad()
    return model.eval()


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("share_", [0.1, 0.5, 0.937])
def test_exactly_the_share_is_zero_and_the_rest_is_untouched(bert: Any, scope: str, share_: float) -> None:
    model = bert()
    before = matrices(model)
    magnitude.apply(model, share_, scope)
    after = matrices(model)
    counts = [weight.numel() for weight in before]
    wanted = round(share_ * 4 * LAYER) if scope == "global" else sum(round(share_ * count) for count in counts)
    assert zeros(after) == wanted
    for one, other in zip(before, after, strict=True):
        assert torch.equal(other[other != 0], one[other != 0])


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_the_smallest_go(bert: Any, scope: str) -> None:
    model = bert()
    before = matrices(model)
    magnitude.apply(model, 0.4, scope)
    groups = [before] if scope == "global" else [[weight] for weight in before]
    limits = [np.sort(np.abs(np.concatenate([weight.numpy().ravel() for weight in group]))) for group in groups]
    for number, (one, other) in enumerate(zip(before, matrices(model), strict=True)):
        limit = limits[0 if scope == "global" else number]
        threshold = limit[round(0.4 * len(limit)) - 1]
        np.testing.assert_array_equal(other.numpy() == 0, np.abs(one.numpy()) <= threshold)


def test_of_equal_weights_no_more_go_than_asked_for(bert: Any) -> None:
    model = bert()
    for linear in list_linears(model):
        nn.init.constant_(linear.weight, 0.5)
    magnitude.apply(model, 0.3, "global")
    assert zeros(matrices(model)) == round(0.3 * 4 * LAYER)


def test_zeros_that_are_there_count_and_shared_matrices_count_once(bert: Any) -> None:
    model = weight_sharing.apply(bert(), "all", 2, "first").model
    magnitude.apply(model, 0.25, "global")
    first = zeros(matrices(model))
    changed = magnitude.apply(model, 0.5, "global").changed
    assert zeros(matrices(model)) == LAYER
    assert first == LAYER // 2
    assert changed == (
        f"the smallest over all of 12 matrices: {LAYER:,} of {2 * LAYER:,} weights are zero (50.0%), "
        f"{first:,} were before"
    )


def test_what_is_no_matrix_of_a_layer_is_left_alone(bert: Any) -> None:
    model, plain = bert(), bert()
    magnitude.apply(model, 0.9, "global")
    changed = {name for name, weight in model.state_dict().items() if not torch.equal(weight, plain.state_dict()[name])}
    assert len(changed) == 24
    assert all(
        ".layer." in name and name.endswith(("dense.weight", "query.weight", "key.weight", "value.weight"))
        for name in changed
    )


def test_both_factors_are_pruned(bert: Any) -> None:
    model = bert()
    replace_module(model, "bert.encoder.layer.0.attention.self.query", LowRankLinear(32, 32, 8, True))
    magnitude.apply(model, 0.5, "layer")
    factors = model.bert.encoder.layer[0].attention.self.query
    assert [zeros([factor.weight]) for factor in factors] == [128, 128]


@pytest.mark.parametrize(("keep", "of"), [(2, 4), (1, 4), (3, 8)])
def test_the_largest_of_each_group_stay(bert: Any, keep: int, of: int) -> None:
    model = bert()
    before = matrices(model)
    n_m_sparsity.apply(model, keep, of)
    for one, other in zip(before, matrices(model), strict=True):
        sizes = np.abs(one.numpy()).reshape(-1, of)
        stay = np.argsort(np.argsort(-sizes, axis=1), axis=1) < keep
        np.testing.assert_array_equal(other.numpy().reshape(-1, of) != 0, stay)
        assert torch.equal(other[other != 0], one[other != 0])


def test_a_pattern_holds_in_every_group_after_training(bert: Any) -> None:
    model = n_m_sparsity.apply(bert(), 2, 4).model
    before = matrices(model)
    with freeze_zeros(model):
        trained(model)
    for one, other in zip(before, matrices(model), strict=True):
        assert not torch.equal(one, other)
        assert int((other.view(-1, 4) != 0).sum(1).max()) == 2
        assert bool((other[one == 0] == 0).all())


def test_matrices_that_do_not_divide_are_left_whole_and_told(bert: Any) -> None:
    model = bert()
    select_neurons(model.bert.encoder.layer[0].intermediate, model.bert.encoder.layer[0].output, range(46))
    changed = n_m_sparsity.apply(model, 2, 4).changed
    total, whole = 4 * LAYER - 2 * 2 * 32, 46 * 32
    told = f"{(total - whole) // 2:,} of {total:,} weights are zero (47.4%), 0 were before"
    assert changed == f"2 of every 4 in 23 matrices, 1 left whole, whose inputs do not divide by 4: {told}"
    assert zeros([model.bert.encoder.layer[0].output.dense.weight]) == 0


def test_a_sparse_model_is_stored_without_its_zeros(bert: Any, ids: Any, reopened: Any, tmp_path: Any) -> None:
    file = tmp_path / "trial" / "model.safetensors"
    reopened(bert())
    dense = file.stat().st_size
    model = magnitude.apply(bert(), 0.75, "global").model
    opened = reopened(model)
    assert torch.equal(opened(**ids).logits, model(**ids).logits)
    assert zeros(matrices(opened)) == 3 * LAYER
    saved = 3 * LAYER * 4 - 4 * LAYER // 8  # the zeros, but for a bit an entry
    assert saved - 24 * 130 < dense - file.stat().st_size < saved


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda model: magnitude.apply(model, 1.0, "global"),
            "share: got 1.0; write a share of the weights, above 0 and below 1",
        ),
        (lambda model: magnitude.apply(model, 0.5, "all"), "scope: got 'all'; allowed: global, layer"),
        (
            lambda model: n_m_sparsity.apply(model, 4, 4),
            "keep: got 4; write a whole number from 1 to 3, the weights kept in each group of 4",
        ),
        (
            lambda model: n_m_sparsity.apply(model, 2, 5),
            "of: got 5, but rows of 32 weights do not divide into such groups",
        ),
    ],
)
def test_what_cannot_be_is_refused(bert: Any, call: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        call(bert())
    assert str(error.value) == message
