"""BERT's encoder on the CPU, written out forward and backward: what a classifier reads of it, in few kernels.

Batches are packed: linears, norms and dropout see real tokens alone, and only attention sees rows of one length.
Weights are brought to the precision of the products once a pass, and activations stay in it; means, variances and
softmax are fp32, and so are weights, gradients and moments. Of the last layer only the first token is computed, the one
that the pooler reads; so few rows are quicker in fp32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.activations import GELUActivation

from pipeline.models.bert_layers import PARTS
from pipeline.training.fast_dropout import mask
from pipeline.training.packed_rows import Packed


def fits(model: Any) -> bool:
    """Say whether all of a BERT's layers are of the kind that is written out here, and on the CPU."""
    layers = model.bert.encoder.layer
    parts = [layer.get_submodule(name) for layer in layers for name in PARTS["all"]]
    return (
        all(type(part) is nn.Linear and type(part.weight) is nn.Parameter for part in parts)
        and all(type(layer.intermediate.intermediate_act_fn) is GELUActivation for layer in layers)
        and not model.config.is_decoder
        and next(model.parameters()).device.type == "cpu"
    )


class Encoder:
    """The encoder of a BERT whose layers ``fits`` knows, for as long as these are not exchanged."""

    def __init__(self, bert: Any) -> None:
        self.bert, self.layers = bert, [Weights(layer) for layer in bert.encoder.layer]
        self.layers[-1].first = True
        self._kind: torch.dtype | None = None  # in which the weights have been brought and not trained since

    def __call__(self, ids: Tensor, types: Tensor | None, real: Tensor | None) -> Tensor:
        """Return the last states of the first tokens, (rows, hidden) float32, of tokens (rows, length).

        ``real`` tells 1 for a token and 0 for padding. Computes in autocast's precision.
        """
        packed = Packed(ids.shape[0], ids.shape[1], real)
        kind = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
        if self._kind != kind:
            for layer in self.layers:
                layer.bring(kind)
        self._kind = None if torch.is_grad_enabled() else kind
        segments = None if types is None else packed.pack(types)[None]
        places = nn.functional.pad(packed.there % ids.shape[1], (0, packed.total - packed.tokens))[None]
        with torch.autocast("cpu", enabled=False):
            states = self.bert.embeddings(packed.pack(ids)[None], segments, places)[0].to(kind)
            for layer in self.layers:
                states = Layer.apply(states, packed, layer, *layer.own)  # type: ignore[no-untyped-call]
        first: Tensor = states
        return first


class Weights:
    """The weights of a layer: ``own``, which are trained, and ``brought``, in the precision of the products.

    Each is a matrix and a bias of queries, of keys and values together, of the attention's output, and of both parts of
    the feed-forward. ``first`` says that the layer is asked for the first token alone, and all but keys and values stay
    as they are.
    """

    def __init__(self, layer: Any) -> None:
        self.layer, self.first = layer, False
        linears = [layer.get_submodule(name) for name in PARTS["all"]]
        norms = [layer.attention.output.LayerNorm, layer.output.LayerNorm]
        self.own: list[Tensor] = [each for module in (*linears, *norms) for each in (module.weight, module.bias)]
        self.brought: list[Tensor] = []
        self._kind: torch.dtype | None = None
        self._from: list[Tensor] = []
        self._into: list[Tensor] = []

    @torch.inference_mode(False)
    @torch.no_grad()
    def bring(self, kind: torch.dtype) -> None:
        """Bring the weights as they are now to the precision ``kind``."""
        if self._kind != kind:
            self._kind = kind
            self._make_room(kind)
        torch._foreach_copy_(self._into, self._from)

    def _make_room(self, kind: torch.dtype) -> None:
        wq, bq, wk, bk, wv, bv, *others = (weight.detach() for weight in self.own[: 2 * len(PARTS["all"])])
        alone = brought = [wq, bq, *others]
        wkv, bkv = wk.new_empty(2 * len(wk), wk.shape[1], dtype=kind), bk.new_empty(2 * len(bk), dtype=kind)
        self._from, self._into = [wk, wv, bk, bv], [*wkv.chunk(2), *bkv.chunk(2)]
        if not self.first and kind != torch.float32:
            brought = [torch.empty_like(weight, dtype=kind) for weight in alone]
            self._from, self._into = self._from + alone, self._into + brought
        self.brought = [*brought[:2], wkv, bkv, *brought[2:]]


class Layer(torch.autograd.Function):
    """A layer of BERT as transformers defines it, of packed tokens (total, hidden) or of the first of each row."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, packed: Packed, weights: Weights, *_: Tensor) -> Tensor:
        """Return the layer's states. The weights are given so that autograd knows whose gradients come back."""
        attended, ctx.attention = _attend(states, packed, weights)
        made, ctx.feed_forward = _feed_forward(attended, weights)
        ctx.save_for_backward(states)
        ctx.packed, ctx.weights = packed, weights
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> Any:
        """Return the gradients of the states and of each of the weights."""
        attention, feed_forward = ctx.attention, ctx.feed_forward
        del ctx.attention, ctx.feed_forward
        with torch.autocast("cpu", enabled=False):
            dattended, *fed, norm2 = _feed_forward_back(given, ctx.weights, *feed_forward)
            dstates, *attended, norm1 = _attend_back(
                dattended, ctx.saved_tensors[0], ctx.packed, ctx.weights, *attention
            )
        return dstates, None, None, *attended, *fed, *norm1, *norm2


def _attend(states: Tensor, packed: Packed, weights: Weights) -> tuple[Tensor, tuple[Any, ...]]:
    """Return the states behind a layer's attention and its norm, and what the way back needs."""
    layer, first, kind = weights.layer, weights.first, states.dtype
    wq, bq, wkv, bkv, wo, bo = weights.brought[:6]
    attend, output = layer.attention.self, layer.attention.output
    heads, rows = attend.num_attention_heads, packed.rows
    asked = states[packed.first].to(wq.dtype) if first else states
    q = torch.addmm(bq, asked, wq.t()).mul_(attend.scaling)
    q = q.to(kind).view(rows * heads, 1, -1) if first else packed.split(q, 1, heads)
    k, v = packed.split(torch.addmm(bkv, states, wkv.t()), 2, heads).chunk(2)
    scores = torch.bmm(q, k.transpose(1, 2)).float()
    if packed.bias is not None:
        scores.view(rows, heads, -1, packed.longest).add_(packed.bias)
    shares = scores.softmax(-1).to(kind)
    kept = mask(shares, attend.dropout.p) if layer.training else None
    dropped = shares if kept is None else shares * kept
    mixed = torch.bmm(dropped, v)
    mixed = mixed.view(rows, -1).to(wo.dtype) if first else packed.join(mixed, 1, heads)
    made, *normed = _normed(asked, torch.addmm(bo, mixed, wo.t()), output, layer.training)
    return made, (asked, q, k, v, shares, kept, dropped, mixed, normed)


def _attend_back(
    given: Tensor, states: Tensor, packed: Packed, weights: Weights,
    asked: Tensor, q: Tensor, k: Tensor, v: Tensor, shares: Tensor, kept: Tensor | None, dropped: Tensor,
    mixed: Tensor, normed: list[Any],
) -> tuple[Any, ...]:  # fmt: skip
    """Return the gradients of the states and of the weights, those of the norm at the end."""
    wq, _, wkv, _, wo = weights.brought[:5]
    first, attend, kind, rows = weights.first, weights.layer.attention.self, states.dtype, packed.rows
    heads = attend.num_attention_heads
    dsum, dmade, norm = _normed_back(given, weights.layer.attention.output, *normed)
    dmixed = dmade @ wo
    dmixed = dmixed.to(kind).view(rows * heads, 1, -1) if first else packed.split(dmixed, 1, heads)
    dshares = torch.bmm(dmixed, v.transpose(1, 2))
    dscores = torch._softmax_backward_data(dshares if kept is None else dshares.mul_(kept), shares, -1, kind)
    dq = torch.bmm(dscores, k).mul_(attend.scaling)
    dq = dq.view(rows, -1).to(wq.dtype) if first else packed.join(dq, 1, heads)
    split = k.new_empty(2, *k.shape)
    torch.bmm(dscores.transpose(1, 2), q, out=split[0])
    torch.bmm(dropped.transpose(1, 2), dmixed, out=split[1])
    dkv = packed.join(split.flatten(0, 1), 2, heads)
    dasked = torch.addmm(dsum, dq, wq)
    if first:
        dstates = dkv @ wkv
        dstates[packed.first] += dasked.to(kind)
    else:
        dstates = torch.addmm(dasked, dkv, wkv)
    (dwk, dwv), (dbk, dbv) = (each.chunk(2) for each in (dkv.t() @ states, dkv.sum(0)))
    return dstates, dq.t() @ asked, dq.sum(0), dwk, dbk, dwv, dbv, dmade.t() @ mixed, dmade.sum(0), norm


def _feed_forward(states: Tensor, weights: Weights) -> tuple[Tensor, tuple[Any, ...]]:
    """Return the states behind a layer's feed-forward and its norm, and what the way back needs."""
    wi, bi, wf, bf = weights.brought[6:]
    inner = torch.addmm(bi, states, wi.t())
    active = nn.functional.gelu(inner)
    made, *normed = _normed(states, torch.addmm(bf, active, wf.t()), weights.layer.output, weights.layer.training)
    return made, (states, inner, active, normed)


def _feed_forward_back(
    given: Tensor, weights: Weights, states: Tensor, inner: Tensor, active: Tensor, normed: list[Any]
) -> tuple[Any, ...]:
    """Return the gradients of the states and of the weights, those of the norm at the end."""
    wi, _, wf, _ = weights.brought[6:]
    dsum, dmade, norm = _normed_back(given, weights.layer.output, *normed)
    dinner = torch.ops.aten.gelu_backward(dmade @ wf, inner)
    dstates = torch.addmm(dsum, dinner, wi)
    return dstates, dinner.t() @ states, dinner.sum(0), dmade.t() @ active, dmade.sum(0), norm


def _normed(states: Tensor, made: Tensor, output: Any, training: bool) -> tuple[Any, ...]:
    """Return what was made, dropped in part, added to the states and normalised, and what the way back needs."""
    kept = mask(made, output.dropout.p) if training else None
    total = made.add_(states) if kept is None else torch.addcmul(states, made, kept)
    norm = output.LayerNorm
    normal, *moments = torch.native_layer_norm(total, norm.normalized_shape, norm.weight, norm.bias, norm.eps)
    return normal, total, moments, kept


def _normed_back(
    given: Tensor, output: Any, total: Tensor, moments: list[Tensor], kept: Tensor | None
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Return the gradients of the sum, of what was made, and of the norm's weight and bias."""
    norm = output.LayerNorm
    dsum, *own = torch.ops.aten.native_layer_norm_backward(
        given, total, norm.normalized_shape, *moments, norm.weight, norm.bias, [True] * 3
    )
    return dsum, dsum if kept is None else dsum * kept, (own[0], own[1])
