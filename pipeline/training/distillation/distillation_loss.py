"""The losses of a student against its teacher: outputs, hidden states and attention, in fp32."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.core.errors import UserError
from pipeline.data.batches import Batch, Examples
from pipeline.models import bert_layers
from pipeline.training import task_loss
from pipeline.training.distillation import distillation_settings
from pipeline.training.distillation.distillation_settings import Distillation
from pipeline.training.distillation.layer_outputs import LayerOutputs, count_heads, record_layers
from pipeline.training.distillation.teacher_outputs import TeacherOutputs


class DistillationLoss(task_loss.TaskLoss):
    """The loss of a student: labels, softened outputs, and optionally hidden states and attention.

    alpha * soft loss + (1 - alpha) * task loss + hidden.weight * state losses + attention.weight * attention losses.
    The last two are sums over pairs of layers. A learned projection maps the student's states to the teacher's width.
    It starts as the identity for equal widths, otherwise it is drawn from ``seed``.

    ``examples`` are the student's. Raises UserError if student and teacher do not match.
    """

    def __init__(
        self, settings: Distillation, teacher: TeacherOutputs, student: Any, examples: Examples, seed: int
    ) -> None:
        super().__init__()
        self.settings, self.teacher, self.needs_all_tokens = settings, teacher, settings.matches_layers
        self.projections = nn.ModuleDict()
        outputs = teacher.logits.shape[1]
        if student.config.num_labels != outputs:
            raise UserError(
                f"the student has {student.config.num_labels} outputs, the teacher {outputs}; both must be of one task"
            )
        if self.needs_all_tokens:
            _check_same_tokens(examples, teacher.examples)
            self._pair_layers(student, seed)

    def _pair_layers(self, student: Any, seed: int) -> None:
        """Select the pairs of layers, and check that they can be matched."""
        layers, teachers = len(bert_layers.list_layers(student)), len(self.teacher.heads)
        self.heads = count_heads(student)
        if hidden := self.settings.hidden:
            self.states = distillation_settings.pair_states(hidden.layers, layers, teachers)
            for number, (mine, theirs) in enumerate(self.states):
                wide, wider = student.config.hidden_size, self.teacher.get_width("states", theirs)
                self.projections[str(mine)] = _create_projection(wide, wider, seed + number)
        if attention := self.settings.attention:
            self.attentions = distillation_settings.pair_layers(attention.layers, layers, teachers)
            _check_same_heads(self.attentions, self.heads, self.teacher.heads)

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of a batch, a scalar."""
        with record_layers(model) if self.needs_all_tokens else nullcontext(LayerOutputs()) as outputs:
            logits = model(**batch.inputs).logits
        with torch.autocast(logits.device.type, enabled=False):
            logits, alpha = logits.float(), self.settings.alpha
            targets = torch.from_numpy(self.teacher.logits[batch.rows]).to(logits.device)
            loss = alpha * compute_soft_loss(logits, targets, self.settings.temperature)
            loss = loss + (1 - alpha) * task_loss.compute_task_loss(logits, batch.labels)
            return loss + self._compute_layer_loss(outputs, batch) if self.needs_all_tokens else loss

    def _compute_layer_loss(self, outputs: LayerOutputs, batch: Batch) -> Tensor:
        ids = batch.inputs["input_ids"]
        real = batch.inputs.get("attention_mask", torch.ones_like(ids)).bool()
        teacher = self.teacher.read(batch.rows, ids.shape[1], ids.device)
        loss = torch.zeros((), device=ids.device)
        if hidden := self.settings.hidden:
            for mine, theirs in self.states:
                projected = self.projections[str(mine)](outputs.states[mine].float())
                loss = loss + hidden.weight * compute_state_loss(projected, teacher["states", theirs], real)
        if attention := self.settings.attention:
            match = compute_tinybert_loss if attention.kind == "tinybert" else compute_minilm_loss
            for mine, theirs in self.attentions:
                inputs = [part[mine - 1].float() for part in (outputs.query, outputs.key, outputs.value)]
                targets = [teacher[name, theirs] for name in ("query", "key", "value") if (name, theirs) in teacher]
                loss = loss + attention.weight * match(inputs, targets, self.heads[mine - 1], real)
        return loss


def compute_soft_loss(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """Return T^2 KL(teacher || student) of logits (rows, outputs) softened by T, the mean over rows.

    T^2 keeps the scale of the gradient (Hinton et al. 2015, section 2). For a regression, which has one output, it is
    the mean squared error without T.
    """
    if logits.shape[1] == 1:
        return nn.functional.mse_loss(logits, targets)
    student, teacher = (each.div(temperature).log_softmax(1) for each in (logits, targets))
    return temperature**2 * nn.functional.kl_div(student, teacher, reduction="batchmean", log_target=True)


def compute_state_loss(student: Tensor, teacher: Tensor, real: Tensor) -> Tensor:
    """Return the mean squared error of states (rows, length, width) over the ``real`` tokens (rows, length)."""
    return ((student - teacher).square().mean(2) * real).sum() / real.sum()


def compute_relations(left: Tensor, right: Tensor, heads: int) -> Tensor:
    """Return scaled products of all pairs of tokens, (rows, heads, length, length), of (rows, length, width)."""
    left, right = (part.view(*part.shape[:2], heads, -1).transpose(1, 2) for part in (left, right))
    scaling: float = left.shape[3] ** -0.5
    return torch.matmul(left, right.transpose(2, 3)) * scaling


def compute_tinybert_loss(student: list[Tensor], teacher: list[Tensor], heads: int, real: Tensor) -> Tensor:
    """Return the score loss of queries and keys, each (rows, length, width)."""
    return compute_score_loss(
        compute_relations(student[0], student[1], heads), compute_relations(teacher[0], teacher[1], heads), real
    )


def compute_minilm_loss(student: list[Tensor], teacher: list[Tensor], heads: int, real: Tensor) -> Tensor:
    """Return the relation losses of attention and of values, from queries, keys and values."""
    attention = compute_relation_loss(
        compute_relations(student[0], student[1], heads), compute_relations(teacher[0], teacher[1], heads), real
    )
    return attention + compute_relation_loss(
        compute_relations(student[2], student[2], heads), compute_relations(teacher[2], teacher[2], heads), real
    )


def compute_score_loss(student: Tensor, teacher: Tensor, real: Tensor) -> Tensor:
    """Return the mean squared error of attention scores before the softmax, over heads and pairs of ``real`` tokens."""
    both = real[:, :, None] & real[:, None, :]
    return ((student - teacher).square().mean(1) * both).sum() / both.sum()


def compute_relation_loss(student: Tensor, teacher: Tensor, real: Tensor) -> Tensor:
    """Return KL(teacher || student) of the softmax over the ``real`` tokens, the mean over heads and real tokens."""
    padding = ~real[:, None, None, :]
    student, teacher = (
        part.masked_fill(padding, torch.finfo(part.dtype).min).log_softmax(3) for part in (student, teacher)
    )
    each = nn.functional.kl_div(student, teacher, reduction="none", log_target=True).sum(3)
    return (each.mean(1) * real).sum() / real.sum()


def _create_projection(wide: int, wider: int, seed: int) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        linear = nn.Linear(wide, wider, bias=False)
        nn.init.eye_(linear.weight) if wide == wider else nn.init.orthogonal_(linear.weight)
    return linear


def _check_same_tokens(student: Examples, teacher: Examples) -> None:
    if np.array_equal(student.starts, teacher.starts) and np.array_equal(student.tokens, teacher.tokens):
        return
    raise UserError(
        f"the student does not read the training rows as the tokens that the teacher reads ({len(student.tokens)} and "
        f"{len(teacher.tokens)} of them), so states and attention cannot be matched; take a student with the teacher's "
        "tokenizer, or set hidden and attention to null"
    )


def _check_same_heads(pairs: list[tuple[int, int]], student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    for mine, theirs in pairs:
        if student[mine - 1] != teacher[theirs - 1]:
            raise UserError(
                f"layer {mine} of the student has {student[mine - 1]} attention heads, layer {theirs} of the teacher "
                f"{teacher[theirs - 1]}, so their attention cannot be matched; take a student with as many, or set "
                "attention to null"
            )
