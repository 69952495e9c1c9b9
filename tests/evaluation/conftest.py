"""A BERT of two narrow layers and examples to ask it."""

import numpy as np
import pytest
import torch
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from pipeline.data.batches import Examples


@pytest.fixture
def model() -> BertForSequenceClassification:
    config = BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=20,
    )  # fmt: skip
    torch.manual_seed(0)
    return BertForSequenceClassification(config).eval()


@pytest.fixture
def examples() -> Examples:
    random = np.random.default_rng(0)
    lengths = random.integers(4, 13, 30)
    tokens = random.integers(5, 40, lengths.sum())
    return Examples(tokens, np.zeros_like(tokens), np.cumsum([0, *lengths]), random.integers(0, 2, 30), pad=0)
