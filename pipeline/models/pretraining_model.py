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
POSITION_SCALE = 0.4  # size of the position and segment embeddings beside the words'


class PretrainingLosses(NamedTuple):
    """The two losses in nats, as tensors to differentiate, and the two accuracies over what was asked."""

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
    """Choose tokens that are not special; show 80% of those as [MASK], 10% as any word, 10% as they are.

    `tokens` and `special` are (rows, length); `words` are the ids a random word is drawn from. `rate` is the mean
    share chosen; each row has its own, uniform between 0 and twice the mean, so that some rows leave a guess no other
    way than through the other segment, and others show all that the next-sentence question needs. Returns the tokens
    to show and the targets, `IGNORED` where nothing is asked. Devlin et al. 2019, appendix A.1, have one rate of 0.15.
    """
    chosen = (random.random(tokens.shape) < random.uniform(0.0, 2.0 * rate, (len(tokens), 1))) & ~special
    fate = random.random(tokens.shape)
    shown = np.where(chosen & (fate < 0.8), mask_id, tokens)
    shown = np.where(chosen & (fate >= 0.8) & (fate < 0.9), random.choice(words, tokens.shape), shown)
    return shown, np.where(chosen, tokens, IGNORED)


def compute_losses(
    model: BertForPreTraining, inputs: dict[str, Tensor], targets: Tensor, next_label: Tensor
) -> PretrainingLosses:
    """Both losses of a batch.

    `inputs` are BERT's, each (rows, length); `targets` is (rows, length) with `IGNORED` where nothing is asked;
    `next_label` is (rows,), 0 where the second segment follows the first. Only the asked tokens go through the
    vocabulary, which changes nothing but the time.
    """
    states, pooled = model.bert(**inputs)[:2]
    asked = targets != IGNORED
    words = model.cls.predictions(states[asked]).float()
    following = model.cls.seq_relationship(pooled).float()
    wanted = targets[asked]
    return PretrainingLosses(
        mlm=cross_entropy(words, wanted),
        nsp=cross_entropy(following, next_label),
        mlm_accuracy=(words.argmax(-1) == wanted).float().mean(),
        nsp_accuracy=(following.argmax(-1) == next_label).float().mean(),
    )


def create_model(
    layers: int, hidden: int, heads: int, vocabulary: int, positions: int, seed: int
) -> BertForPreTraining:
    """A BERT with random weights that can learn to compare segments within minutes.

    No dropout, since a small model does not learn this much text by heart. Weights have the standard deviation
    1/sqrt(hidden): with BERT's 0.02 the attention of a narrow model starts so even that it stays at the word
    frequencies for thousands of steps. Positions start as sinusoids and, like the segments, smaller than the words, and
    half of the keys as the queries, so that a token first attends to its like, wherever it stands (Trockman and Kolter
    2023, mimetic initialisation).
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
    """(positions, hidden) of unit mean square (Vaswani et al. 2017, section 3.5)."""
    rates = 10_000.0 ** (-torch.arange(0, hidden, 2) / hidden)
    angles = torch.arange(positions)[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(1) * 2**0.5
