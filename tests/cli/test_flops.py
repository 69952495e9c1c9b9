"""The command's tables of a compressed cell with two seeds, of a model and of a folder, and its one-line errors."""

import sys
from pathlib import Path

import pytest
import torch
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForSequenceClassification, BertModel
from transformers.models.bert.tokenization_bert import BertTokenizer

from pipeline.cli import flops, main
from pipeline.compression import weight_sharing
from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.models import load_model, quantised_layers

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
HIDDEN, INNER, LAYERS = 32, 128, 2
CONFIG = BertConfig(
    vocab_size=len(PIECES), hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=2,
    intermediate_size=INNER, max_position_embeddings=48, num_labels=3,
)  # fmt: skip


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty project but for a cell whose layers share all, and a pre-trained model."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    tokenizer = BertTokenizer(vocab={piece: place for place, piece in enumerate(PIECES)})
    torch.manual_seed(0)
    model = BertForSequenceClassification(CONFIG)
    weight_sharing.apply(model, "all", 1, "first")
    for seed in (10, 9):
        load_model.save_classifier(model, tokenizer, paths.get_trial_dir("compress", "mrpc-tiny-0.5-shared", seed))
    BertModel(CONFIG).save_pretrained(paths.get_model_dir("bert-tiny"))
    tokenizer.save_pretrained(paths.get_model_dir("bert-tiny"))
    return tmp_path


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line.strip()]


def test_a_cell_of_shared_layers_is_told_by_part_and_in_all(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flops.print_flops("compress/mrpc-tiny-0.5-shared", length=40, batch=100)
    told = lines(capsys)
    s, rows = 40, 100
    inner = 2 * rows * LAYERS * s * HIDDEN * INNER / 1e6
    pairs = 4 * rows * LAYERS * s**2 * HIDDEN / 1e6
    forward = rows * (LAYERS * (24 * s * HIDDEN**2 + 4 * s**2 * HIDDEN) + 2 * HIDDEN**2 + 2 * HIDDEN * 3)
    folder = root / "runs" / "compress" / "mrpc-tiny-0.5-shared" / "seed-9"
    assert told[0] == f"{folder}: a batch of 100 examples of 40 tokens"
    assert told[2] == "part parameters forward, M counted off backward, M counted off kept, MB"
    assert any(
        line.startswith(
            f"feed-forward in, 2 times {HIDDEN * INNER + INNER:,} {inner:.2f} {inner:.2f} 0 "
            f"{2 * inner:.2f} {2 * inner:.2f} 0 "
        )
        for line in told
    )
    assert any(
        line.startswith(
            f"attention scores, mixing, 2 times 0 {pairs:.2f} {pairs:.2f} 0 {2 * pairs:.2f} {2 * pairs:.2f} 0 "
        )
        for line in told
    )
    total = f"{forward / 1e6:,.2f}"
    assert f"forward, M FLOPs {total} {total} 0 {forward / rows / 1e6:,.2f} {forward / rows / s / 1e6:,.3f}" in told
    assert sum(" 0" in line and "M FLOPs" in line for line in told) == 3
    square, linear = LAYERS * 4 * HIDDEN, LAYERS * 24 * HIDDEN**2
    assert f"forward {2 * HIDDEN**2 + 6 * HIDDEN:,} + {linear:,} s + {square} s² FLOPs" in told
    assert not any("%" in line or "all" in line.split() for line in told)


def test_a_model_without_a_head_gets_one_and_its_positions_bound_the_length(capsys: pytest.CaptureFixture[str]) -> None:
    flops.print_flops("bert-tiny")
    told = lines(capsys)
    assert told[0] == f"{paths.get_model_dir('bert-tiny')}: a batch of 16 examples of 48 tokens"
    assert any(line.startswith(f"classifier {2 * HIDDEN + 2} ") for line in told)


def test_a_folder_of_a_classifier_is_opened_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    flops.print_flops(str(paths.get_trial_dir("compress", "mrpc-tiny-0.5-shared", 10)), length=3)
    told = lines(capsys)
    assert told[0].endswith("seed-10: a batch of 16 examples of 3 tokens")
    assert any(line.startswith(f"classifier {3 * HIDDEN + 3} ") for line in told)


def test_int8_weights_have_a_forward_pass_alone(capsys: pytest.CaptureFixture[str]) -> None:
    folder = paths.get_trial_dir("compress", "mrpc-tiny-0.5-shared", 9)
    loaded = load_model.load_finetuned(folder)
    quantised_layers.convert_to_int8(loaded.model, quantised_layers.DYNAMIC)
    load_model.save_classifier(loaded.model, loaded.tokenizer, folder)
    flops.print_flops("compress/mrpc-tiny-0.5-shared")
    told = lines(capsys)
    assert "backward, M FLOPs 0.00 0.00 0.00 0.000" in told
    assert "optimiser, MB 0.00 0.00" in told
    assert any("trainable 0, outside" in line for line in told)


def test_a_difference_is_told_in_percent_of_what_was_counted() -> None:
    assert flops._format_comparison(2_040_000, 2_000_000) == ("2.04", "2.00", "+2.00%")
    assert flops._format_comparison(2_000_000, 2_000_000) == ("2.00", "2.00", "0")
    assert flops._format_comparison(1, 0) == ("0.00", "0.00", "all")
    assert flops._format_comparison(0, 0) == ("0.00", "0.00", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bert-tiny", "--length", "49"], "--length: got 49; bert-tiny accepts at most 48 tokens"),
        (
            ["compress/mrpc-tiny-0.5-share"],
            "compress/mrpc-tiny-0.5-share: no trained cell or model, and no folder with config.json; did you mean "
            "'compress/mrpc-tiny-0.5-shared'? (allowed: bert-tiny, compress/mrpc-tiny-0.5-shared)",
        ),
        (
            ["bert-mini"],
            "models/bert-mini: not created yet; run `python -m pipeline.stages.pretrain --multirun +sweep=once "
            "model=bert-mini`",
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line(words: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["lab", "flops", *words])
    with pytest.raises(SystemExit) as caught:
        main.main()
    assert caught.value.code == f"error: {message}"


def test_where_nothing_is_made_yet_the_way_to_make_it_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "ROOT", root / "empty")
    with pytest.raises(UserError) as caught:
        flops.print_flops("finetune/any")
    assert str(caught.value) == (
        "finetune/any: no trained cell or model, and no folder with config.json; run `dvc repro`, or name the folder "
        "of a checkpoint"
    )
