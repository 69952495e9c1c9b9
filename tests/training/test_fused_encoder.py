"""BERT's layers written out: what transformers computes, and the gradients that autograd finds of it."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from pipeline.data import batches
from pipeline.data.batches import Batch, Examples
from pipeline.models import layer_surgery
from pipeline.models.low_rank_layers import LowRankLinear
from pipeline.training import fast_dropout, fused_encoder
from pipeline.training.fast_cpu import apply_fast_passes

Bert = Callable[..., BertForSequenceClassification]
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


@pytest.fixture(params=[1, 12])
def batch(request: pytest.FixtureRequest, examples: Callable[..., Examples]) -> Batch:
    return batches.collate(examples(60), np.arange(request.param))


def gradients(model: nn.Module, batch: Batch, precision: str = "fp32") -> dict[str, Tensor]:
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        model(**batch.inputs, labels=batch.labels).loss.backward()
    return {name: weight.grad for name, weight in model.named_parameters()}


def fewer_heads(model: BertForSequenceClassification) -> None:
    layer_surgery.select_heads(model.bert.encoder.layer[0].attention, [1])


def fewer_neurons(model: BertForSequenceClassification) -> None:
    layer = model.bert.encoder.layer[0]
    layer_surgery.select_neurons(layer.intermediate, layer.output, range(5))


def shared(model: BertForSequenceClassification) -> None:
    first, last = model.bert.encoder.layer
    last.attention, last.intermediate, last.output = first.attention, first.intermediate, first.output


def as_it_is(_: BertForSequenceClassification) -> None:
    pass


@pytest.mark.parametrize("change", [as_it_is, fewer_heads, fewer_neurons, shared])
def test_every_weight_gets_the_gradient_that_autograd_finds(
    bert: Bert, batch: Batch, change: Callable[[BertForSequenceClassification], None]
) -> None:
    model = bert(**STILL).train()
    change(model)
    assert fused_encoder.is_supported(model)
    expected = gradients(model, batch)
    with apply_fast_passes(model):
        found = gradients(model, batch)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, msg=lambda text, name=name: f"{name}: {text}")


def test_bf16_is_no_further_off_than_under_autocast(bert: Bert, batch: Batch) -> None:
    model = bert(**STILL).train()
    exact, autocast = gradients(model, batch), gradients(model, batch, "bf16")
    with apply_fast_passes(model):
        found = gradients(model, batch, "bf16")
    assert all(gradient.dtype == torch.float32 for gradient in found.values())

    def off(given: dict[str, Tensor]) -> float:
        return float(sum((given[name] - exact[name]).square().sum() for name in exact) ** 0.5)

    assert 0 < off(found) < 1.5 * off(autocast)


def test_gradients_are_those_of_the_elements_that_were_dropped(
    bert: Bert, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = bert(hidden_dropout_prob=0.3, attention_probs_dropout_prob=0.3).train()
    monkeypatch.setattr(torch.Tensor, "random_", _always_the_same)
    with apply_fast_passes(model):
        found = gradients(model, batch)
        weight = model.bert.encoder.layer[0].attention.self.value.weight
        place, step = (3, 5), 1e-2

        def loss(moved: float) -> float:
            with torch.no_grad():
                weight[place] += moved
            value = model(**batch.inputs, labels=batch.labels).loss.item()
            with torch.no_grad():
                weight[place] -= moved
            return float(value)

        slope = (loss(step) - loss(-step)) / (2 * step)
    assert found["bert.encoder.layer.0.attention.self.value.weight"][place].item() == pytest.approx(slope, abs=2e-4)


def _always_the_same(tensor: Tensor, *_: object) -> Tensor:
    generator = np.random.default_rng(tensor.numel())
    return tensor.copy_(torch.from_numpy(generator.integers(-(2**63), 2**63 - 1, tensor.shape)))


def test_an_evaluation_sees_the_weights_that_training_has_moved(bert: Bert, batch: Batch) -> None:
    model = bert().train()
    with apply_fast_passes(model):
        with torch.inference_mode():
            model.eval()(**batch.inputs)
        gradients(model.train(), batch)
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(1.1)
        with torch.inference_mode():
            said = model.eval()(**batch.inputs).logits
    torch.testing.assert_close(said, model.eval()(**batch.inputs).logits)


def test_layers_of_another_kind_are_left_to_transformers(bert: Bert) -> None:
    model = bert()
    layer_surgery.replace_module(model, "bert.encoder.layer.1.output.dense", LowRankLinear(64, 32, 3, bias=True))
    assert not fused_encoder.is_supported(model)
    assert not fused_encoder.is_supported(bert(hidden_act="relu"))
    assert fused_encoder.is_supported(bert())


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_a_mask_holds_zero_and_what_keeps_the_mean(kind: torch.dtype) -> None:
    torch.manual_seed(0)
    kept = fast_dropout.draw_mask(torch.empty(1000, 7, dtype=kind), 0.1)
    assert kept is not None
    values = kept.unique().tolist()
    assert kept.dtype == kind
    assert values == [0.0, pytest.approx(1 / 0.9, rel=3e-3)]
