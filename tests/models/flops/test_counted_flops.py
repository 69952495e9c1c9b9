"""Counting leaves the model alone, sees what runs on the processor, and needs no formula for a family."""

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import AutoModelForSequenceClassification

from pipeline.compression import weight_sharing
from pipeline.models import quantised_layers
from pipeline.models.flops import counted_flops

HIDDEN, INNER, LENGTH, BATCH = 32, 48, 9, 3


def made(family: str = "bert", **settings: Any) -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family, vocab_size=60, hidden_size=HIDDEN, num_hidden_layers=2, num_attention_heads=4, intermediate_size=INNER,
        max_position_embeddings=40, **settings,
    )  # fmt: skip
    return AutoModelForSequenceClassification.from_config(config)


def test_a_model_is_the_same_after_it_was_counted() -> None:
    for model in (made().eval(), made().train()):
        values, training = copy.deepcopy(model.state_dict()), model.training
        attention = model.config._attn_implementation
        assert attention != "eager"
        counted_flops.count_costs(model, LENGTH)
        assert (model.training, model.config._attn_implementation) == (training, attention)
        assert all(torch.equal(value, values[name]) for name, value in model.state_dict().items())
        assert all(parameter.grad is None for parameter in model.parameters())
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_an_int8_model_is_the_same_after_it_was_counted() -> None:
    model = made().train()
    quantised_layers.convert_to_int8(model, quantised_layers.DYNAMIC)
    counted_flops.count_costs(model, LENGTH)
    assert model.training
    assert quantised_layers.get_int8_kind(model) == quantised_layers.DYNAMIC
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_copy_without_values_has_the_ties_and_shapes_of_the_model() -> None:
    model = made()
    weight_sharing.apply(model, "attention", 1, "first")
    model.bert.embeddings.requires_grad_(False)
    copied = counted_flops.copy_to_meta(model)
    first, second = copied.bert.encoder.layer
    assert first.attention is second.attention
    assert first.attention is not model.bert.encoder.layer[0].attention
    assert {tensor.device.type for tensor in (*copied.parameters(), *copied.buffers())} == {"meta"}
    assert [(name, each.shape, each.requires_grad) for name, each in copied.named_parameters()] == [
        (name, each.shape, each.requires_grad) for name, each in model.named_parameters()
    ]


@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_linears_and_the_products_of_attention_make_up_all(family: str) -> None:
    """A family without formulas is counted as well."""
    found = counted_flops.count_costs(made(family), LENGTH, BATCH)
    pairs = BATCH * 2 * 4 * LENGTH**2 * HIDDEN
    assert found.forward == sum(found.forward_by_linear.values()) + pairs
    assert found.backward == sum(found.backward_by_linear.values()) + 2 * pairs
    assert found.backward == 2 * found.forward


def test_a_shared_linear_has_the_flops_of_all_its_uses() -> None:
    model = made()
    weight_sharing.apply(model, "feed_forward", 1, "first")
    found = counted_flops.count_costs(model, LENGTH, BATCH)
    name = "bert.encoder.layer.{}.intermediate.dense"
    assert found.forward_by_linear[name.format(0)] == 2 * BATCH * 2 * LENGTH * HIDDEN * INNER
    assert found.backward_by_linear[name.format(0)] == 2 * found.forward_by_linear[name.format(0)]
    assert name.format(1) not in found.forward_by_linear


def test_what_is_kept_without_values_is_what_is_kept_on_the_processor() -> None:
    model = made(attn_implementation="eager").train()
    ids = torch.ones(BATCH, LENGTH, dtype=torch.long)
    given = {"input_ids": ids, "token_type_ids": torch.zeros_like(ids)}
    held: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.ndim:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        model(**given)
    for tensor in (*model.parameters(), *model.buffers(), *given.values()):
        held.pop(tensor.untyped_storage().data_ptr(), None)
    assert counted_flops.count_costs(model, LENGTH, BATCH).activation_bytes == sum(
        each.nbytes() for each in held.values()
    )


@pytest.mark.parametrize("kind", [quantised_layers.DYNAMIC, quantised_layers.WEIGHT_ONLY])
def test_products_of_integers_and_attention_in_one_kernel_are_counted(kind: str) -> None:
    model = made(attn_implementation="sdpa").eval()
    plain = counted_flops.count_costs(model, LENGTH, BATCH)
    quantised_layers.convert_to_int8(model, kind)
    found = counted_flops.count_costs(model, LENGTH, BATCH)
    assert found.forward == plain.forward
    assert found.forward_by_linear == plain.forward_by_linear
    assert (found.backward, found.activation_bytes, found.gradient_bytes, found.optimizer_bytes) == (0, 0, 0, 0)


def test_the_update_is_every_elementwise_operation_of_clipping_and_adamw() -> None:
    """Of a weight: norm 2, scaling 1, decay 1, lerp 3, mul 1, addcmul 3, sqrt 1, div 1, add 1, addcdiv 3.

    Of a tensor: its norm squared and summed, and its step counted; of all: two sums, a quotient and a bound.
    """
    model = made()
    decayed = sum(each.numel() for each in model.parameters() if each.ndim >= 2)
    others = sum(each.numel() for each in model.parameters() if each.ndim < 2)
    tensors = len(list(model.parameters()))
    assert counted_flops.count_costs(model, LENGTH).update == 17 * decayed + 16 * others + 3 * tensors + 4


def test_an_operation_of_unknown_cost_is_no_zero() -> None:
    with pytest.raises(KeyError), counted_flops.ElementwiseCounter():
        torch.ones(3).erfinv()


def test_arithmetic_counts_each_element_and_a_norm_by_what_it_reads() -> None:
    values = torch.ones(5, 2)
    with counted_flops.ElementwiseCounter() as counted:
        values.mul_(2.0).addcmul_(values, values)
        torch.linalg.vector_norm(values)
    assert counted.flops == 10 * (1 + 3 + 2)


def test_a_model_of_which_nothing_is_trained_has_no_update() -> None:
    model = made()
    nn.Module.requires_grad_(model, False)
    found = counted_flops.count_costs(model, LENGTH)
    assert (found.backward, found.update, found.activation_bytes, found.optimizer_bytes) == (0, 0, 0, 0)
    assert found.backward_by_linear == {}
