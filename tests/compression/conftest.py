"""A BERT of four narrow layers whose every weight is random, examples to calibrate on, and a way through a file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForSequenceClassification
from transformers.models.bert.tokenization_bert import BertTokenizer

from pipeline.compression.calibration import Calibration
from pipeline.data.batches import Examples
from pipeline.models import load_model

WORDS = 60


@pytest.fixture
def bert() -> Callable[..., BertForSequenceClassification]:
    """Make a BERT with weights drawn from a seed; settings of its configuration may be given."""

    def made(seed: int = 0, **settings: Any) -> BertForSequenceClassification:
        config = BertConfig(
            **{
                "vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4,
                "intermediate_size": 48, "max_position_embeddings": 32, "initializer_range": 0.2,
                "attn_implementation": "eager", **settings,
            }
        )  # fmt: skip
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config).eval()
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                nn.init.normal_(parameter, std=0.2)
        return model

    return made


@pytest.fixture
def examples() -> Examples:
    """Return 40 examples of 4 to 19 tokens with random labels."""
    random = np.random.default_rng(0)
    lengths = random.integers(4, 20, 40)
    tokens = random.integers(5, WORDS, lengths.sum())
    return Examples(tokens, np.zeros_like(tokens), np.cumsum([0, *lengths]), random.integers(0, 2, 40), pad=0)


@pytest.fixture
def calibration(examples: Examples) -> Calibration:
    return Calibration(examples)


@pytest.fixture
def ids() -> dict[str, Tensor]:
    """Return a batch of which one row is padded."""
    ids = torch.randint(5, WORDS, (3, 14), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    ids[1, 9:], mask[1, 9:] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


@pytest.fixture
def reopened(tmp_path: Path) -> Callable[[Any], Any]:
    """Save a model and open it again; the file is `tmp_path/trial/model.safetensors`."""
    tokenizer = BertTokenizer(
        vocab={piece: i for i, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])}
    )

    def opened(model: Any) -> Any:
        load_model.save_classifier(model, tokenizer, tmp_path / "trial")
        return load_model.load_finetuned(tmp_path / "trial", attention="eager").model

    return opened
