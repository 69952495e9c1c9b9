"""ONNX files of models of one narrow layer: they say what the model says, at any shape, and hold int8 as int8."""

import json
import logging
import math
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForSequenceClassification
from transformers.models.bert.tokenization_bert import BertTokenizer

from pipeline.cli import export, main
from pipeline.core import checksums, paths
from pipeline.core.errors import UserError
from pipeline.models import layer_surgery, load_model, quantised_layers
from pipeline.models.low_rank_layers import LowRankEmbedding, LowRankLinear

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
HIDDEN, INNER = 32, 256
INT8 = 4 * HIDDEN**2 + 2 * HIDDEN * INNER  # weights of the Linears of a layer


def built(layers: int = 1) -> BertForSequenceClassification:
    config = BertConfig(
        vocab_size=len(PIECES), hidden_size=HIDDEN, num_hidden_layers=layers, num_attention_heads=2,
        intermediate_size=INNER, max_position_embeddings=96, initializer_range=0.2,
    )  # fmt: skip
    torch.manual_seed(0)
    return BertForSequenceClassification(config).eval()


def session(file: Path, accuracy: str = "1") -> Any:
    """Open a file in onnxruntime, so that it multiplies by int8 weights in fp32 where ``accuracy`` is 1."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", accuracy)
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def furthest(model: Any, opened: Any, allowed: float) -> float:
    """Return the largest difference of logits over some shapes, each within ``allowed``."""
    worst = 0.0
    for rows, length in ((1, 1), (1, 30), (4, 7), (7, 48)):
        ids = torch.randint(5, len(PIECES), (rows, length))
        mask = (torch.arange(length) < torch.randint(1, length + 1, (rows, 1))).long()
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": (ids > 15).long()}
        with torch.inference_mode():
            expected = model(**inputs).logits.numpy()
        said = opened.run(["logits"], {name: tensor.numpy() for name, tensor in inputs.items()})[0]
        np.testing.assert_allclose(said, expected, atol=allowed, rtol=0)
        worst = max(worst, float(np.abs(said - expected).max()))
    return worst


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a compressed cell with seeds 1 and 2, below a project that is empty but for it."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    model = built()
    layer = model.bert.encoder.layer[0]
    layer_surgery.select_heads(layer.attention, [1])
    layer.intermediate.dense = LowRankLinear(HIDDEN, INNER, 8, bias=True)
    model.bert.embeddings.word_embeddings = LowRankEmbedding(len(PIECES), HIDDEN, 8, padding_idx=0)
    for seed in (1, 2):
        folder = paths.get_trial_dir("compress", "swap-tiny-0.5-svd", seed)
        folder.mkdir(parents=True)
        load_model.save_classifier(model, BertTokenizer(vocab={piece: i for i, piece in enumerate(PIECES)}), folder)
        checksums.write_checksums(folder)
    return paths.get_cell_dir("compress", "swap-tiny-0.5-svd")


def test_a_compressed_cell_becomes_a_file_that_says_the_same_at_other_shapes(
    runs: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    told = export.export("compress/swap-tiny-0.5-svd")
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert tuple(capfd.readouterr()) == ("", "")
    file = paths.ROOT / "exports" / "compress-swap-tiny-0.5-svd-seed-1.onnx"
    assert re.fullmatch(
        rf"{re.escape(str(file))}: {file.stat().st_size:,} bytes; logits differ by [\d.]+e-\d\d at most; one example "
        r"of 24 tokens takes [\d.]+ ms in onnxruntime, [\d.]+ ms in torch",
        told,
    )
    assert [found.name for found in file.parent.iterdir()] == [file.name]
    assert furthest(load_model.load_finetuned(runs / "seed-1").model, session(file), 1e-5) > 0


@pytest.mark.usefixtures("runs")
def test_a_file_has_the_names_of_the_classes_in_its_metadata() -> None:
    config = paths.get_trial_dir("compress", "swap-tiny-0.5-svd", 1) / "config.json"
    names = {"0": "bad", "1": "good"}
    config.write_text(json.dumps(json.loads(config.read_text()) | {"id2label": names}))
    checksums.write_checksums(config.parent)
    export.export("compress/swap-tiny-0.5-svd")
    opened = session(paths.ROOT / "exports" / "compress-swap-tiny-0.5-svd-seed-1.onnx")
    assert json.loads(opened.get_modelmeta().custom_metadata_map["id2label"]) == names


def numbers(file: Path) -> dict[str, int]:
    """Return how many numbers of each type a file holds."""
    import onnx

    counts: dict[str, int] = {}
    for tensor in onnx.load(file).graph.initializer:
        kind = onnx.TensorProto.DataType.Name(tensor.data_type)
        counts[kind] = counts.get(kind, 0) + math.prod(tensor.dims)
    return counts


@pytest.mark.parametrize(
    ("kind", "layers", "allowed"), [(quantised_layers.WEIGHT_ONLY, 2, 1e-5), (quantised_layers.DYNAMIC, 1, 0.2)]
)
def test_int8_weights_stay_int8_and_what_layers_share_is_there_once(
    tmp_path: Path, kind: str, layers: int, allowed: float
) -> None:
    """Rounded activations may fall to either side of a step, 1% of the largest: more than other sums differ."""
    model = built(layers)
    first, *others = model.bert.encoder.layer
    for layer in others:
        layer.attention, layer.intermediate, layer.output = first.attention, first.intermediate, first.output
    quantised_layers.convert_to_int8(model, kind)
    file = tmp_path / "model.onnx"
    export.write(model, list(export.INPUTS), file)
    furthest(model, session(file), allowed)
    held, total = numbers(file), sum(parameter.numel() for parameter in model.parameters())
    assert held["INT8"] == INT8
    assert total - INT8 <= held["FLOAT"] < total
    assert file.stat().st_size < INT8 + 4 * held["FLOAT"] + 64 * 2**10
    assert b"site-packages" not in file.read_bytes()
    assert quantised_layers.get_int8_kind(model) == kind


def test_a_file_that_says_something_else_is_not_kept(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "write", lambda model, names, file: file.write_bytes(b""))
    monkeypatch.setattr(export, "_compare_logits", lambda *_: 0.5)
    monkeypatch.setattr(export, "_open_session", lambda file: None)
    with pytest.raises(UserError) as caught:
        export.export("compress/swap-tiny-0.5-svd", seed=2)
    assert str(caught.value) == (
        "compress/swap-tiny-0.5-svd: its logits in onnxruntime are off by 0.5, above 0.0001; no file"
    )
    assert list((paths.ROOT / "exports").iterdir()) == []


@pytest.mark.parametrize(
    ("cell", "seed", "message"),
    [
        (
            "compress/swap-tiny-0.5-sdv",
            None,
            "runs/compress/swap-tiny-0.5-sdv: no trained model; did you mean 'compress/swap-tiny-0.5-svd'? "
            "(allowed: compress/swap-tiny-0.5-svd)",
        ),
        ("compress/swap-tiny-0.5-svd", 3, "runs/compress/swap-tiny-0.5-svd: no seed 3; allowed: 1, 2"),
    ],
)
def test_what_was_not_made_is_told(runs: Path, cell: str, seed: int | None, message: str) -> None:
    with pytest.raises(UserError) as caught:
        export.export(cell, seed)
    assert str(caught.value) == message


def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None if name != "onnx" else object())
    with pytest.raises(UserError) as caught:
        export.export("compress/any")
    assert str(caught.value) == "onnxscript, onnxruntime: not installed; run `pip install '.[onnx]'`"


def test_the_command_ends_with_one_line(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["lab", "export", "compress/other"])
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == (
        "error: runs/compress/other: no trained model; did you mean 'compress/swap-tiny-0.5-svd'? "
        "(allowed: compress/swap-tiny-0.5-svd)"
    )
