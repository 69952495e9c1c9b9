"""The way through a classifier of BERT's shape, DistilBERT or ALBERT, step by step, for ``formulas`` to follow.

Heads and neurons that were removed, factors, shared layers and int8 weights are seen in the modules themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Any, NamedTuple

from torch import nn

from pipeline.core.errors import UserError
from pipeline.models import quantised_layers
from pipeline.models.flops.analytic_flops import TOKENS, Part, Tape, Value
from pipeline.models.low_rank_layers import FactorisedEmbedding

EMBEDDINGS, PROJECTION, NORMS = "embeddings", "embedding projection", "layer norms"
QUERY, SCORES, OUTPUT = "query, key, value", "attention scores, mixing", "attention output"
INNER, OUTER, POOLER, CLASSIFIER = "feed-forward in", "feed-forward out", "pooler", "classifier"
KINDS = (EMBEDDINGS, PROJECTION, QUERY, SCORES, OUTPUT, INNER, OUTER, NORMS, POOLER, CLASSIFIER)

MAKES_PLACES = ("roberta", "xlm-roberta", "camembert")  # numbers of them, from the tokens
FAMILIES = ("bert", "electra", *MAKES_PLACES, "distilbert", "albert")
TABLES = (nn.Embedding, FactorisedEmbedding)


def parts(model: Any) -> tuple[Part, ...]:
    """Return the parts of a classifier, from its tokens to its logits. Raises UserError for another family."""
    family = model.config.model_type
    if family not in FAMILIES or not hasattr(model, "classifier"):
        raise UserError(
            f"{type(model).__name__}: no formulas for it; use a sequence classifier of one of {', '.join(FAMILIES)}"
        )
    tape = Tape(model, frozen=quantised_layers.kind(model) is not None)
    states = _embedded(tape, model)
    for number, block in enumerate(_blocks(model)):
        states = _encoded(tape, states, block, number)
    _classified(tape, model, tape.first(states))
    return tuple(tape.parts)


def _embedded(tape: Tape, model: Any) -> Value:
    """Add up the tables, normalise, and bring a narrow sum to the layers' size where the family does."""
    base, family = model.base_model, model.config.model_type
    embeddings = base.embeddings
    tape.begin(EMBEDDINGS)
    rows = [_looked_up(tape, table) for table in embeddings.children() if isinstance(table, TABLES)]
    if family in MAKES_PLACES:  # numbers of places are made, and of segments where there is only one: int64
        for table in (embeddings.position_embeddings, embeddings.token_type_embeddings):
            if tape.own(table) and (table is embeddings.position_embeddings or model.config.type_vocab_size == 1):
                tape.keep(Value(TOKENS, 2, False))
    states = reduce(tape.add, rows)
    tape.begin(NORMS)
    states = tape.dropout(tape.norm(states, embeddings.LayerNorm), embeddings.dropout.p)
    wider = (
        base.encoder.embedding_hidden_mapping_in if family == "albert" else getattr(base, "embeddings_project", None)
    )
    if wider is None:
        return states
    tape.begin(PROJECTION)
    return tape.linear(states, wider)


def _looked_up(tape: Tape, table: Any) -> Value:
    if isinstance(table, FactorisedEmbedding):
        narrow, wider = table
        return tape.linear(Value(TOKENS, table.rank, tape.own(narrow)), wider)
    return Value(TOKENS, table.embedding_dim, tape.own(table))


class Block(NamedTuple):
    """The modules of a layer under one set of names, and the rates of its dropouts."""

    query: nn.Module
    key: nn.Module
    value: nn.Module
    heads: int
    shares_dropout: float
    output: nn.Module
    output_dropout: float
    output_norm: nn.Module
    inner: nn.Module
    activation: str
    outer: nn.Module
    outer_dropout: float
    outer_norm: nn.Module


def _blocks(model: Any) -> Iterator[Block]:
    """Yield the layers in the order in which they are applied, one that is applied again each time."""
    base, config = model.base_model, model.config
    if config.model_type == "distilbert":
        for layer in base.transformer.layer:
            yield _distilbert(layer, config)
    elif config.model_type == "albert":
        groups = base.encoder.albert_layer_groups
        for number in range(config.num_hidden_layers):
            for layer in groups[int(number / (config.num_hidden_layers / len(groups)))].albert_layers:
                yield _albert(layer, config)
    else:
        for layer in base.encoder.layer:
            yield _bert(layer, config)


def _bert(layer: Any, config: Any) -> Block:
    attend, output = layer.attention.self, layer.attention.output
    return Block(
        attend.query, attend.key, attend.value, attend.num_attention_heads, attend.dropout.p,
        output.dense, output.dropout.p, output.LayerNorm,
        layer.intermediate.dense, config.hidden_act, layer.output.dense, layer.output.dropout.p, layer.output.LayerNorm,
    )  # fmt: skip


def _distilbert(layer: Any, config: Any) -> Block:
    attend, inner = layer.attention, layer.ffn
    return Block(
        attend.q_lin, attend.k_lin, attend.v_lin, attend.n_heads, attend.dropout.p,
        attend.out_lin, 0.0, layer.sa_layer_norm,
        inner.lin1, config.activation, inner.lin2, inner.dropout.p, layer.output_layer_norm,
    )  # fmt: skip


def _albert(layer: Any, config: Any) -> Block:
    attend = layer.attention
    return Block(
        attend.query, attend.key, attend.value, attend.num_attention_heads, attend.attention_dropout.p,
        attend.dense, attend.output_dropout.p, attend.LayerNorm,
        layer.ffn, config.hidden_act, layer.ffn_output, 0.0, layer.full_layer_layer_norm,
    )  # fmt: skip


def _encoded(tape: Tape, states: Value, block: Block, number: int) -> Value:
    tape.begin(QUERY, number)
    query, key, value = (tape.linear(states, module) for module in (block.query, block.key, block.value))
    tape.begin(SCORES, number)
    shares = tape.dropout(tape.scores(query, key, block.heads), block.shares_dropout)
    mixed = tape.mix(shares, value)
    tape.begin(OUTPUT, number)
    output = tape.dropout(tape.linear(mixed, block.output), block.output_dropout)
    tape.begin(NORMS, number)
    attended = tape.norm(tape.add(output, states), block.output_norm)
    tape.begin(INNER, number)
    inner = tape.activate(tape.linear(attended, block.inner), block.activation)
    tape.begin(OUTER, number)
    outer = tape.dropout(tape.linear(inner, block.outer), block.outer_dropout)
    tape.begin(NORMS, number)
    return tape.norm(tape.add(outer, attended), block.outer_norm)


def _classified(tape: Tape, model: Any, first: Value) -> None:
    """Turn the first token's state into logits, by a Linear and an activation function and the classifier itself."""
    family, head = model.config.model_type, model.classifier
    if family in ("bert", "albert"):
        pooler = model.base_model.pooler
        tape.begin(POOLER)
        pooled = tape.activate(tape.linear(first, getattr(pooler, "dense", pooler)), "tanh")
        tape.begin(CLASSIFIER)
        tape.linear(tape.dropout(pooled, model.dropout.p), head)
    elif family == "distilbert":
        tape.begin(CLASSIFIER)
        pooled = tape.activate(tape.linear(first, model.pre_classifier), "relu")
        tape.linear(tape.dropout(pooled, model.dropout.p), head)
    else:
        tape.begin(CLASSIFIER)
        dense = tape.linear(tape.dropout(first, head.dropout.p), head.dense)
        pooled = tape.activate(dense, "gelu" if family == "electra" else "tanh")
        tape.linear(tape.dropout(pooled, head.dropout.p), head.out_proj)
