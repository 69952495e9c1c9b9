"""What one step of a model costs, as a function of an example's length: FLOPs, and what is kept for backward.

An operation is a multiplication or an addition of a matrix product, so that (m, k) by (k, n) takes 2 m n k, as
``torch.utils.flop_counter`` has it; elementwise work is left out (Kaplan et al. 2020, section 2.1; Hoffmann et al.
2022, appendix F). ``Tape`` goes through a model as autograd does, but with the shapes of tensors alone: whether a
product has a backward, and which tensors it keeps, follows from what needs a gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

FLOAT = 4  # bytes
SAVES_OUTPUT = ("relu", "tanh")  # activation functions whose gradient is told by what they returned
EXTRA_SAVED = {
    "gelu_new": 3,
    "gelu_fast": 6,
    "gelu_python": 2,
    "quick_gelu": 1,
}  # of several FLOPs: beside the input


@dataclass(frozen=True)
class Polynomial:
    """``constant + linear * s + square * s**2`` of an example of s tokens."""

    constant: int = 0
    linear: int = 0
    square: int = 0

    def __add__(self, other: Polynomial) -> Polynomial:
        return Polynomial(self.constant + other.constant, self.linear + other.linear, self.square + other.square)

    def __mul__(self, factor: int) -> Polynomial:
        return Polynomial(self.constant * factor, self.linear * factor, self.square * factor)

    def __call__(self, length: Any) -> Any:
        """Return the value at a length, or at each of an array of them, exactly."""
        if isinstance(length, np.ndarray):
            length = length.astype(np.int64)
        return self.constant + (self.linear + self.square * length) * length


ONE, TOKENS, PAIRS = Polynomial(constant=1), Polynomial(linear=1), Polynomial(square=1)


@dataclass(frozen=True, eq=False)
class TracedTensor:
    """A tensor by its shape for one example, (rows, width); ``whole`` is the tensor of which it is a view."""

    rows: Polynomial
    width: int
    gradient: bool  # whether it needs one
    whole: TracedTensor | None = None


@dataclass
class ModelPart:
    """A part of a model, such as the feed-forward's first Linear of a layer; all numbers are of one example.

    ``forward`` and ``backward`` in FLOPs, ``activations`` in bytes that are kept from forward to backward,
    ``modules`` the Linears by all of their names. ``parameters`` that parts share belong to the first of them.
    """

    kind: str
    layer: int | None
    forward: Polynomial = Polynomial()
    backward: Polynomial = Polynomial()
    activations: Polynomial = Polynomial()
    parameters: int = 0
    modules: list[str] = field(default_factory=list)


class Tape:
    """The parts of a model, filled by its FLOPs in their order; ``frozen`` is a model that is never trained.

    Kept tensors (as Korthikanti et al. 2022, section 4.1, but in fp32 and with all that torch keeps): each storage
    once, for the part that keeps it first. A dropout mask has the type of what it is multiplied by, as on the CPU; on
    a GPU it takes a byte an element.
    """

    def __init__(self, model: nn.Module, frozen: bool) -> None:
        self.frozen = frozen
        self.parts: list[ModelPart] = []
        self._names: dict[nn.Module, list[str]] = {}
        for name, module in model.named_modules(remove_duplicate=False):
            self._names.setdefault(module, []).append(name)
        self._kept: set[TracedTensor] = set()
        self._seen: set[Tensor] = set()

    def begin_part(self, kind: str, layer: int | None = None) -> None:
        """Begin a part: what follows belongs to it."""
        self.parts.append(ModelPart(kind, layer))

    def is_trained(self, parameter: Tensor | None) -> bool:
        """Say whether a parameter gets a gradient."""
        return parameter is not None and parameter.requires_grad and not self.frozen

    def add_parameters(self, module: nn.Module) -> bool:
        """Count a module's parameters into the part, those not counted yet; say whether any of them is trained."""
        parameters = list(module.parameters())
        self.parts[-1].parameters += sum(each.numel() for each in parameters if each not in self._seen)
        self._seen.update(parameters)
        return any(self.is_trained(each) for each in parameters)

    def save_for_backward(self, value: TracedTensor) -> None:
        """Keep a tensor for backward, the whole of it where it is a view, once."""
        value = value.whole or value
        if value not in self._kept:
            self._kept.add(value)
            self.parts[-1].activations += value.rows * (FLOAT * value.width)

    def apply_linear(self, states: TracedTensor, module: Any) -> TracedTensor:
        """Multiply by a Linear, or by two factors one after the other.

        Forward takes 2 (rows) (in) (out) FLOPs; backward as many for the weight's gradient, which needs the
        input, and as many for the input's, each where it is asked for.
        """
        if isinstance(module, nn.Sequential):
            for each in module:
                states = self.apply_linear(states, each)
            return states
        part, trained, weight = self.parts[-1], self.add_parameters(module), self.is_trained(module.weight)
        part.modules += self._names[module]
        work = states.rows * (2 * module.in_features * module.out_features)
        part.forward += work
        part.backward += work * (weight + states.gradient)
        if weight:
            self.save_for_backward(states)
        return TracedTensor(states.rows, module.out_features, states.gradient or trained)

    def compute_scores(self, query: TracedTensor, key: TracedTensor, heads: int) -> TracedTensor:
        """Multiply each query by each key, 2 s^2 (heads times size), and turn them into shares by softmax."""
        shares = TracedTensor(PAIRS, heads, self._apply_product(query, key, query.width))
        if shares.gradient:
            self.save_for_backward(shares)
        return shares

    def compute_mix(self, shares: TracedTensor, value: TracedTensor) -> TracedTensor:
        """Return the values mixed by their shares, 2 s^2 (heads times size)."""
        return TracedTensor(TOKENS, value.width, self._apply_product(shares, value, value.width))

    def _apply_product(self, one: TracedTensor, other: TracedTensor, width: int) -> bool:
        """Count a product of (s, size) by (size, s) in each head, or back; the one's gradient needs the other."""
        part, work = self.parts[-1], PAIRS * (2 * width)
        part.forward += work
        part.backward += work * (one.gradient + other.gradient)
        for gradient, needed in ((one.gradient, other), (other.gradient, one)):
            if gradient:
                self.save_for_backward(needed)
        return one.gradient or other.gradient

    def add(self, one: TracedTensor, other: TracedTensor) -> TracedTensor:
        """Return a sum, which keeps nothing."""
        return TracedTensor(one.rows, one.width, one.gradient or other.gradient)

    def apply_norm(self, states: TracedTensor, module: nn.Module) -> TracedTensor:
        """Normalise: the input is kept, and a mean and a deviation for each of its rows."""
        gradient = self.add_parameters(module) or states.gradient
        if gradient:
            self.save_for_backward(states)
            self.save_for_backward(TracedTensor(states.rows, 2, False))
        return TracedTensor(states.rows, states.width, gradient)

    def apply_dropout(self, states: TracedTensor, rate: float) -> TracedTensor:
        """Drop elements: the mask is kept; at a rate of 0 nothing happens at all."""
        if not rate:
            return states
        if states.gradient:
            self.save_for_backward(TracedTensor(states.rows, states.width, False))
        return TracedTensor(states.rows, states.width, states.gradient)

    def apply_activation(self, states: TracedTensor, name: str) -> TracedTensor:
        """Apply an activation function by its name in transformers; one that is not known keeps its input."""
        result = TracedTensor(states.rows, states.width, states.gradient)
        if states.gradient:
            self.save_for_backward(result if name in SAVES_OUTPUT else states)
            for _ in range(EXTRA_SAVED.get(name, 0)):
                self.save_for_backward(TracedTensor(states.rows, states.width, False))
        return result

    def get_first_token(self, states: TracedTensor) -> TracedTensor:
        """Return the first token's state as a view of all."""
        return TracedTensor(ONE, states.width, states.gradient, states)
