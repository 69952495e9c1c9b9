"""FLOPs and saved activations of one training step as polynomials in an example's length.

A FLOP is a multiplication or an addition of a matrix product: (m, k) by (k, n) takes 2 m n k, as in
``torch.utils.flop_counter``. Elementwise work is left out (Kaplan et al. 2020, section 2.1; Hoffmann et al. 2022,
appendix F). ``Tape`` follows a model like autograd, but only with shapes: which products have a backward, and which
tensors are saved, depends on which tensors need a gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor, nn

FLOAT = 4  # bytes
SAVES_OUTPUT = ("relu", "tanh")  # activation functions whose gradient needs only their output
EXTRA_SAVED = {
    "gelu_new": 3,
    "gelu_fast": 6,
    "gelu_python": 2,
    "quick_gelu": 1,
}  # tensors saved in addition to the input


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
        """Return the exact value at a length, or at each of an array of lengths."""
        if isinstance(length, np.ndarray):
            length = length.astype(np.int64)
        return self.constant + (self.linear + self.square * length) * length


ONE, TOKENS, PAIRS = Polynomial(constant=1), Polynomial(linear=1), Polynomial(square=1)


@dataclass(frozen=True, eq=False)
class TracedTensor:
    """The shape of a tensor for one example, (rows, width); ``whole`` is the tensor that it is a view of."""

    rows: Polynomial
    width: int
    gradient: bool  # whether it requires one
    whole: TracedTensor | None = None


@dataclass
class ModelPart:
    """A part of a model, such as the first feed-forward Linear of a layer; all numbers are per example.

    ``forward`` and ``backward`` are FLOPs, ``activations`` bytes saved for backward, ``modules`` all names of its
    Linears. Shared ``parameters`` belong to the first part that uses them.
    """

    kind: str
    layer: int | None
    forward: Polynomial = Polynomial()
    backward: Polynomial = Polynomial()
    activations: Polynomial = Polynomial()
    parameters: int = 0
    modules: list[str] = field(default_factory=list)


class Tape:
    """Records the parts of a model in the order of its operations; a ``frozen`` model is never trained.

    Saved tensors follow Korthikanti et al. 2022, section 4.1, but in fp32 and with everything that torch saves. Each
    storage counts once, for the part that saves it first. A dropout mask has the type of its input, as on the CPU; on
    a GPU it takes one byte per element.
    """

    def __init__(self, model: nn.Module, frozen: bool) -> None:
        self.frozen = frozen
        self.parts: list[ModelPart] = []
        self._names: dict[nn.Module, list[str]] = {}
        for name, module in model.named_modules(remove_duplicate=False):
            self._names.setdefault(module, []).append(name)
        self._saved: set[TracedTensor] = set()
        self._seen: set[Tensor] = set()

    def begin_part(self, kind: str, layer: int | None = None) -> None:
        """Start a part; the following operations belong to it."""
        self.parts.append(ModelPart(kind, layer))

    def is_trained(self, parameter: Tensor | None) -> bool:
        """Return whether a parameter gets a gradient."""
        return parameter is not None and parameter.requires_grad and not self.frozen

    def add_parameters(self, module: nn.Module) -> bool:
        """Add a module's parameters, if not counted yet, to the part; return whether any is trained."""
        parameters = list(module.parameters())
        self.parts[-1].parameters += sum(each.numel() for each in parameters if each not in self._seen)
        self._seen.update(parameters)
        return any(self.is_trained(each) for each in parameters)

    def save_for_backward(self, value: TracedTensor) -> None:
        """Save a tensor for backward, once; for a view, the whole tensor."""
        value = value.whole or value
        if value not in self._saved:
            self._saved.add(value)
            self.parts[-1].activations += value.rows * (FLOAT * value.width)

    def apply_linear(self, states: TracedTensor, module: Any) -> TracedTensor:
        """Apply a Linear, or two factors in sequence.

        Forward takes 2 (rows) (in) (out) FLOPs. Backward takes as many for the gradient of the weight, which needs the
        input, and as many for the gradient of the input, each if required.
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
        """Multiply each query by each key, 2 s^2 (heads times size), and apply softmax."""
        shares = TracedTensor(PAIRS, heads, self._apply_product(query, key, query.width))
        if shares.gradient:
            self.save_for_backward(shares)
        return shares

    def compute_mix(self, shares: TracedTensor, value: TracedTensor) -> TracedTensor:
        """Return the values weighted by their shares, 2 s^2 (heads times size)."""
        return TracedTensor(TOKENS, value.width, self._apply_product(shares, value, value.width))

    def _apply_product(self, one: TracedTensor, other: TracedTensor, width: int) -> bool:
        """Count a product of (s, size) by (size, s) per head, or its reverse; each gradient needs the other factor."""
        part, work = self.parts[-1], PAIRS * (2 * width)
        part.forward += work
        part.backward += work * (one.gradient + other.gradient)
        for gradient, needed in ((one.gradient, other), (other.gradient, one)):
            if gradient:
                self.save_for_backward(needed)
        return one.gradient or other.gradient

    def add(self, one: TracedTensor, other: TracedTensor) -> TracedTensor:
        """Return a sum, which saves nothing."""
        return TracedTensor(one.rows, one.width, one.gradient or other.gradient)

    def apply_norm(self, states: TracedTensor, module: nn.Module) -> TracedTensor:
        """Normalise; saves the input, and mean and deviation of each row."""
        gradient = self.add_parameters(module) or states.gradient
        if gradient:
            self.save_for_backward(states)
            self.save_for_backward(TracedTensor(states.rows, 2, False))
        return TracedTensor(states.rows, states.width, gradient)

    def apply_dropout(self, states: TracedTensor, rate: float) -> TracedTensor:
        """Apply dropout, which saves the mask; a rate of 0 does nothing."""
        if not rate:
            return states
        if states.gradient:
            self.save_for_backward(TracedTensor(states.rows, states.width, False))
        return TracedTensor(states.rows, states.width, states.gradient)

    def apply_activation(self, states: TracedTensor, name: str) -> TracedTensor:
        """Apply an activation function by its name in transformers; an unknown one saves its input."""
        result = TracedTensor(states.rows, states.width, states.gradient)
        if states.gradient:
            self.save_for_backward(result if name in SAVES_OUTPUT else states)
            for _ in range(EXTRA_SAVED.get(name, 0)):
                self.save_for_backward(TracedTensor(states.rows, states.width, False))
        return result

    def get_first_token(self, states: TracedTensor) -> TracedTensor:
        """Return the first token's state, a view of all states."""
        return TracedTensor(ONE, states.width, states.gradient, states)
