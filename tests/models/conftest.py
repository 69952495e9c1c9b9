"""A checkpoint of a few kilobytes: two layers of width 8 and a vocabulary of letters."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForMaskedLM, BertForPreTraining, BertModel
from transformers.models.bert.tokenization_bert import BertTokenizer

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
KINDS = {"plain": BertModel, "without pooler": BertModel, "mlm": BertForMaskedLM, "pretraining": BertForPreTraining}

Checkpoint = Callable[..., Path]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    """Write a random BERT of a kind into a folder and return the folder."""

    def written(name: str = "checkpoint", kind: str = "plain", half: bool = False, **settings: Any) -> Path:
        config = BertConfig(
            vocab_size=len(PIECES), hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=32, **settings,
        )  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            model = KINDS[kind](config, **({"add_pooling_layer": False} if kind == "without pooler" else {}))
        folder = tmp_path / name
        (model.half() if half else model).save_pretrained(folder)
        BertTokenizer(vocab={piece: i for i, piece in enumerate(PIECES)}).save_pretrained(folder)
        return folder

    return written
