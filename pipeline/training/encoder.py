"""BERT's encoder on the CPU, written out forward and backward: what a classifier reads of it, in few kernels.

Batches are packed: linears, norms and dropout see real tokens alone, and only attention sees rows of one length.
Weights are brought to the precision of the products once a pass, and activations stay in it; means, variances and
softmax are fp32, and so are weights, gradients and moments. Of the last layer only the first token is computed, the one
that the pooler reads; so few rows are quicker in fp32.
"""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.activations import GELUActivation

from pipeline.models.anatomy import PARTS
from pipeline.training.dropout import mask
from pipeline.training.packed import Packed

NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
EVERY = [True, True, True]  # gradients that a layer norm gives back: of its input, weight and bias
norm_backward = torch.ops.aten.native_layer_norm_backward


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
        packed = Packed(*ids.shape, real)
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
                states = Layer.apply(states, packed, layer, *layer.own)
        return states


class Weights:
    """The weights of a layer: ``own``, which are trained, and ``brought``, in the precision of the products.

    Each is a matrix and a bias of queries, of keys and values together, of the attention's output, and of both parts of
    the feed-forward. ``first`` says that the layer is asked for the first token alone, and all but keys and values stay
    as they are.
    """

    def __init__(self, layer: Any) -> None:
        self.layer, self.first = layer, False
        linears = [layer.get_submodule(name) for name in PARTS["all"]]
        self.norms = [layer.get_submodule(name) for name in NORMS]
        self.own: list[Tensor] = [each for module in (*linears, *self.norms) for each in (module.weight, module.bias)]
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
    """A layer of BERT as transformers defines it, for packed tokens (total, hidden), or for the first ones of them."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, packed: Packed, weights: Weights, *own: Tensor) -> Tensor:
        layer, first, kind = weights.layer, weights.first, states.dtype
        wq, bq, wkv, bkv, wo, bo, wi, bi, wf, bf = weights.brought
        attend, training = layer.attention.self, layer.training
        heads, rates = (
            attend.num_attention_heads,
            (attend.dropout, layer.attention.output.dropout, layer.output.dropout),
        )
        rows = packed.rows
        asked = states[packed.first].to(wq.dtype) if first else states
        q = torch.addmm(bq, asked, wq.t()).mul_(attend.scaling)
        q = q.to(kind).view(rows * heads, 1, -1) if first else packed.split(q, 1, heads)
        k, v = packed.split(torch.addmm(bkv, states, wkv.t()), 2, heads).chunk(2)
        scores = torch.bmm(q, k.transpose(1, 2)).float()
        if packed.bias is not None:
            scores.view(rows, heads, -1, packed.longest).add_(packed.bias)
        shares = scores.softmax(-1).to(kind)
        m0, m1, m2 = (
            mask(each, rate.p) if training else None for each, rate in zip((shares, asked, asked), rates, strict=True)
        )
        dropped = shares if m0 is None else shares * m0
        mixed = torch.bmm(dropped, v)
        mixed = mixed.view(rows, -1).to(wo.dtype) if first else packed.join(mixed, 1, heads)
        s1 = _added(asked, torch.addmm(bo, mixed, wo.t()), m1)
        n1, *at1 = _normed(s1, weights.norms[0])
        inner = torch.addmm(bi, n1, wi.t())
        active = nn.functional.gelu(inner)
        s2 = _added(n1, torch.addmm(bf, active, wf.t()), m2)
        n2, *at2 = _normed(s2, weights.norms[1])
        ctx.save_for_backward(states)
        ctx.kept = asked, q, k, v, shares, dropped, mixed, m0, m1, m2, s1, at1, n1, inner, active, s2, at2
        ctx.packed, ctx.weights = packed, weights
        return n2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, given: Tensor) -> Any:
        asked, q, k, v, shares, dropped, mixed, m0, m1, m2, s1, at1, n1, inner, active, s2, at2 = ctx.kept
        del ctx.kept
        (states,), packed, weights = ctx.saved_tensors, ctx.packed, ctx.weights
        wq, _, wkv, _, wo, _, wi, _, wf, _ = weights.brought
        first, attend, kind = weights.first, weights.layer.attention.self, states.dtype
        heads, rows = attend.num_attention_heads, packed.rows
        ds2, *norm2 = _norm_back(given, s2, at2, weights.norms[1])
        dz = ds2 if m2 is None else ds2 * m2
        da = torch.ops.aten.gelu_backward(dz @ wf, inner)
        ds1, *norm1 = _norm_back(torch.addmm(ds2, da, wi), s1, at1, weights.norms[0])
        dy = ds1 if m1 is None else ds1 * m1
        dm = dy @ wo
        dm = dm.to(kind).view(rows * heads, 1, -1) if first else packed.split(dm, 1, heads)
        dshares = torch.bmm(dm, v.transpose(1, 2))
        dscores = torch._softmax_backward_data(dshares if m0 is None else dshares.mul_(m0), shares, -1, kind)
        dq = torch.bmm(dscores, k).mul_(attend.scaling)
        dq = dq.view(rows, -1).to(wq.dtype) if first else packed.join(dq, 1, heads)
        dkv = k.new_empty(2, *k.shape)
        torch.bmm(dscores.transpose(1, 2), q, out=dkv[0])
        torch.bmm(dropped.transpose(1, 2), dm, out=dkv[1])
        dkv = packed.join(dkv.flatten(0, 1), 2, heads)
        dasked = torch.addmm(ds1, dq, wq)
        if first:
            dstates = dkv @ wkv
            dstates[packed.first] += dasked.to(kind)
        else:
            dstates = torch.addmm(dasked, dkv, wkv)
        dwkv, dbkv = dkv.t() @ states, dkv.sum(0)
        pairs = chain(*((out.t() @ into, out.sum(0)) for out, into in ((dy, mixed), (da, n1), (dz, active))))
        (dwk, dwv), (dbk, dbv) = dwkv.chunk(2), dbkv.chunk(2)
        return dstates, None, None, dq.t() @ asked, dq.sum(0), dwk, dbk, dwv, dbv, *pairs, *norm1, *norm2


def _added(states: Tensor, made: Tensor, kept: Tensor | None) -> Tensor:
    return made.add_(states) if kept is None else torch.addcmul(states, made, kept)


def _normed(states: Tensor, norm: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return normalised states, their means and reciprocal deviations."""
    return torch.native_layer_norm(states, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _norm_back(given: Tensor, states: Tensor, at: list[Tensor], norm: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of a layer norm's input, weight and bias."""
    made: tuple[Tensor, Tensor, Tensor] = norm_backward(
        given, states, norm.normalized_shape, *at, norm.weight, norm.bias, EVERY
    )
    return made
