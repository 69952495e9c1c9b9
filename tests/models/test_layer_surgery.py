"""What is kept is kept bit for bit, in modules that are the same objects."""

from typing import Any

import torch
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertLayer

from pipeline.models.layer_surgery import select_heads, select_neurons


def layer() -> Any:
    torch.manual_seed(0)
    return BertLayer(BertConfig(hidden_size=12, num_attention_heads=3, intermediate_size=6))


def test_rows_and_columns_of_the_heads_that_stay_are_kept() -> None:
    whole, cut = layer(), layer()
    query = cut.attention.self.query
    select_heads(cut.attention, [0, 2])
    rows = [0, 1, 2, 3, 8, 9, 10, 11]
    for name in ("query", "key", "value"):
        one, other = whole.attention.self.get_submodule(name), cut.attention.self.get_submodule(name)
        assert torch.equal(other.weight, one.weight[rows])
        assert torch.equal(other.bias, one.bias[rows])
        assert other.out_features == 8
    assert torch.equal(cut.attention.output.dense.weight, whole.attention.output.dense.weight[:, rows])
    assert torch.equal(cut.attention.output.dense.bias, whole.attention.output.dense.bias)
    assert (cut.attention.self.num_attention_heads, cut.attention.self.all_head_size) == (2, 8)
    assert cut.attention.self.query is query


def test_rows_and_columns_of_the_neurons_that_stay_are_kept() -> None:
    whole, cut = layer(), layer()
    select_neurons(cut.intermediate, cut.output, [1, 4])
    assert torch.equal(cut.intermediate.dense.weight, whole.intermediate.dense.weight[[1, 4]])
    assert torch.equal(cut.intermediate.dense.bias, whole.intermediate.dense.bias[[1, 4]])
    assert torch.equal(cut.output.dense.weight, whole.output.dense.weight[:, [1, 4]])
    assert (cut.intermediate.dense.out_features, cut.output.dense.in_features) == (2, 2)


def test_frozen_weights_stay_frozen() -> None:
    cut = layer().requires_grad_(False)
    select_neurons(cut.intermediate, cut.output, [1])
    assert not any(parameter.requires_grad for parameter in cut.parameters())
