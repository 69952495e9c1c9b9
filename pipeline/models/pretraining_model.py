"""BERT's pre-training objective: L = L_MLM + L_NSP (Devlin et al. 2019, section 3.1)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertForPreTraining

IGNORED = -100
IS_NEXT = 0
POSITION_SCALE = 0.4  # of position and segment embeddings, relative to word embeddings


class PretrainingLosses(NamedTuple):
    """The two losses in nats, differentiable, and the two accuracies over the targets."""

    mlm: Tensor
    nsp: Tensor
    mlm_accuracy: Tensor
    nsp_accuracy: Tensor

    @property
    def total(self) -> Tensor:
        """L_MLM + L_NSP."""
        return self.mlm + self.nsp


def mask_tokens(
    tokens: np.ndarray, special: np.ndarray, mask_id: int, words: np.ndarray, rate: float, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Select tokens that are not special; replace 80% by [MASK], 10% by a random word, and keep 10%.

    `tokens` and `special` are (rows, length); random words are drawn from the ids in `words`. `rate` is the mean share
    of selected tokens. The rate of each row is uniform between 0 and twice the mean: highly masked rows can only be
    solved through the other segment, and others show everything that next-sentence prediction needs. Returns the
    masked tokens and the targets, `IGNORED` elsewhere. Devlin et al. 2019, appendix A.1, use one rate of 0.15.
    """
    chosen = (random.random(tokens.shape) < random.uniform(0.0, 2.0 * rate, (len(tokens), 1))) & ~special
    fate = random.random(tokens.shape)
    shown = np.where(chosen & (fate < 0.8), mask_id, tokens)
    shown = np.where(chosen & (fate >= 0.8) & (fate < 0.9), random.choice(words, tokens.shape), shown)
    return shown, np.where(chosen, tokens, IGNORED)


def compute_losses(
    model: BertForPreTraining, inputs: dict[str, Tensor], targets: Tensor, next_label: Tensor
) -> PretrainingLosses:
    """Return both losses of a batch.

    `inputs` are BERT's, each (rows, length); `targets` is (rows, length), `IGNORED` for tokens without a target;
    `next_label` is (rows,), 0 if the second segment follows the first. Only tokens with a target are projected to the
    vocabulary, which saves time and changes no result.
    """
    states, pooled = model.bert(**inputs)[:2]
    selected = targets != IGNORED
    words = model.cls.predictions(states[selected]).float()
    following = model.cls.seq_relationship(pooled).float()
    expected = targets[selected]
    return PretrainingLosses(
        mlm=cross_entropy(words, expected),
        nsp=cross_entropy(following, next_label),
        mlm_accuracy=(words.argmax(-1) == expected).float().mean(),
        nsp_accuracy=(following.argmax(-1) == next_label).float().mean(),
    )


def create_model(
    layers: int, hidden: int, heads: int, vocabulary: int, positions: int, seed: int
) -> BertForPreTraining:
    """Return a BERT with random weights that learns to compare segments within minutes.

    No dropout: a small model does not overfit this much text. Weights have the standard deviation 1/sqrt(hidden);
    with BERT's 0.02, the attention of a narrow model starts almost uniform and predicts word frequencies for thousands
    of steps. Positions start as sinusoids and, like segments, smaller than words. Half of the keys start equal to the
    queries, so that a token first attends to similar tokens (Trockman and Kolter 2023, mimetic initialisation).
    """
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        max_position_embeddings=positions,
        initializer_range=hidden**-0.5,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
    )
    torch.manual_seed(seed)
    model = BertForPreTraining(config)
    with torch.no_grad():
        for layer in model.bert.encoder.layer:
            attention = layer.attention.self
            attention.key.weight[: hidden // 2] = attention.query.weight[: hidden // 2]
        embeddings = model.bert.embeddings
        embeddings.position_embeddings.weight.copy_(
            _create_sinusoids(positions, hidden) * hidden**-0.5 * POSITION_SCALE
        )
        embeddings.token_type_embeddings.weight.mul_(POSITION_SCALE)
    return model


def _create_sinusoids(positions: int, hidden: int) -> Tensor:
    """Return (positions, hidden) with unit mean square (Vaswani et al. 2017, section 3.5)."""
    rates = 10_000.0 ** (-torch.arange(0, hidden, 2) / hidden)
    angles = torch.arange(positions)[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(1) * 2**0.5
