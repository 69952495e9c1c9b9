"""The parts of an encoder by BERT's names."""

from typing import Any

import pytest
from torch import nn
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import AutoModelForSequenceClassification

from pipeline.core.errors import UserError
from pipeline.models.bert_layers import PARTS, layers, like_bert, linears, reading, writing
from pipeline.models.low_rank_layers import Factorised

SMALL = {"vocab_size": 31, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}


def made(family: str, **settings: Any) -> Any:
    return AutoModelForSequenceClassification.from_config(AutoConfig.for_model(family, **(settings or SMALL)))


@pytest.mark.parametrize("family", ["bert", "roberta", "electra"])
def test_layers_and_their_parts_are_found_by_name(family: str) -> None:
    model = made(family)
    found = layers(model)
    assert [layer.name for layer in found] == [f"{family}.encoder.layer.0", f"{family}.encoder.layer.1"]
    for layer in found:
        assert model.get_submodule(layer.name) is layer.module
        shapes = [tuple(reading(layer.part(name)).weight.shape) for name in PARTS["all"]]
        assert shapes == [(8, 8)] * 4 + [(16, 8), (8, 16)]


def test_other_layers_are_refused() -> None:
    model = made("distilbert", vocab_size=31, dim=8, n_layers=1, n_heads=2, hidden_dim=16)
    assert not like_bert(model)
    with pytest.raises(UserError) as error:
        layers(model)
    assert str(error.value) == (
        "model_type 'distilbert' has no layers like BERT's; this works for bert, roberta, electra and models with the "
        "same parts"
    )


def test_two_factors_read_with_the_first_and_write_with_the_second() -> None:
    factors, linear = Factorised(8, 16, 2, bias=True), nn.Linear(8, 16)
    assert (reading(factors).in_features, writing(factors).out_features) == (8, 16)
    assert reading(factors).out_features == writing(factors).in_features == 2
    assert reading(linear) is writing(linear) is linear


def test_linears_are_those_of_the_layers_each_once() -> None:
    model = made("bert")
    assert len(linears(model)) == 12
    encoder = model.bert.encoder.layer
    encoder[1].attention = encoder[0].attention
    assert len(linears(model)) == 8
    encoder[0].intermediate.dense = Factorised(8, 16, 2, bias=True)
    assert len(linears(model)) == 9
    assert model.bert.pooler.dense not in linears(model)
