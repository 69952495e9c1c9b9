"""Costs: counted in closed form, weighed on disk, timed plausibly."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from pipeline.data import batches
from pipeline.data.batches import Examples
from pipeline.evaluation.cost import model_cost, timing
from pipeline.models import layer_surgery, quantised_layers
from pipeline.models.low_rank_layers import LowRankEmbedding, LowRankLinear

HIDDEN, INNER = 16, 32


def counted(model: BertForSequenceClassification, examples: Examples) -> float:
    """Return the FLOPs of a forward pass, once they are known to be those of each token as well."""
    found = model_cost.flops(model, examples)
    assert found["inference_flops_per_token"] == found["inference_flops"] / median(examples)
    return found["inference_flops"]


def test_parameters_are_those_of_the_formula(model: BertForSequenceClassification, tmp_path: Path) -> None:
    """Devlin et al. 2019: per layer four projections, two feed-forward maps and two norms; pooler and head on top."""
    model.save_pretrained(tmp_path)
    layer = 4 * (HIDDEN**2 + HIDDEN) + 2 * HIDDEN * INNER + INNER + HIDDEN + 2 * 2 * HIDDEN
    embeddings = (40 + 20 + 2) * HIDDEN
    body = 2 * HIDDEN + 2 * layer + (HIDDEN**2 + HIDDEN) + (2 * HIDDEN + 2)
    found = model_cost.storage(model, tmp_path)
    assert (found["parameters"], found["parameters_non_embedding"]) == (embeddings + body, body)


def test_bytes_are_those_on_disk(model: BertForSequenceClassification, tmp_path: Path) -> None:
    model.half().save_pretrained(tmp_path)
    found = model_cost.storage(model, tmp_path)
    file = tmp_path / "model.safetensors"
    header = 8 + int.from_bytes(file.read_bytes()[:8], "little")
    assert found["storage_bytes"] == file.stat().st_size == header + 2 * found["parameters"]


def test_what_layers_share_and_what_words_factorise_counts_once_and_in_its_place(
    model: BertForSequenceClassification, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    before = model_cost.storage(model, tmp_path)
    first, second = model.bert.encoder.layer
    second.attention = first.attention
    first.output.dense = LowRankLinear(INNER, HIDDEN, 3, bias=True)
    model.bert.embeddings.word_embeddings = LowRankEmbedding(40, HIDDEN, 5, padding_idx=0)
    found = model_cost.storage(model, tmp_path)
    shared = 4 * (HIDDEN**2 + HIDDEN) + 2 * HIDDEN
    factors = INNER * HIDDEN - 3 * (INNER + HIDDEN)
    table = 40 * HIDDEN - 5 * (40 + HIDDEN)
    assert before["parameters"] - found["parameters"] == shared + factors + table
    assert before["parameters_non_embedding"] - found["parameters_non_embedding"] == shared + factors


def test_zeros_are_not_counted_among_the_nonzero_parameters(
    model: BertForSequenceClassification, tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    zeros = sum(int((parameter == 0).sum()) for parameter in model.parameters())  # biases, and the padding's row
    dense = model.bert.encoder.layer[0].intermediate.dense
    with torch.no_grad():
        dense.weight[3:] = 0
    found = model_cost.storage(model, tmp_path)
    assert found["parameters"] - found["parameters_nonzero"] == zeros + (INNER - 3) * HIDDEN


@pytest.mark.parametrize("kind", [quantised_layers.DYNAMIC, quantised_layers.WEIGHT_ONLY])
def test_int8_weights_count_as_the_parameters_that_they_were(
    model: BertForSequenceClassification, tmp_path: Path, kind: str
) -> None:
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        model.bert.encoder.layer[0].intermediate.dense.weight[3:] = 0
    before = model_cost.storage(model, tmp_path)
    quantised_layers.convert_to_int8(model, kind)
    found = model_cost.storage(model, tmp_path)
    rounded = sum(
        int((inner == 0).sum())
        for name, inner in quantised_layers.collect_int8_tensors(model).items()
        if "qdata" in name
    )
    nonzero = before["parameters_nonzero"] - (rounded - (INNER - 3) * HIDDEN)
    assert found == before | {"parameters_nonzero": nonzero, "parameters_trainable": 0}


def of_layer(length: int, heads: int = 2, inner: int = INNER) -> int:
    """Return the FLOPs of a layer: four projections, scores and mixing of every head, and the feed-forward."""
    size = heads * HIDDEN // 2
    return 8 * length * HIDDEN * size + 4 * length**2 * size + 4 * length * HIDDEN * inner


ON_TOP = 2 * HIDDEN**2 + 2 * HIDDEN * 2  # of the pooler and the head, for the first token


def median(examples: Examples) -> int:
    length = int(np.median(examples.lengths))
    assert length in examples.lengths
    return length


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_flops_are_those_of_the_formula_whatever_computes_attention(
    model: BertForSequenceClassification, examples: Examples, attention: str
) -> None:
    model.set_attn_implementation(attention)
    assert counted(model, examples) == 2 * of_layer(median(examples)) + ON_TOP


def test_flops_fall_with_heads_neurons_and_ranks_and_not_with_zeros_or_sharing(
    model: BertForSequenceClassification, examples: Examples
) -> None:
    first, second = model.bert.encoder.layer
    layer_surgery.select_heads(first.attention, [1])
    layer_surgery.select_neurons(first.intermediate, first.output, range(7))
    second.intermediate.dense = LowRankLinear(HIDDEN, INNER, 4, bias=True)
    with torch.no_grad():
        second.output.dense.weight.zero_()
    length = median(examples)
    saved = 2 * length * (HIDDEN * INNER - 4 * (HIDDEN + INNER))
    expected = of_layer(length, heads=1, inner=7) + of_layer(length) - saved + ON_TOP
    assert counted(model, examples) == expected
    first.attention = second.attention
    expected += of_layer(length, heads=2, inner=7) - of_layer(length, heads=1, inner=7)
    assert counted(model, examples) == expected


@pytest.mark.parametrize("kind", [quantised_layers.DYNAMIC, quantised_layers.WEIGHT_ONLY])
def test_products_of_integers_count_like_those_of_floating_point(
    model: BertForSequenceClassification, examples: Examples, kind: str
) -> None:
    quantised_layers.convert_to_int8(model, kind)
    model.train()
    assert counted(model, examples) == 2 * of_layer(median(examples)) + ON_TOP
    assert model.training


def test_what_one_more_update_would_take_is_told_of_weights_that_can_be_trained(
    model: BertForSequenceClassification, examples: Examples
) -> None:
    found = model_cost.training(model, examples)
    parameters = list(model.parameters())
    numbers = sum(each.numel() for each in parameters)
    assert found["training_flops"] == 3 * (2 * of_layer(median(examples)) + ON_TOP)  # backward is twice forward
    assert found["gradient_bytes"] == 4 * numbers
    assert found["optimizer_bytes"] == 8 * numbers + 4 * len(parameters)  # two moments each, a counter for each tensor
    quantised_layers.convert_to_int8(model, quantised_layers.DYNAMIC)
    assert model_cost.training(model, examples) == {}


def test_every_example_is_predicted_in_fp32(model: BertForSequenceClassification, examples: Examples) -> None:
    said, speed = model_cost.predict(model, examples)
    row = batches.collate(examples, np.array([17]))
    with torch.no_grad():
        np.testing.assert_allclose(said[17], model(**row.inputs).logits[0].numpy(), rtol=1e-4, atol=1e-6)
    assert said.shape == (30, 2)
    assert speed["inference_pairs_per_second"] > 0
    tokens = speed["inference_tokens_per_second"] / speed["inference_pairs_per_second"]
    assert tokens == pytest.approx(examples.lengths.mean())


def test_predicting_is_timed_after_a_warm_up_by_the_first_batch(
    model: BertForSequenceClassification, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[object] = []
    now = timing.now
    monkeypatch.setattr(timing, "now", lambda device: events.append("clock") or now(device))
    model.register_forward_pre_hook(
        lambda _, __, inputs: events.append((torch.is_grad_enabled(), tuple(inputs["input_ids"].shape))),
        with_kwargs=True,
    )
    model_cost.predict(model, examples)
    batch = (False, (30, examples.lengths.max()))
    assert events == [batch, "clock", batch, "clock"]


def test_one_example_at_a_time_is_timed_after_a_warm_up(
    model: BertForSequenceClassification, examples: Examples
) -> None:
    shapes = []
    model.register_forward_pre_hook(
        lambda _, __, inputs: shapes.append((torch.is_grad_enabled(), tuple(inputs["input_ids"].shape))),
        with_kwargs=True,
    )
    found = model_cost.latency(model, examples)
    assert list(found) == [f"latency_p{share}_ms" for share in (50, 90, 95, 99)]
    assert sorted(found.values()) == list(found.values())
    timed = [length for _, (rows, length) in shapes[-model_cost.CALLS :] if rows == 1]
    assert len(shapes) == len(set(timed)) + model_cost.CALLS  # each length once before
    assert sorted(set(timed)) == sorted(set(examples.lengths.tolist()))
    assert not any(gradients for gradients, _ in shapes)
