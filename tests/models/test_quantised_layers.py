"""Int8 weights: error bounds, detection, exact restore."""

import copy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from pipeline.core.errors import UserError
from pipeline.models import bert_layers, quantised_layers
from pipeline.models.low_rank_layers import LowRankLinear
from pipeline.system import hardware

NAME = "bert.encoder.layer.0.output.dense.weight.qdata"
KINDS = (quantised_layers.DYNAMIC, quantised_layers.WEIGHT_ONLY)


def built(seed: int = 0) -> BertForSequenceClassification:
    """Return two narrow layers, of which the second reads by the first one's attention and widens in two factors."""
    config = BertConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=24, initializer_range=0.2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config).eval()
        first, second = model.bert.encoder.layer
        second.attention = first.attention
        second.intermediate.dense = LowRankLinear(32, 48, 8, bias=True)
    return model


@torch.no_grad()
def compute_logits(model: nn.Module) -> Tensor:
    ids = torch.randint(5, 60, (5, 12), generator=torch.Generator().manual_seed(3))
    mask = torch.arange(12) < torch.tensor([12, 12, 9, 5, 3])[:, None]
    return model(input_ids=ids, attention_mask=mask.long()).logits


@pytest.mark.parametrize(
    ("kind", "overflows", "steps"),
    [
        (quantised_layers.DYNAMIC, False, 127.5),
        (quantised_layers.DYNAMIC, True, 63.5),
        (quantised_layers.WEIGHT_ONLY, False, 127.5),
        (quantised_layers.WEIGHT_ONLY, True, 127.5),
    ],
)
def test_an_entry_is_off_by_half_a_scale_at_most(
    monkeypatch: pytest.MonkeyPatch, kind: str, overflows: bool, steps: float
) -> None:
    """Rounding to the nearest of 127 or 63 steps to each side of zero: |w - scale * q| <= scale / 2."""
    monkeypatch.setattr(hardware, "has_int8_overflow", lambda at: overflows)
    plain, model = built(), built()
    quantised_layers.convert_to_int8(model, kind)
    inner = quantised_layers.collect_int8_tensors(model)
    for name in {name.rpartition(".")[0] for name in inner}:
        weight, scale = plain.get_parameter(name), inner[f"{name}.scale"]
        torch.testing.assert_close(scale, weight.abs().amax(1, keepdim=True) / steps, rtol=1e-5, atol=0)
        off = (weight - scale * inner[f"{name}.qdata"]).abs()
        # The largest entry of a row would be 127.5 or 63.5 and is cut by half a scale as well.
        assert (off <= 0.5001 * scale).all()
        assert off.max() > 0
        assert not model.get_parameter(name).zero_point.any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_linears_of_the_layers_are_int8_and_nothing_else(kind: str) -> None:
    model = built()
    quantised_layers.convert_to_int8(model, kind)
    attention = [f"bert.encoder.layer.0.attention.{part}" for part in
                 ("self.query", "self.key", "self.value", "output.dense")]  # fmt: skip
    wide = [f"bert.encoder.layer.{part}" for part in
            ("0.intermediate.dense", "0.output.dense", "1.intermediate.dense.0", "1.intermediate.dense.1",
             "1.output.dense")]  # fmt: skip
    names = {f"{name}.weight.{inner}" for name in attention + wide for inner in ("qdata", "scale")}
    assert set(quantised_layers.collect_int8_tensors(model)) == names
    assert len(bert_layers.list_linears(model)) == 9
    assert model.bert.encoder.layer[1].attention is model.bert.encoder.layer[0].attention
    assert {type(module.weight) for module in (model.bert.pooler.dense, model.classifier)} == {nn.Parameter}


@pytest.mark.parametrize("kind", KINDS)
def test_the_outputs_are_the_same_after_safetensors(kind: str, tmp_path: Path) -> None:
    model, other = built(), built(seed=1)
    quantised_layers.convert_to_int8(model, kind)
    save_file(quantised_layers.collect_int8_tensors(model), tmp_path / "weights.safetensors")
    int8 = {name.rpartition(".")[0] for name in quantised_layers.collect_int8_tensors(model)}
    other.load_state_dict(
        {name: value for name, value in built().state_dict().items() if name not in int8}, strict=False
    )
    assert not torch.equal(compute_logits(other), compute_logits(model))
    quantised_layers.load_int8_tensors(other, kind, load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(compute_logits(other), compute_logits(model))
    assert quantised_layers.get_int8_kind(other) == kind
    assert other.bert.encoder.layer[1].attention is other.bert.encoder.layer[0].attention


def test_a_copy_says_the_same() -> None:
    model = built()
    quantised_layers.convert_to_int8(model, quantised_layers.DYNAMIC)
    assert torch.equal(compute_logits(copy.deepcopy(model)), compute_logits(model))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda inner: inner.pop(NAME), "is missing"),
        (lambda inner: inner.update({NAME: inner[NAME][:3]}), "is int8 (3, 48) in place of int8 (32, 48)"),
        (lambda inner: inner.update({NAME: inner[NAME].float()}), "is float32 (32, 48) in place of int8 (32, 48)"),
    ],
)  # fmt: skip
def test_tensors_that_do_not_fit_are_told(change: Callable[[dict[str, Tensor]], object], message: str) -> None:
    model = built()
    quantised_layers.convert_to_int8(model, quantised_layers.WEIGHT_ONLY)
    inner = quantised_layers.collect_int8_tensors(model)
    change(inner)
    with pytest.raises(UserError) as caught:
        quantised_layers.load_int8_tensors(built(), quantised_layers.WEIGHT_ONLY, inner)
    assert str(caught.value) == f"{NAME} of the int8 weights {message}"


def test_weights_that_would_overflow_on_this_processor_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without VNNI products are added up in 16 bits, and the range is halved when a model is quantised there."""
    monkeypatch.setattr(hardware, "has_int8_overflow", lambda at: False)
    model = built()
    quantised_layers.convert_to_int8(model, quantised_layers.DYNAMIC)
    monkeypatch.setattr(hardware, "has_int8_overflow", lambda at: True)
    narrow = built()
    quantised_layers.convert_to_int8(narrow, quantised_layers.DYNAMIC)
    assert (
        min(
            int(inner.min()) for name, inner in quantised_layers.collect_int8_tensors(narrow).items() if "qdata" in name
        )
        == -64
    )
    quantised_layers.load_int8_tensors(built(), quantised_layers.DYNAMIC, quantised_layers.collect_int8_tensors(narrow))
    with pytest.raises(UserError) as caught:
        quantised_layers.load_int8_tensors(
            built(), quantised_layers.DYNAMIC, quantised_layers.collect_int8_tensors(model)
        )
    assert str(caught.value) == (
        "bert.encoder.layer.0.attention.self.query.weight was made int8 on other hardware, in a range whose products "
        "overflow on this processor; compress the model again here, or without activations"
    )


def test_only_quantising_imports_torchao_and_in_silence() -> None:
    script = """
import sys
from pathlib import Path
from pipeline.models import load_model, quantised_layers
model = load_model.load_pretrained(Path("starter/starter-2x64")).model
assert quantised_layers.get_int8_kind(model) is None
assert sys.modules["torchao"] is None
quantised_layers.convert_to_int8(model, "int8-dynamic")
assert quantised_layers.get_int8_kind(model) == "int8-dynamic"
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
