"""A structure is read off a model, travels as JSON, and makes a plain model into one of the same shape."""

import json
from typing import Any

import pytest
import torch
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import AutoModelForSequenceClassification
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from pipeline.models import compressed_shape, layer_surgery
from pipeline.models.compressed_shape import UNCOMPRESSED, Structure
from pipeline.models.low_rank_layers import LowRankEmbedding, LowRankLinear

FIRST, SECOND = "bert.encoder.layer.0", "bert.encoder.layer.1"


WRITTEN = json.loads(json.dumps(UNCOMPRESSED.to_config()))


def bert(seed: int = 0) -> Any:
    config = BertConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48,
        max_position_embeddings=32, initializer_range=0.2,
    )  # fmt: skip
    torch.manual_seed(seed)
    return BertForSequenceClassification(config).eval()


def compressed() -> Any:
    """Return a model that differs from a plain one in every way but int8."""
    model = bert()
    layer_surgery.select_heads(model.bert.encoder.layer[2].attention, [1, 3])
    layer_surgery.select_neurons(
        model.bert.encoder.layer[0].intermediate, model.bert.encoder.layer[0].output, range(40)
    )
    layer_surgery.replace_module(model, f"{SECOND}.attention", model.bert.encoder.layer[0].attention)
    layer_surgery.replace_module(model, f"{FIRST}.attention.self.query", LowRankLinear(32, 32, 4, bias=True))
    layer_surgery.replace_module(model, "bert.embeddings.word_embeddings", LowRankEmbedding(60, 32, 8, padding_idx=0))
    return model


EXPECTED = Structure(
    heads=(4, 4, 2),
    width=(40, 48, 48),
    shared=((f"{SECOND}.attention", f"{FIRST}.attention"),),
    ranks={"bert.embeddings.word_embeddings": 8, f"{FIRST}.attention.self.query": 4},
)


def test_a_plain_model_is_plain() -> None:
    assert compressed_shape.get_structure(bert()) == UNCOMPRESSED == Structure()


def test_the_structure_is_that_of_the_model() -> None:
    assert compressed_shape.get_structure(compressed()) == EXPECTED


def test_a_model_without_layers_like_berts_is_plain() -> None:
    config = AutoConfig.for_model("distilbert", vocab_size=31, dim=8, n_layers=1, n_heads=2, hidden_dim=16)
    model = AutoModelForSequenceClassification.from_config(config)
    assert compressed_shape.get_structure(model) == UNCOMPRESSED
    compressed_shape.apply_structure(model, UNCOMPRESSED)
    with pytest.raises(ValueError, match=r"^the model's layers are not BERT's$"):
        compressed_shape.apply_structure(model, EXPECTED)


def test_a_structure_survives_json() -> None:
    assert compressed_shape.parse_structure(json.loads(json.dumps(EXPECTED.to_config()))) == EXPECTED
    assert compressed_shape.parse_structure(json.loads(json.dumps(UNCOMPRESSED.to_config()))) == UNCOMPRESSED


def test_a_plain_model_becomes_one_of_the_same_names_shapes_and_ties() -> None:
    wanted, made = compressed(), bert(1)
    compressed_shape.apply_structure(made, EXPECTED)
    assert compressed_shape.get_structure(made) == EXPECTED
    shapes = [{name: tensor.shape for name, tensor in model.state_dict().items()} for model in (wanted, made)]
    assert shapes[0] == shapes[1]
    made.load_state_dict(wanted.state_dict())
    ids = torch.arange(5, 15)[None]
    assert torch.equal(made(input_ids=ids).logits, wanted(input_ids=ids).logits)
    encoder = made.bert.encoder.layer
    assert encoder[0].attention is encoder[1].attention
    assert made.bert.embeddings.word_embeddings[0].padding_idx == 0


def test_removing_layers_needs_no_structure() -> None:
    model = bert()
    layer_surgery.select_layers(model, [0, 2])
    assert compressed_shape.get_structure(model) == UNCOMPRESSED
    assert model.config.num_hidden_layers == 2


def test_a_layer_whose_source_is_removed_owns_what_it_shared() -> None:
    model = compressed()
    layer_surgery.select_layers(model, [1, 2])
    assert compressed_shape.get_structure(model) == Structure(
        heads=(4, 2), ranks={"bert.embeddings.word_embeddings": 8, f"{FIRST}.attention.self.query": 4}
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not an object of heads, width, shared, ranks, quantised"),
        ({"heads": [1]}, "not an object of heads, width, shared, ranks, quantised"),
        (WRITTEN | {"heads": [1, 0, 1]}, "heads, width or ranks that are no whole numbers above 0"),
        (WRITTEN | {"ranks": {"bert": "8"}}, "heads, width or ranks that are no whole numbers above 0"),
        (WRITTEN | {"width": 8}, "heads or width that are no list, or ranks that are no object"),
        (WRITTEN | {"shared": [["bert"]]}, "shared that is no list of pairs of names"),
        (WRITTEN | {"quantised": "int4"}, "quantised that is none of int8-dynamic, int8-weight-only"),
    ],
)
def test_what_is_no_structure_is_refused(content: Any, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        compressed_shape.parse_structure(content)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Structure(heads=(4, 4)), "heads are [4, 4], for 3 layers of at most 4"),
        (Structure(width=(48, 48, 49)), "width are [48, 48, 49], for 3 layers of at most 48"),
        (Structure(shared=(("bert.layer.1", "bert"),)), "no module bert.layer.1"),
        (Structure(shared=((f"{SECOND}.output", "bert"),)), f"{SECOND}.output and bert are no modules of one kind"),
        (Structure(shared=((f"{SECOND}.output", "bert.none"),)), "no module bert.none"),
        (Structure(ranks={"bert.pooler.activation": 4}), "Tanh cannot be factors"),
    ],
)
def test_a_structure_of_another_model_is_refused(wrong: Structure, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        compressed_shape.apply_structure(bert(), wrong)
    assert str(error.value) == message
