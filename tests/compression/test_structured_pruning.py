"""What is taken out is really gone: fewer FLOPs and parameters, and the same outputs as with it masked to zero."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.compression import head_pruning, layer_removal, magnitude, weight_sharing, width_pruning
from pipeline.compression.calibration import Calibration
from pipeline.compression.compressed_model import count_parameters
from pipeline.compression.importance import compute_input_importance, compute_layer_importance
from pipeline.core.errors import UserError
from pipeline.data import batches
from pipeline.models.layer_surgery import replace_module
from pipeline.models.low_rank_layers import LowRankLinear

SIZE, HIDDEN, WIDTH = 8, 32, 48
HEAD = 4 * SIZE * HIDDEN + 3 * SIZE  # parameters of a head: rows with biases of q, k and v, columns of the output
NEURON = 2 * HIDDEN + 1
LAYER = 4 * (HIDDEN * HIDDEN + HIDDEN) + 2 * HIDDEN * WIDTH + WIDTH + HIDDEN + 4 * HIDDEN


def flops(model: Any, ids: dict[str, Tensor]) -> int:
    """Return what torch counts of a forward pass."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(**ids)
    return counter.get_total_flops()


def kept(whole: Any, pruned: Any, size: int) -> list[list[int]]:
    """Return which blocks of ``size`` rows of each whole matrix are there in the pruned one."""
    found = []
    for one, other in zip(whole, pruned, strict=True):
        blocks = one.weight.detach().split(size)
        found.append(
            [next(i for i, b in enumerate(blocks) if torch.equal(b, c)) for c in other.weight.detach().split(size)]
        )
    return found


def queries(model: Any) -> list[Any]:
    return [layer.attention.self.query for layer in model.bert.encoder.layer]


def inner(model: Any) -> list[Any]:
    return [layer.intermediate.dense for layer in model.bert.encoder.layer]


def mask(linears: list[Any], stay: list[list[int]], size: int) -> None:
    """Set the inputs of Linears to zero, but for the blocks that stay."""
    for linear, blocks in zip(linears, stay, strict=True):
        gone = [n for n in range(linear.in_features // size) if n not in blocks]
        linear.weight.data.view(len(linear.weight), -1, size)[:, gone] = 0.0


@pytest.mark.parametrize("importance", ["gradient", "magnitude"])
def test_removed_heads_are_as_masked_heads(bert: Any, calibration: Calibration, ids: Any, importance: str) -> None:
    whole = bert().double()
    pruned, changed = head_pruning.apply(copy.deepcopy(whole), calibration, 0.5, importance)
    stay = kept(queries(whole), queries(pruned), SIZE)
    mask([layer.attention.output.dense for layer in whole.bert.encoder.layer], stay, SIZE)
    torch.testing.assert_close(pruned(**ids).logits, whole(**ids).logits, rtol=0, atol=1e-12)
    assert sum(map(len, stay)) == 8
    assert min(map(len, stay)) >= 1
    assert count_parameters(whole) - count_parameters(pruned) == 8 * HEAD
    before, after = count_parameters(whole), count_parameters(pruned)
    assert changed == (
        f"8 of 16 heads removed by {importance}, the layers have {', '.join(str(len(own)) for own in stay)}; "
        f"{before:,} -> {after:,} parameters"
    )


@pytest.mark.parametrize("importance", ["gradient", "magnitude"])
def test_removed_neurons_are_as_masked_neurons(bert: Any, calibration: Calibration, ids: Any, importance: str) -> None:
    whole = bert().double()
    pruned, changed = width_pruning.apply(copy.deepcopy(whole), calibration, 0.25, importance)
    stay = kept(inner(whole), inner(pruned), 1)
    mask([layer.output.dense for layer in whole.bert.encoder.layer], stay, 1)
    torch.testing.assert_close(pruned(**ids).logits, whole(**ids).logits, rtol=0, atol=1e-12)
    assert list(map(len, stay)) == [36] * 4
    assert stay == [sorted(own) for own in stay]
    assert count_parameters(whole) - count_parameters(pruned) == 48 * NEURON
    told = f"{count_parameters(whole):,} -> {count_parameters(pruned):,} parameters"
    assert changed == f"48 of 192 neurons removed by {importance}; {told}"


@pytest.mark.parametrize("importance", ["gradient", "magnitude"])
def test_removed_layers_are_as_layers_that_pass_their_input_on(
    bert: Any, calibration: Calibration, ids: Any, importance: str
) -> None:
    whole = bert()
    pruned, changed = layer_removal.apply(copy.deepcopy(whole), calibration, 2, importance)
    stay = [
        numbers[0]
        for numbers in [
            [n for n, q in enumerate(queries(whole)) if torch.equal(q.weight, r.weight)] for r in queries(pruned)
        ]
    ]
    assert stay == sorted(stay)
    gone = [number for number in range(4) if number not in stay]
    for number in gone:
        whole.bert.encoder.layer[number].forward = lambda states, *_, **__: states
    assert torch.equal(pruned(**ids).logits, whole(**ids).logits)
    assert pruned.config.num_hidden_layers == 2
    assert count_parameters(whole) - count_parameters(pruned) == 2 * LAYER
    told = f"{count_parameters(whole):,} -> {count_parameters(pruned):,} parameters"
    assert changed == f"of 4 layers {gone[0] + 1}, {gone[1] + 1} removed by {importance}; {told}"


def test_flops_fall_by_what_the_parts_take(bert: Any, calibration: Calibration, ids: Any) -> None:
    rows, length = ids["input_ids"].shape
    whole = flops(bert(), ids)
    head = 4 * 2 * length * HIDDEN * SIZE + 2 * 2 * length * length * SIZE  # projections; scores and what they mix
    neuron = 2 * 2 * length * HIDDEN
    layer = 4 * head + WIDTH * neuron
    assert whole - flops(head_pruning.apply(bert(), calibration, 0.5, "magnitude").model, ids) == rows * 8 * head
    assert (
        whole - flops(width_pruning.apply(bert(), calibration, 0.5, "magnitude").model, ids) == rows * 4 * 24 * neuron
    )
    assert whole - flops(layer_removal.apply(bert(), calibration, 3, "magnitude").model, ids) == rows * 3 * layer


def slope(model: Any, calibration: Calibration, scaled: Callable[[float], Any], step: float = 1e-5) -> float:
    """Return E|dL/dxi| by central differences of each example's loss; `scaled` sets xi in a block."""
    batch = batches.collate(calibration.examples, np.arange(len(calibration.examples)))
    losses = []
    for xi in (1 + step, 1 - step):
        with torch.no_grad(), scaled(xi):
            logits = model(**batch.inputs).logits
        losses.append(nn.functional.cross_entropy(logits, batch.labels, reduction="none"))
    return float(((losses[0] - losses[1]) / (2 * step)).abs().mean())


@contextmanager
def times(weight: Tensor, xi: float) -> Iterator[None]:
    """Multiply a view of some weights by xi inside the block."""
    plain = weight.clone()
    weight.mul_(xi)
    yield
    weight.copy_(plain)


@contextmanager
def along(layer: nn.Module, xi: float) -> Iterator[None]:
    """Multiply what a layer adds to its input by xi inside the block."""
    with layer.register_forward_hook(lambda module, inputs, output: inputs[0] + xi * (output - inputs[0])):
        yield


def test_the_importance_of_heads_and_neurons_is_the_slope_of_the_loss(bert: Any, calibration: Calibration) -> None:
    model = bert(num_hidden_layers=2).double()
    found = model.bert.encoder.layer
    told = compute_input_importance(model, calibration, [(layer.attention.output.dense, 4) for layer in found])
    neurons = compute_input_importance(model, calibration, [(layer.output.dense, WIDTH) for layer in found])
    for number, layer in enumerate(found):
        for head in range(4):
            columns = layer.attention.output.dense.weight.data[:, head * SIZE : (head + 1) * SIZE]
            expected = slope(model, calibration, partial(times, columns))
            assert float(told[number][head]) == pytest.approx(expected, rel=1e-5)
        for neuron in (0, 17):
            column = layer.output.dense.weight.data[:, neuron]
            expected = slope(model, calibration, partial(times, column))
            assert float(neurons[number][neuron]) == pytest.approx(expected, rel=1e-5)


def test_the_importance_of_a_layer_is_the_slope_along_its_change(bert: Any, calibration: Calibration) -> None:
    model = bert(num_hidden_layers=2).double()
    found = model.bert.encoder.layer
    told = compute_layer_importance(model, calibration, found)
    for score, layer in zip(told, found, strict=True):
        assert float(score) == pytest.approx(slope(model, calibration, partial(along, layer)), rel=1e-5)


def test_magnitude_is_the_norm_of_the_weights(bert: Any, calibration: Calibration) -> None:
    model = bert()
    attention = model.bert.encoder.layer[2].attention
    parts = [getattr(attention.self, name).weight for name in ("query", "key", "value")]
    for head in (0, 3):
        rows = slice(head * SIZE, (head + 1) * SIZE)
        for weight in [*(part[rows] for part in parts), attention.output.dense.weight[:, rows]]:
            weight.data.mul_(1e-3)
    scaled = queries(copy.deepcopy(model))
    pruned = head_pruning.apply(model, calibration, 2 / 16, "magnitude").model
    assert kept(scaled[2:3], queries(pruned)[2:3], SIZE) == [[1, 2]]


def test_measuring_leaves_the_model_as_it_was(bert: Any, calibration: Calibration) -> None:
    model, plain = bert().train(), bert()
    compute_input_importance(model, calibration, [(model.bert.encoder.layer[0].output.dense, WIDTH)])
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model.bert.encoder.layer[0].output.dense._forward_pre_hooks
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), plain.parameters(), strict=True))


def test_frozen_weights_are_measured_as_well(bert: Any, calibration: Calibration) -> None:
    place = lambda model: [(model.bert.encoder.layer[1].output.dense, WIDTH)]  # noqa: E731
    frozen, free = bert().requires_grad_(False), bert()
    told = compute_input_importance(frozen, calibration, place(frozen))[0]
    torch.testing.assert_close(told, compute_input_importance(free, calibration, place(free))[0])


@pytest.mark.parametrize("importance", ["gradient", "magnitude"])
def test_layers_that_share_lose_the_same(bert: Any, calibration: Calibration, ids: Any, importance: str) -> None:
    model = weight_sharing.apply(bert(), "all", 2, "first").model
    pruned, changed = head_pruning.apply(model, calibration, 0.5, importance)
    assert changed.startswith("4 of 8 heads removed")
    pruned, changed = width_pruning.apply(pruned, calibration, 0.5, importance)
    assert changed.startswith("48 of 96 neurons removed")
    found = pruned.bert.encoder.layer
    assert found[0].attention is found[1].attention
    assert found[2].output is found[3].output
    assert pruned(**ids).logits.isfinite().all()


def test_a_shared_head_matters_by_the_sum_of_its_uses(bert: Any, calibration: Calibration) -> None:
    model = weight_sharing.apply(bert(), "all", 1, "first").model
    together = compute_input_importance(model, calibration, [(model.bert.encoder.layer[0].attention.output.dense, 4)])[
        0
    ]
    apart = copy.deepcopy(model)
    for number, layer in enumerate(apart.bert.encoder.layer):
        layer.attention = copy.deepcopy(model.bert.encoder.layer[number].attention)
    alone = compute_input_importance(
        apart, calibration, [(layer.attention.output.dense, 4) for layer in apart.bert.encoder.layer]
    )
    torch.testing.assert_close(together, torch.stack(alone).sum(0))


def test_factors_are_cut_where_they_meet_the_heads(bert: Any, calibration: Calibration, ids: Any) -> None:
    whole = bert()
    for name in ("attention.self.query", "attention.output.dense", "intermediate.dense", "output.dense"):
        linear = whole.bert.encoder.layer[0].get_submodule(name)
        factors = LowRankLinear(linear.in_features, linear.out_features, 8, True)
        replace_module(whole, f"bert.encoder.layer.0.{name}", factors)
    whole.double()
    pruned = head_pruning.apply(copy.deepcopy(whole), calibration, 0.5, "magnitude").model
    pruned = width_pruning.apply(pruned, calibration, 0.5, "magnitude").model
    values = [[layer.attention.self.value for layer in model.bert.encoder.layer] for model in (whole, pruned)]
    stay = kept(*values, SIZE)
    neurons = [[layer.intermediate.dense for layer in model.bert.encoder.layer] for model in (whole, pruned)]
    first = [[model.bert.encoder.layer[0].intermediate.dense[1]] for model in (whole, pruned)]
    left = kept(*first, 1) + kept(neurons[0][1:], neurons[1][1:], 1)
    reads = lambda part: part[0] if isinstance(part, LowRankLinear) else part  # noqa: E731
    mask([reads(layer.attention.output.dense) for layer in whole.bert.encoder.layer], stay, SIZE)
    mask([reads(layer.output.dense) for layer in whole.bert.encoder.layer], left, 1)
    torch.testing.assert_close(pruned(**ids).logits, whole(**ids).logits, rtol=0, atol=1e-12)


def test_a_chain_is_saved_and_opened_with_the_same_logits(
    bert: Any, calibration: Calibration, ids: Any, reopened: Any, tmp_path: Any
) -> None:
    model, sizes = bert(), []
    steps = [
        lambda model: weight_sharing.apply(model, "attention", 2, "first"),
        lambda model: head_pruning.apply(model, calibration, 0.5, "gradient"),
        lambda model: magnitude.apply(model, 0.5, "global"),
        lambda model: width_pruning.apply(model, calibration, 0.5, "gradient"),
        lambda model: layer_removal.apply(model, calibration, 1, "gradient"),
    ]
    for step in steps:
        model = step(model).model
        opened = reopened(model)
        assert torch.equal(opened(**ids).logits, model(**ids).logits)
        assert count_parameters(opened) == count_parameters(model)
        sizes.append((tmp_path / "trial" / "model.safetensors").stat().st_size)
        model = opened
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda model, calibration: head_pruning.apply(model, calibration, 0.9, "gradient"),
            "remove: 0.9 of 16 heads leaves a layer without any; use at most 0.75, or remove whole layers",
        ),
        (
            lambda model, calibration: head_pruning.apply(
                head_pruning.apply(model, calibration, 0.7, "magnitude").model, calibration, 0.5, "magnitude"
            ),
            "remove: 0.5 of the 5 heads that are left is 2; from 1 to 1 can go, for each attention keeps one",
        ),
        (
            lambda model, calibration: width_pruning.apply(
                width_pruning.apply(model, calibration, 0.97, "magnitude").model, calibration, 0.2, "magnitude"
            ),
            "remove: 0.2 of the 1 neurons that are left is 0",
        ),
        (
            lambda model, calibration: layer_removal.apply(model, calibration, 4, "size"),
            "importance: got 'size'; allowed: gradient, magnitude\nremove: got 4 of 4 layers; use at most 3",
        ),
    ],
)
def test_what_cannot_be_is_refused(bert: Any, calibration: Calibration, call: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        call(bert(), calibration)
    assert str(error.value) == message
