"""Count the costs of one training step with torch's FLOP counter: FLOPs, saved bytes, arithmetic of the update.

It uses no formula of ``analytic_flops``. It runs on a copy on torch's ``meta`` device, whose tensors have no values, so
that a large model takes seconds and no memory. Models with int8 weights, which have no such kernels, run forward only.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from pipeline.models import model_inputs, quantised_layers

aten = torch.ops.aten


def _count_product(one: tuple[int, int], other: tuple[int, int], *_: object, **__: object) -> int:
    return 2 * one[0] * one[1] * other[1]


def _count_attention(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *_: object, **__: object
) -> int:
    rows, heads, queries, size = query
    return 2 * rows * heads * queries * key[2] * (size + value[3])


UNCOUNTED = {  # not in torch's counter: products of integers, and fused attention on the CPU
    aten._int_mm: _count_product,
    aten._scaled_dot_product_flash_attention_for_cpu: _count_attention,
}
ELEMENTWISE = {  # FLOPs per element; of a norm per element that it reads
    aten.linalg_vector_norm: 2, aten.lerp_: 3, aten.addcmul_: 3, aten.addcdiv_: 3, aten.mul_: 1, aten.mul: 1,
    aten.add_: 1, aten.add: 1, aten.sqrt: 1, aten.div: 1, aten.reciprocal: 1, aten.clamp: 1,
}  # fmt: skip
NO_ARITHMETIC = (aten.stack, aten.zeros_like, aten.detach, aten.lift_fresh, aten._local_scalar_dense, aten._to_copy)


@dataclass(frozen=True)
class CountedCosts:
    """Costs of a batch of ``batch`` examples of ``length`` tokens; only forward for a model that is not trained.

    ``forward`` and ``backward`` are FLOPs of matrix products, in total and by Linear (a shared one by its first name).
    ``activation_bytes`` are saved for backward with eager attention, without model and batch. ``update`` are the
    elementwise FLOPs of clipping and AdamW.
    """

    forward: int
    backward: int
    forward_by_linear: Mapping[str, int]
    backward_by_linear: Mapping[str, int]
    activation_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    update: int


def count_costs(model: Any, length: int, batch: int = 1) -> CountedCosts:
    """Count the costs of one update of a model, without changing it.

    Raises RuntimeError for a family whose forward pass depends on tensor values, such as deberta-v2.
    """
    if quantised_layers.get_int8_kind(model) is not None:
        return _count_forward(model, length, batch)
    copied = copy_to_meta(model)
    copied.set_attn_implementation("eager")
    copied.train()
    given = _create_inputs(copied, length, batch)
    saved = SavedTensors(copied, given)
    with _start_counters(copied) as counted:
        with torch.autograd.graph.saved_tensors_hooks(saved, lambda tensor: tensor):
            logits = copied(**given).logits
        forward = counted.total()
        if logits.requires_grad:
            logits.sum().backward()
    gradients = [parameter.grad for parameter in copied.parameters() if parameter.grad is not None]
    update, optimizer_bytes = _count_update(copied) if gradients else (0, 0)
    return CountedCosts(
        forward, counted.total() - forward, counted.forward, counted.backward, saved.bytes,
        sum(gradient.nbytes for gradient in gradients), optimizer_bytes, update,
    )  # fmt: skip


def copy_to_meta(model: Any) -> Any:
    """Return a copy of a model on the ``meta`` device with the same ties, without copying values."""
    shapes: dict[int, Any] = {
        id(parameter): nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
        for parameter in model.parameters()
    }
    shapes |= {id(buffer): torch.empty_like(buffer, device="meta") for buffer in model.buffers()}
    return copy.deepcopy(model, shapes)


class SavedTensors:
    """The distinct storages that autograd saves, without those of the model and the batch."""

    def __init__(self, model: nn.Module, given: Mapping[str, Tensor]) -> None:
        self._known = {_get_storage_id(tensor) for tensor in (*model.parameters(), *model.buffers(), *given.values())}
        self._saved: dict[int, Tensor] = {}

    def __call__(self, tensor: Tensor) -> Tensor:
        """Record a tensor; scalars are constants of Python and not saved activations."""
        if tensor.ndim and _get_storage_id(tensor) not in self._known:
            self._saved.setdefault(_get_storage_id(tensor), tensor)
        return tensor

    @property
    def bytes(self) -> int:
        """Return the bytes of the storages."""
        return sum(tensor.untyped_storage().nbytes() for tensor in self._saved.values())


class ElementwiseCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts elementwise FLOPs. Raises KeyError for an unknown operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count the FLOPs of an operation and run it."""
        if func.namespace == "aten" and func.overloadpacket not in NO_ARITHMETIC:
            self.flops += ELEMENTWISE[func.overloadpacket] * args[0].numel()
        return func(*args, **(kwargs or {}))


def _count_forward(model: Any, length: int, batch: int) -> CountedCosts:
    training = model.training
    model.eval()
    with torch.inference_mode(), _start_counters(model) as counted:
        model(**_create_inputs(model, length, batch))
    model.train(training)
    return CountedCosts(counted.total(), 0, counted.forward, {}, 0, 0, 0, 0)


def _create_inputs(model: Any, length: int, batch: int) -> dict[str, Tensor]:
    """Return a batch without padding, which needs no mask; with segments if the model uses them."""
    ids = torch.ones(batch, length, dtype=torch.long, device=next(model.parameters()).device)
    if model_inputs.takes_segments(model.config, type(model)):
        return {"input_ids": ids, "token_type_ids": torch.zeros_like(ids)}
    return {"input_ids": ids}


class LinearCounter:
    """Counts FLOPs of each Linear; torch's counts by module mix Linears that share an input."""

    def __init__(self, total: Callable[[], int]) -> None:
        self.total = total
        self.forward, self.backward = Counter[str](), Counter[str]()
        self._before = 0

    def start_linear(self, *_: object) -> None:
        """Record the total before a Linear's products."""
        self._before = self.total()

    def end_linear(self, name: str, module: nn.Module, given: object, returned: Tensor) -> None:
        """Count a Linear's forward pass, and register hooks for the backward pass of its product."""
        self.forward[name] += self.total() - self._before
        if (node := returned.grad_fn) is not None:
            while not node.name().startswith(("AddmmBackward", "MmBackward")):  # the product is reshaped afterwards
                node = node.next_functions[0][0]
                assert node is not None
            node.register_prehook(self.start_linear)
            node.register_hook(partial(self._end_backward, name))

    def _end_backward(self, name: str, *_: object) -> None:
        self.backward[name] += self.total() - self._before


@contextmanager
def _start_counters(model: nn.Module) -> Iterator[LinearCounter]:
    with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter, ExitStack() as undo:
        counted = LinearCounter(counter.get_total_flops)
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear):
                undo.callback(module.register_forward_pre_hook(counted.start_linear).remove)
                undo.callback(module.register_forward_hook(partial(counted.end_linear, name)).remove)
        yield counted


def _count_update(model: nn.Module) -> tuple[int, int]:
    """Update once; return the FLOPs and the bytes of the optimiser's state."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [each for each in trained if each.ndim >= 2], "weight_decay": 0.01},
        {"params": [each for each in trained if each.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-4, foreach=False)
    with ElementwiseCounter() as arithmetic:
        nn.utils.clip_grad_norm_(trained, 1.0, foreach=False)
        optimizer.step()
    tensors = [tensor for state in optimizer.state.values() for tensor in state.values()]
    return arithmetic.flops, sum(prod(tensor.shape) * tensor.element_size() for tensor in tensors)


def _get_storage_id(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
