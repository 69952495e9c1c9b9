"""The parts of an encoder by BERT's names."""

from typing import Any

import pytest
from torch import nn
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import AutoModelForSequenceClassification

from pipeline.core.errors import UserError
from pipeline.models.bert_layers import (
    PARTS,
    get_input_linear,
    get_output_linear,
    is_bert_like,
    list_layers,
    list_linears,
)
from pipeline.models.low_rank_layers import LowRankLinear

SMALL = {"vocab_size": 31, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}


def made(family: str, **settings: Any) -> Any:
    return AutoModelForSequenceClassification.from_config(AutoConfig.for_model(family, **(settings or SMALL)))


@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
def test_layers_and_their_parts_are_found_by_name(family: str) -> None:
    model = made(family)
    found = list_layers(model)
    assert [layer.name for layer in found] == [f"{family}.encoder.layer.0", f"{family}.encoder.layer.1"]
    for layer in found:
        assert model.get_submodule(layer.name) is layer.module
        shapes = [tuple(get_input_linear(layer.get_part(name)).weight.shape) for name in PARTS["all"]]
        assert shapes == [(8, 8)] * 4 + [(16, 8), (8, 16)]


def test_other_layers_are_refused() -> None:
    model = made("distilbert", vocab_size=31, dim=8, n_layers=1, n_heads=2, hidden_dim=16)
    assert not is_bert_like(model)
    with pytest.raises(UserError) as error:
        list_layers(model)
    assert str(error.value) == (
        "model_type 'distilbert' has no layers like BERT's; this works for bert, roberta, electra and models with the "
        "same parts"
    )


def test_two_factors_read_with_the_first_and_write_with_the_second() -> None:
    factors, linear = LowRankLinear(8, 16, 2, bias=True), nn.Linear(8, 16)
    assert (get_input_linear(factors).in_features, get_output_linear(factors).out_features) == (8, 16)
    assert get_input_linear(factors).out_features == get_output_linear(factors).in_features == 2
    assert get_input_linear(linear) is get_output_linear(linear) is linear


def test_linears_are_those_of_the_layers_each_once() -> None:
    model = made("bert")
    assert len(list_linears(model)) == 12
    encoder = model.bert.encoder.layer
    encoder[1].attention = encoder[0].attention
    assert len(list_linears(model)) == 8
    encoder[0].intermediate.dense = LowRankLinear(8, 16, 2, bias=True)
    assert len(list_linears(model)) == 9
    assert model.bert.pooler.dense not in list_linears(model)
