"""The formulas against closed forms written here, against torch's counters, and against a real optimiser."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import AutoModelForSequenceClassification
from transformers.models.bert.tokenization_bert import BertTokenizer

from pipeline.compression import low_rank, magnitude, weight_sharing
from pipeline.core.errors import UserError
from pipeline.data.batches import Examples
from pipeline.evaluation.cost import model_cost
from pipeline.models import layer_surgery, load_model, quantised_layers
from pipeline.models.flops import counted_flops, model_flops
from pipeline.models.flops.counted_flops import CountedCosts
from pipeline.models.flops.model_flops import StepCost
from pipeline.models.low_rank_layers import LowRankEmbedding, LowRankLinear
from pipeline.training import optimizer

HIDDEN, INNER, WORDS = 32, 48, 60
SIZES = ((2, 128), (4, 256), (4, 512), (8, 512), (12, 768))  # layers and hidden size of the published BERTs
LENGTH, BATCH = 11, 3


def made(family: str = "bert", **settings: Any) -> Any:
    """Return a classifier of three narrow layers of any family."""
    torch.manual_seed(0)
    sizes = {
        "vocab_size": WORDS, "hidden_size": HIDDEN, "num_hidden_layers": 3, "num_attention_heads": 4,
        "intermediate_size": INNER, "max_position_embeddings": 40,
    }  # fmt: skip
    if family == "distilbert":
        sizes = {"vocab_size": WORDS, "dim": HIDDEN, "n_layers": 3, "n_heads": 4, "hidden_dim": INNER}
    return AutoModelForSequenceClassification.from_config(AutoConfig.for_model(family, **{**sizes, **settings}))


def published(layers: int, hidden: int) -> Any:
    """Return a BERT of a real shape without values."""
    with torch.device("meta"):
        return made(
            vocab_size=30522, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=hidden // 64,
            intermediate_size=4 * hidden, max_position_embeddings=512,
        )  # fmt: skip


def both(model: Any, length: int = LENGTH, batch: int = BATCH) -> tuple[StepCost, CountedCosts]:
    return model_flops.compute_step_cost(model, length, batch), counted_flops.count_costs(model, length, batch)


def agree(found: StepCost, counts: CountedCosts) -> None:
    """Every number of the formulas is the counted one, exactly."""
    names = ("forward", "backward", "activation_bytes", "gradient_bytes", "optimizer_bytes", "update")
    assert {name: getattr(found, name) for name in names} == {name: getattr(counts, name) for name in names}


@pytest.mark.parametrize(("layers", "hidden"), SIZES)
def test_formulas_are_what_is_counted_in_berts_of_real_sizes(layers: int, hidden: int) -> None:
    agree(*both(published(layers, hidden), length=64, batch=16))


@pytest.mark.parametrize(("layers", "hidden"), SIZES)
def test_flops_of_a_dense_bert_are_the_closed_form(layers: int, hidden: int) -> None:
    """Each token meets 12 h^2 weights of a layer, each pair of tokens 2 h products; the head sees one token."""
    found, s = model_flops.compute_step_cost(published(layers, hidden), 128), 128
    assert found.forward == layers * (24 * s * hidden**2 + 4 * s**2 * hidden) + 2 * hidden**2 + 2 * hidden * 2
    assert found.backward == 2 * found.forward


def test_kept_bytes_of_a_dense_bert_are_those_of_korthikanti_in_fp32() -> None:
    """Theirs are 34 s h + 5 a s^2 of a layer in fp16 with masks of a byte: 16 and 2 tensors there, masks s h and s^2.

    In fp32 with masks of fp32 that is 4 (16 + 2) and 4 (2 + 1); the norms keep two numbers of a row as well.
    """
    layers, hidden, s = 4, 256, 64
    found = model_flops.compute_step_cost(published(layers, hidden), s)
    inside = sum(part.activations(s) for part in found.parts if part.layer is not None)
    shapes = 4 * (16 + 2) * s * hidden + 4 * (2 + 1) * (hidden // 64) * s**2 + 2 * 2 * 4 * s
    # the first input of a layer is the output of the norm before; the embeddings make it of a sum and a mask
    assert inside == layers * shapes
    outside = 4 * (2 * s * hidden + 2 * s) + 4 * (s * hidden + 3 * hidden)  # and the pooler keeps the last states
    assert found.activation_bytes == inside + outside


@pytest.mark.parametrize(
    "settings",
    [
        {"family": "roberta"}, {"family": "xlm-roberta"}, {"family": "camembert"}, {"family": "distilbert"},
        {"family": "electra"}, {"family": "electra", "embedding_size": 16}, {"family": "roberta", "type_vocab_size": 2},
        {"family": "albert", "embedding_size": 16, "num_hidden_groups": 2, "inner_group_num": 2},
        {"family": "roberta", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
        {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_attention_heads": 1}, {"num_labels": 5},
        *({"hidden_act": name} for name in ("relu", "tanh", "silu", "gelu_new", "gelu_fast", "gelu_python")),
        {"hidden_act": "quick_gelu"}, {"hidden_act": "gelu_pytorch_tanh"},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)  # fmt: skip
def test_formulas_are_what_is_counted_in_every_family(settings: dict[str, Any]) -> None:
    agree(*both(made(**settings)))


@pytest.mark.parametrize(("length", "batch"), [(1, 1), (1, 4), (40, 1)])
def test_formulas_are_what_is_counted_at_the_edges(length: int, batch: int) -> None:
    agree(*both(made(), length, batch))


def fewer_heads(model: Any) -> None:
    for layer, kept in zip(model.bert.encoder.layer, ([1], [0, 2, 3], [0, 1]), strict=True):
        layer_surgery.select_heads(layer.attention, kept)


def narrower(model: Any) -> None:
    for layer, kept in zip(model.bert.encoder.layer, (5, 48, 17), strict=True):
        layer_surgery.select_neurons(layer.intermediate, layer.output, range(kept))


def factorised(model: Any) -> None:
    low_rank.apply(model, None, {"fraction": 0.25}, "all", False, {"fraction": 0.5})


COMPRESSIONS: dict[str, Callable[[Any], object]] = {
    "heads": fewer_heads,
    "width": narrower,
    "layers": lambda model: layer_surgery.select_layers(model, [0, 2]),
    "factorised": factorised,
    "shared": lambda model: weight_sharing.apply(model, "all", 1, "first"),
    "shared-feed-forward": lambda model: weight_sharing.apply(model, "feed_forward", 2, "mean"),
    "sparse": lambda model: magnitude.apply(model, 0.5, "global"),
    "chain": lambda model: [fewer_heads(model), narrower(model), factorised(model)],
}


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_formulas_are_what_is_counted_in_compressed_models(name: str) -> None:
    model = made()
    dense = model_flops.compute_step_cost(model, LENGTH)
    COMPRESSIONS[name](model)
    found, counts = both(model)
    agree(found, counts)
    per_example = found.forward // BATCH
    assert per_example == dense.forward if name.startswith(("shared", "sparse")) else per_example < dense.forward
    assert sum(part.parameters for part in found.parts) == sum(each.numel() for each in model.parameters())


def test_factors_and_narrow_tables_are_two_products() -> None:
    model, rank = made(), 6
    before = model_flops.compute_step_cost(model, LENGTH).forward
    model.bert.encoder.layer[1].output.dense = LowRankLinear(INNER, HIDDEN, rank, bias=True)
    model.bert.embeddings.word_embeddings = LowRankEmbedding(WORDS, HIDDEN, rank, padding_idx=0)
    saved = INNER * HIDDEN - rank * (INNER + HIDDEN)
    assert (
        model_flops.compute_step_cost(model, LENGTH).forward == before - 2 * LENGTH * saved + 2 * LENGTH * rank * HIDDEN
    )


def embeddings(model: Any) -> None:
    model.bert.embeddings.requires_grad_(False)


def lower_layers(model: Any) -> None:
    embeddings(model)
    model.bert.encoder.layer[0].requires_grad_(False)
    model.bert.encoder.layer[1].attention.self.key.requires_grad_(False)


def encoder(model: Any) -> None:
    model.bert.requires_grad_(False)


def but_biases(model: Any) -> None:
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith("value.bias"))


def everything(model: Any) -> None:
    nn.Module.requires_grad_(model, False)


@pytest.mark.parametrize("freeze", [embeddings, lower_layers, encoder, but_biases, everything])
def test_what_is_frozen_has_no_backward(freeze: Callable[[Any], object]) -> None:
    model = made()
    whole = model_flops.compute_step_cost(model, LENGTH, BATCH)
    freeze(model)
    found, counts = both(model)
    agree(found, counts)
    assert found.forward == whole.forward
    assert found.backward < whole.backward


def test_a_first_layer_behind_frozen_embeddings_lacks_the_gradient_of_its_input() -> None:
    model = made()
    whole = model_flops.compute_step_cost(model, LENGTH).backward
    embeddings(model)
    assert model_flops.compute_step_cost(model, LENGTH).backward == whole - 3 * 2 * LENGTH * HIDDEN**2


def test_a_frozen_encoder_leaves_the_product_of_the_head_alone() -> None:
    model = made()
    encoder(model)
    assert model_flops.compute_step_cost(model, LENGTH, BATCH).backward == BATCH * 2 * HIDDEN * 2


@pytest.mark.parametrize("kind", [quantised_layers.DYNAMIC, quantised_layers.WEIGHT_ONLY])
def test_int8_weights_are_multiplied_forward_and_never_trained(kind: str) -> None:
    model = made()
    dense = model_flops.compute_step_cost(model, LENGTH, BATCH).forward
    quantised_layers.convert_to_int8(model, kind)
    found, counts = both(model)
    agree(found, counts)
    assert (found.forward, found.backward, found.activation_bytes, found.update) == (dense, 0, 0, 0)


@pytest.mark.parametrize("family", ["bert", "distilbert", "albert"])
def test_flops_grow_as_the_polynomial_says_over_an_array_of_lengths(family: str) -> None:
    model = made(family)
    growth = model_flops.compute_training_flops(model)
    lengths = np.array([1, 7, 24, 40], dtype=np.int32)
    found = [model_flops.compute_step_cost(model, int(length)) for length in lengths]
    assert growth.forward(lengths).tolist() == [each.forward for each in found]
    assert growth.backward(lengths).tolist() == [each.backward for each in found]
    assert growth.forward(7) == found[1].forward
    assert growth.forward(np.array([46341 * 10], dtype=np.int32))[0] == growth.forward(463410)


def test_what_is_kept_grows_with_the_square_of_the_length_and_with_the_batch() -> None:
    found = model_flops.compute_step_cost(made(), LENGTH, 5)
    assert found.activations.square == 3 * 4 * 4 * 3  # layers, heads, bytes: shares, their mask, what is left of them
    assert found.activation_bytes == 5 * model_flops.compute_step_cost(made(), LENGTH, 1).activation_bytes


def test_flops_by_part_are_those_counted_of_its_linears() -> None:
    found, counts = both(made())
    for part in found.parts:
        if part.modules:
            assert BATCH * part.forward(LENGTH) == sum(counts.forward_by_linear[name] for name in part.modules)
            assert BATCH * part.backward(LENGTH) == sum(counts.backward_by_linear[name] for name in part.modules)


def test_the_optimiser_holds_what_the_formula_says() -> None:
    model = made()
    adamw = optimizer.create_adamw(model, 1e-4, 0.01)
    model(input_ids=torch.ones(1, 4, dtype=torch.long)).logits.sum().backward()
    adamw.step()
    held = sum(tensor.nbytes for state in adamw.state.values() for tensor in state.values())
    found = model_flops.compute_step_cost(model, LENGTH)
    assert found.optimizer_bytes == held
    assert found.gradient_bytes == sum(parameter.grad.nbytes for parameter in model.parameters())


def test_weights_are_counted_as_the_evaluation_counts_and_stores_them(tmp_path: Path) -> None:
    for number, compress in enumerate(
        (*COMPRESSIONS.values(), lambda it: quantised_layers.convert_to_int8(it, quantised_layers.DYNAMIC))
    ):
        model = made()
        compress(model)
        folder = tmp_path / str(number)
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        load_model.save_classifier(
            model, BertTokenizer(vocab={piece: place for place, piece in enumerate(pieces)}), folder
        )
        found, known = model_flops.count_parameters(model), model_cost.storage(model, folder)
        assert found.parameters == known["parameters"]
        assert found.nonzero == known["parameters_nonzero"]
        assert found.non_embedding == known["parameters_non_embedding"]
        stored = load_file(folder / "model.safetensors")
        assert found.stored_bytes == sum(tensor.nbytes for tensor in stored.values())


def test_weights_in_memory_are_four_bytes_each_and_one_of_int8() -> None:
    model = made()
    before = model_flops.count_parameters(model)
    assert before.bytes == 4 * before.parameters
    assert before.trainable == before.parameters
    quantised_layers.convert_to_int8(model, quantised_layers.WEIGHT_ONLY)
    weights, outputs = 3 * (4 * HIDDEN**2 + 2 * HIDDEN * INNER), 3 * (5 * HIDDEN + INNER)
    after = model_flops.count_parameters(model)
    assert after.bytes == before.bytes - 3 * weights + 4 * outputs
    assert after.trainable == 0


def test_a_family_without_formulas_is_one_line() -> None:
    with pytest.raises(UserError) as caught:
        model_flops.compute_training_flops(made("mpnet"))
    assert str(caught.value) == (
        "MPNetForSequenceClassification: no formulas for it; use a sequence classifier of one of bert, electra, "
        "roberta, xlm-roberta, camembert, distilbert, albert"
    )


def test_forward_is_what_the_evaluation_counts() -> None:
    tokens = np.full(LENGTH, 7)
    examples = Examples(tokens, np.zeros_like(tokens), np.array([0, LENGTH]), np.array([1]), pad=0)
    assert (
        model_flops.compute_step_cost(made(), LENGTH).forward == model_cost.flops(made(), examples)["inference_flops"]
    )
