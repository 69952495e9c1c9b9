"""A BERT of two narrow layers and examples from which it can learn."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from pipeline.data.batches import Examples
from pipeline.system import hardware
from pipeline.training.recipe import Recipe

VOCABULARY = 40


@pytest.fixture
def bert() -> Callable[..., BertForSequenceClassification]:
    """Make a BERT with weights drawn from a seed; settings of its configuration may be given."""

    def made(seed: int = 0, **settings: Any) -> BertForSequenceClassification:
        config = BertConfig(
            **{
                "vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                "intermediate_size": 64, "max_position_embeddings": 32, "initializer_range": 0.1, **settings,
            }
        )  # fmt: skip
        torch.manual_seed(seed)
        return BertForSequenceClassification(config).eval()

    return made


@pytest.fixture
def examples() -> Callable[..., Examples]:
    """Make examples of 4 to 12 tokens, labelled by whether the token 7 stands in them (as a number: how often)."""

    def made(count: int, seed: int = 0, regression: bool = False) -> Examples:
        random = np.random.default_rng(seed)
        rows = [random.integers(5, 10, random.integers(4, 13)) for _ in range(count)]
        marked = [(row == 7).sum() for row in rows]
        labels = (
            np.array(marked, dtype=np.float32) if regression else np.array([mark > 0 for mark in marked]).astype(int)
        )
        tokens = np.concatenate(rows)
        return Examples(tokens, np.zeros_like(tokens), np.cumsum([0, *map(len, rows)]), labels, pad=0)

    return made


@pytest.fixture
def recipe() -> Callable[..., Recipe]:
    """Make a recipe, the settings of which may be given."""
    usual = Recipe(
        learning_rate=1e-3, batch_size=8, epochs=1, steps=None, warmup=0.1, weight_decay=0.01, clip=1.0, evaluations=2
    )
    return lambda **settings: Recipe(**{**dict(usual), **settings})


@pytest.fixture
def fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every machine compute in fp32, to compare numbers closely."""
    monkeypatch.setattr(hardware, "get_fastest_precision", lambda at: "fp32")
