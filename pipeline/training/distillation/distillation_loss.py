"""What a student is pulled towards: a teacher's outputs, its hidden states and its attention, each a loss in fp32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.core.errors import UserError
from pipeline.data.batches import Batch, Examples
from pipeline.models import bert_layers
from pipeline.training import objective
from pipeline.training.distillation import distillation_settings
from pipeline.training.distillation.distillation_settings import Distillation

if TYPE_CHECKING:
    from pipeline.training.distillation.teacher import Answers


@dataclass
class Seen:
    """What went through the layers of an encoder, in their order, each (rows, length, width).

    ``states[0]`` went into the first layer and ``states[i]`` came out of the i-th; ``query[i - 1]`` is of the i-th.
    """

    states: list[Tensor] = field(default_factory=list)
    query: list[Tensor] = field(default_factory=list)
    key: list[Tensor] = field(default_factory=list)
    value: list[Tensor] = field(default_factory=list)


@contextmanager
def watched(model: nn.Module) -> Iterator[Seen]:
    """Yield what goes through the layers of ``model`` in one pass inside the block, whatever computes the attention.

    Raises UserError for a model whose layers are not BERT's.
    """
    seen = Seen()

    def passed(_: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
        seen.states.extend([made] if seen.states else [given[0], made])

    layers = bert_layers.list_layers(model)
    with ExitStack() as undo:
        for layer in layers:
            undo.callback(layer.module.register_forward_hook(passed).remove)
        for name in ("query", "key", "value"):
            kept: list[Tensor] = getattr(seen, name)
            # A module that serves several layers is hooked once and tells of each of its uses.
            for module in dict.fromkeys(layer.get_part(f"attention.self.{name}") for layer in layers):
                hook = module.register_forward_hook(lambda _module, _given, made, kept=kept: kept.append(made))
                undo.callback(hook.remove)
        yield seen


class Loss(objective.Loss):
    """The loss of a student that is taught: labels, softened outputs, and where asked for states and attention.

    alpha * soft + (1 - alpha) * objective.objective + hidden.weight * sum over the mapped layers of the states' mean
    squared error through a learned projection + attention.weight * sum over the mapped layers of the attention's loss.
    The projections are weights of this module: the identity where the widths agree, else drawn from ``seed``.

    ``examples`` are the student's. Raises UserError where student and teacher do not fit together.
    """

    def __init__(self, settings: Distillation, answers: Answers, student: Any, examples: Examples, seed: int) -> None:
        super().__init__()
        self.settings, self.answers, self.whole = settings, answers, settings.inside
        self.projections = nn.ModuleDict()
        outputs = answers.logits.shape[1]
        if student.config.num_labels != outputs:
            raise UserError(
                f"the student has {student.config.num_labels} outputs, the teacher {outputs}; both must be of one task"
            )
        if self.whole:
            _same_tokens(examples, answers.examples)
            self._pair(student, seed)

    def _pair(self, student: Any, seed: int) -> None:
        """Choose which layers are matched, once it is known that they can be."""
        layers, teachers = len(bert_layers.list_layers(student)), len(self.answers.heads)
        self.heads = heads(student)
        if hidden := self.settings.hidden:
            self.states = distillation_settings.state_pairs(hidden.layers, layers, teachers)
            for number, (mine, theirs) in enumerate(self.states):
                wide, wider = student.config.hidden_size, self.answers.width("states", theirs)
                self.projections[str(mine)] = _projection(wide, wider, seed + number)
        if attention := self.settings.attention:
            self.attentions = distillation_settings.pairs(attention.layers, layers, teachers)
            _same_heads(self.attentions, self.heads, self.answers.heads)

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of a batch, a number."""
        with watched(model) if self.whole else nullcontext(Seen()) as seen:
            said = model(**batch.inputs).logits
        with torch.autocast(said.device.type, enabled=False):
            said, alpha = said.float(), self.settings.alpha
            taught = torch.from_numpy(self.answers.logits[batch.rows]).to(said.device)
            loss = alpha * soft(said, taught, self.settings.temperature)
            loss = loss + (1 - alpha) * objective.objective(said, batch.labels)
            return loss + self._inside(seen, batch) if self.whole else loss

    def _inside(self, seen: Seen, batch: Batch) -> Tensor:
        ids = batch.inputs["input_ids"]
        real = batch.inputs.get("attention_mask", torch.ones_like(ids)).bool()
        taught = self.answers.read(batch.rows, ids.shape[1], ids.device)
        loss = torch.zeros((), device=ids.device)
        if hidden := self.settings.hidden:
            for mine, theirs in self.states:
                moved = self.projections[str(mine)](seen.states[mine].float())
                loss = loss + hidden.weight * states(moved, taught["states", theirs], real)
        if attention := self.settings.attention:
            match = tinybert if attention.kind == "tinybert" else minilm
            for mine, theirs in self.attentions:
                said = [part[mine - 1].float() for part in (seen.query, seen.key, seen.value)]
                told = [taught[name, theirs] for name in ("query", "key", "value") if (name, theirs) in taught]
                loss = loss + attention.weight * match(said, told, self.heads[mine - 1], real)
        return loss


def soft(said: Tensor, taught: Tensor, temperature: float) -> Tensor:
    """Return how far outputs (rows, outputs) are from a teacher's.

    T^2 KL(teacher || student) of the distributions softened by T, the mean over the rows; T^2 keeps the gradient's
    scale (Hinton et al. 2015, section 2). For a regression, one output, the mean squared error without T.
    """
    if said.shape[1] == 1:
        return nn.functional.mse_loss(said, taught)
    student, teacher = (logits.div(temperature).log_softmax(1) for logits in (said, taught))
    return temperature**2 * nn.functional.kl_div(student, teacher, reduction="batchmean", log_target=True)


def states(said: Tensor, taught: Tensor, real: Tensor) -> Tensor:
    """Return the mean squared error of states (rows, length, width) over the ``real`` tokens (rows, length)."""
    return ((said - taught).square().mean(2) * real).sum() / real.sum()


def relations(left: Tensor, right: Tensor, heads: int) -> Tensor:
    """Return the scaled products of each token with each, (rows, heads, length, length), of (rows, length, width)."""
    left, right = (part.view(*part.shape[:2], heads, -1).transpose(1, 2) for part in (left, right))
    scaling: float = left.shape[3] ** -0.5
    return torch.matmul(left, right.transpose(2, 3)) * scaling


def tinybert(said: list[Tensor], told: list[Tensor], heads: int, real: Tensor) -> Tensor:
    """Return how far queries and keys are from a teacher's, each (rows, length, width): ``scores``."""
    return scores(relations(said[0], said[1], heads), relations(told[0], told[1], heads), real)


def minilm(said: list[Tensor], told: list[Tensor], heads: int, real: Tensor) -> Tensor:
    """Return how far queries, keys and values are from a teacher's: ``divergence`` of attention and of values."""
    attention = divergence(relations(said[0], said[1], heads), relations(told[0], told[1], heads), real)
    return attention + divergence(relations(said[2], said[2], heads), relations(told[2], told[2], heads), real)


def scores(said: Tensor, taught: Tensor, real: Tensor) -> Tensor:
    """Return the mean squared error of attention scores before the softmax, over heads and pairs of ``real`` tokens."""
    both = real[:, :, None] & real[:, None, :]
    return ((said - taught).square().mean(1) * both).sum() / both.sum()


def divergence(said: Tensor, taught: Tensor, real: Tensor) -> Tensor:
    """Return KL(teacher || student) of the softmax over the ``real`` tokens, the mean over heads and real tokens."""
    padding = ~real[:, None, None, :]
    student, teacher = (
        part.masked_fill(padding, torch.finfo(part.dtype).min).log_softmax(3) for part in (said, taught)
    )
    each = nn.functional.kl_div(student, teacher, reduction="none", log_target=True).sum(3)
    return (each.mean(1) * real).sum() / real.sum()


def heads(model: Any) -> tuple[int, ...]:
    """Return the number of attention heads of each layer."""
    return tuple(layer.module.attention.self.num_attention_heads for layer in bert_layers.list_layers(model))


def _projection(wide: int, wider: int, seed: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        linear = nn.Linear(wide, wider, bias=False)
        nn.init.eye_(linear.weight) if wide == wider else nn.init.orthogonal_(linear.weight)
    return linear


def _same_tokens(student: Examples, teacher: Examples) -> None:
    if np.array_equal(student.starts, teacher.starts) and np.array_equal(student.tokens, teacher.tokens):
        return
    raise UserError(
        f"the student does not read the training rows as the tokens that the teacher reads ({len(student.tokens)} and "
        f"{len(teacher.tokens)} of them), so states and attention cannot be matched; take a student with the teacher's "
        "tokenizer, or set hidden and attention to null"
    )


def _same_heads(pairs: list[tuple[int, int]], student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    for mine, theirs in pairs:
        if student[mine - 1] != teacher[theirs - 1]:
            raise UserError(
                f"layer {mine} of the student has {student[mine - 1]} attention heads, layer {theirs} of the teacher "
                f"{teacher[theirs - 1]}, so their attention cannot be matched; take a student with as many, or set "
                "attention to null"
            )
