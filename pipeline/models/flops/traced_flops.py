"""Trace the operations of BERT-like, DistilBERT and ALBERT classifiers for ``analytic_flops``.

Removed heads and neurons, factors, shared layers and int8 weights follow from the modules themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Any, NamedTuple

from torch import nn

from pipeline.core.errors import UserError
from pipeline.models import quantised_layers
from pipeline.models.flops.analytic_flops import TOKENS, ModelPart, Tape, TracedTensor
from pipeline.models.low_rank_layers import LowRankEmbedding

EMBEDDINGS, PROJECTION, NORMS = "embeddings", "embedding projection", "layer norms"
QUERY, SCORES, OUTPUT = "query, key, value", "attention scores, mixing", "attention output"
INNER, OUTER, POOLER, CLASSIFIER = "feed-forward in", "feed-forward out", "pooler", "classifier"
KINDS = (EMBEDDINGS, PROJECTION, QUERY, SCORES, OUTPUT, INNER, OUTER, NORMS, POOLER, CLASSIFIER)

COMPUTES_POSITIONS = ("roberta", "xlm-roberta", "camembert")  # position ids, from the tokens
FAMILIES = ("bert", "electra", *COMPUTES_POSITIONS, "distilbert", "albert")
TABLES = (nn.Embedding, LowRankEmbedding)


def trace_parts(model: Any) -> tuple[ModelPart, ...]:
    """Return the parts of a classifier, from its tokens to its logits. Raises UserError for another family."""
    family = model.config.model_type
    if family not in FAMILIES or not hasattr(model, "classifier"):
        raise UserError(
            f"{type(model).__name__}: no formulas for it; use a sequence classifier of one of {', '.join(FAMILIES)}"
        )
    tape = Tape(model, frozen=quantised_layers.get_int8_kind(model) is not None)
    states = _trace_embeddings(tape, model)
    for number, block in enumerate(_list_blocks(model)):
        states = _trace_block(tape, states, block, number)
    _trace_classifier(tape, model, tape.get_first_token(states))
    return tuple(tape.parts)


def _trace_embeddings(tape: Tape, model: Any) -> TracedTensor:
    """Add the embeddings, normalise, and project narrow embeddings to the hidden size."""
    base, family = model.base_model, model.config.model_type
    embeddings = base.embeddings
    tape.begin_part(EMBEDDINGS)
    rows = [_trace_table(tape, table) for table in embeddings.children() if isinstance(table, TABLES)]
    if family in COMPUTES_POSITIONS:  # position ids, and ids of a single segment: int64
        for table in (embeddings.position_embeddings, embeddings.token_type_embeddings):
            if tape.add_parameters(table) and (
                table is embeddings.position_embeddings or model.config.type_vocab_size == 1
            ):
                tape.save_for_backward(TracedTensor(TOKENS, 2, False))
    states = reduce(tape.add, rows)
    tape.begin_part(NORMS)
    states = tape.apply_dropout(tape.apply_norm(states, embeddings.LayerNorm), embeddings.dropout.p)
    wider = (
        base.encoder.embedding_hidden_mapping_in if family == "albert" else getattr(base, "embeddings_project", None)
    )
    if wider is None:
        return states
    tape.begin_part(PROJECTION)
    return tape.apply_linear(states, wider)


def _trace_table(tape: Tape, table: Any) -> TracedTensor:
    if isinstance(table, LowRankEmbedding):
        narrow, wider = table
        return tape.apply_linear(TracedTensor(TOKENS, table.rank, tape.add_parameters(narrow)), wider)
    return TracedTensor(TOKENS, table.embedding_dim, tape.add_parameters(table))


class Block(NamedTuple):
    """The modules of a layer and the rates of its dropouts, under the same names for every family."""

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


def _list_blocks(model: Any) -> Iterator[Block]:
    """Yield the layers in the order in which they are applied; a shared layer several times."""
    base, config = model.base_model, model.config
    if config.model_type == "distilbert":
        for layer in base.transformer.layer:
            yield _create_distilbert_block(layer, config)
    elif config.model_type == "albert":
        groups = base.encoder.albert_layer_groups
        for number in range(config.num_hidden_layers):
            for layer in groups[int(number / (config.num_hidden_layers / len(groups)))].albert_layers:
                yield _create_albert_block(layer, config)
    else:
        for layer in base.encoder.layer:
            yield _create_bert_block(layer, config)


def _create_bert_block(layer: Any, config: Any) -> Block:
    attend, output = layer.attention.self, layer.attention.output
    return Block(
        attend.query, attend.key, attend.value, attend.num_attention_heads, attend.dropout.p,
        output.dense, output.dropout.p, output.LayerNorm,
        layer.intermediate.dense, config.hidden_act, layer.output.dense, layer.output.dropout.p, layer.output.LayerNorm,
    )  # fmt: skip


def _create_distilbert_block(layer: Any, config: Any) -> Block:
    attend, inner = layer.attention, layer.ffn
    return Block(
        attend.q_lin, attend.k_lin, attend.v_lin, attend.n_heads, attend.dropout.p,
        attend.out_lin, 0.0, layer.sa_layer_norm,
        inner.lin1, config.activation, inner.lin2, inner.dropout.p, layer.output_layer_norm,
    )  # fmt: skip


def _create_albert_block(layer: Any, config: Any) -> Block:
    attend = layer.attention
    return Block(
        attend.query, attend.key, attend.value, attend.num_attention_heads, attend.attention_dropout.p,
        attend.dense, attend.output_dropout.p, attend.LayerNorm,
        layer.ffn, config.hidden_act, layer.ffn_output, 0.0, layer.full_layer_layer_norm,
    )  # fmt: skip


def _trace_block(tape: Tape, states: TracedTensor, block: Block, number: int) -> TracedTensor:
    tape.begin_part(QUERY, number)
    query, key, value = (tape.apply_linear(states, module) for module in (block.query, block.key, block.value))
    tape.begin_part(SCORES, number)
    shares = tape.apply_dropout(tape.compute_scores(query, key, block.heads), block.shares_dropout)
    mixed = tape.compute_mix(shares, value)
    tape.begin_part(OUTPUT, number)
    output = tape.apply_dropout(tape.apply_linear(mixed, block.output), block.output_dropout)
    tape.begin_part(NORMS, number)
    attended = tape.apply_norm(tape.add(output, states), block.output_norm)
    tape.begin_part(INNER, number)
    inner = tape.apply_activation(tape.apply_linear(attended, block.inner), block.activation)
    tape.begin_part(OUTER, number)
    outer = tape.apply_dropout(tape.apply_linear(inner, block.outer), block.outer_dropout)
    tape.begin_part(NORMS, number)
    return tape.apply_norm(tape.add(outer, attended), block.outer_norm)


def _trace_classifier(tape: Tape, model: Any, first: TracedTensor) -> None:
    """Trace the head: Linear, activation function and classifier of the first token's state."""
    family, head = model.config.model_type, model.classifier
    if family in ("bert", "albert"):
        pooler = model.base_model.pooler
        tape.begin_part(POOLER)
        pooled = tape.apply_activation(tape.apply_linear(first, getattr(pooler, "dense", pooler)), "tanh")
        tape.begin_part(CLASSIFIER)
        tape.apply_linear(tape.apply_dropout(pooled, model.dropout.p), head)
    elif family == "distilbert":
        tape.begin_part(CLASSIFIER)
        pooled = tape.apply_activation(tape.apply_linear(first, model.pre_classifier), "relu")
        tape.apply_linear(tape.apply_dropout(pooled, model.dropout.p), head)
    else:
        tape.begin_part(CLASSIFIER)
        dense = tape.apply_linear(tape.apply_dropout(first, head.dropout.p), head.dense)
        pooled = tape.apply_activation(dense, "gelu" if family == "electra" else "tanh")
        tape.apply_linear(tape.apply_dropout(pooled, head.dropout.p), head.out_proj)
