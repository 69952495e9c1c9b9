"""int8 as a step of a chain: what it says it did, how little the outputs move, and what it refuses."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from pipeline.compression import quantisation
from pipeline.core.errors import UserError
from pipeline.models import load_model, quantised_layers

STARTER = Path(__file__).resolve().parents[2] / "starter" / "starter-2x96"


@pytest.fixture(scope="module")
def starter() -> Any:
    """Return a checkpoint that was really pre-trained, with a head of its own."""
    return load_model.load_pretrained(STARTER, seed=1).model


def asked(model: Any) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, model.config.vocab_size, (16, 30), generator=generator)
    mask = torch.arange(30) < torch.randint(8, 31, (16, 1), generator=generator)
    return {"input_ids": ids, "attention_mask": mask.long()}


@torch.no_grad()
def test_weights_alone_in_int8_say_what_their_scaled_integers_say_in_fp32(starter: Any) -> None:
    model, plain = quantisation.apply(copy.deepcopy(starter), "none").model, copy.deepcopy(starter)
    inner = quantised_layers.collect_int8_tensors(model)
    for name in {name.rpartition(".")[0] for name in inner}:
        plain.get_parameter(name).copy_(inner[f"{name}.qdata"] * inner[f"{name}.scale"])
    torch.testing.assert_close(model(**asked(plain)).logits, plain(**asked(plain)).logits, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("activations", ["dynamic", "none"])
def test_the_outputs_of_a_pretrained_model_move_little(starter: Any, activations: str) -> None:
    """Rounding by half of 1/127 of a row's largest entry is noise of about 1% of a weight, and of an activation.

    Six products in a row, each beside a residual and before a norm, give a few per cent of the spread of the logits.
    """
    plain = starter(**asked(starter)).logits
    model = quantisation.apply(copy.deepcopy(starter), activations).model
    moved = (model(**asked(starter)).logits - plain).square().mean().sqrt()
    assert 0 < moved < 0.05 * plain.std()


@pytest.mark.parametrize(("activations", "told"), [("dynamic", "and the activations before them "), ("none", "")])
def test_what_was_quantised_is_told(starter: Any, activations: str, told: str) -> None:
    weights = 2 * (4 * 96 * 96 + 2 * 96 * 384)
    total = sum(parameter.numel() for parameter in starter.parameters())
    assert quantisation.apply(copy.deepcopy(starter), activations).changed == (
        f"12 Linears {told}in int8, {weights:,} of {total:,} parameters ({weights / total:.1%}); "
        "the embeddings and all else stay fp32"
    )


def small() -> BertForSequenceClassification:
    return BertForSequenceClassification(
        BertConfig(vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48)
    )


def test_an_unknown_word_and_int8_weights_are_refused() -> None:
    with pytest.raises(UserError) as caught:
        quantisation.apply(small(), "dynamical")
    assert str(caught.value) == (
        "activations: got 'dynamical'; did you mean 'dynamic'? (allowed: dynamic, none)"
    )  # fmt: skip
    model = quantisation.apply(small(), "dynamic").model
    with pytest.raises(UserError) as caught:
        quantisation.apply(model, "none")
    assert str(caught.value) == (
        "the model's weights are int8 already; put int8 last in the chain, behind this method"
    )  # fmt: skip


def test_what_torchao_cannot_serve_is_told_in_its_own_words_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unserved(*_: object) -> Tensor:
        raise NotImplementedError("_int_mm is not for this processor\nand more lines")

    model = small()
    before = copy.deepcopy(model.state_dict())
    monkeypatch.setattr(nn.Linear, "forward", unserved)
    left, changed = quantisation.apply(model, "dynamic")
    assert changed == (
        "nothing, and the weights stay fp32: torchao cannot serve int8-dynamic on cpu: "
        "_int_mm is not for this processor"
    )
    assert quantised_layers.get_int8_kind(left) is None
    assert all(left.state_dict()[name].equal(weight) for name, weight in before.items())
