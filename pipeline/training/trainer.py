"""Training loop of a classifier: steps, timing, learning curve, checkpoints and resume."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline.core.errors import UserError
from pipeline.data import batches
from pipeline.data.batches import Batch, Examples
from pipeline.system import distributed, hardware
from pipeline.system.distributed import ProcessGroup
from pipeline.training import checkpoints, optimizer
from pipeline.training.checkpoints import Checkpoint, CheckpointContent
from pipeline.training.learning_curves import ComputeMetrics, CurvePoint
from pipeline.training.predict import predict_logits
from pipeline.training.recipe import Recipe
from pipeline.training.task_loss import MAX_LOSS_RATIO, LossModule, TaskLoss, compute_task_loss

# The length of a batch is rounded up to a multiple of this. oneDNN compiles and keeps a kernel for each new shape.
# Rounding to 4 saves bert-tiny on MRPC 500 MB and 15% of the time, although padding rises from 4.3% to 6.7%.
PAD_MULTIPLE = 4
SYNC_STEPS = 16  # steps after which rank 0 of several processes decides whether a checkpoint is due


class Trainer:
    """Train a model on batches of similar length and record losses, rows, tokens and seconds.

    ``precision`` is the fastest of the machine where None; ``group`` are all processes where None. One step calls
    ``take``, ``forward``, ``backward`` and ``update``; ``evaluation.cost.speed`` times each of them. ``history`` and
    ``curve`` hold the points of the learning curves. If ``checkpoint`` has a state, training continues from it.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Examples,
        recipe: Recipe,
        seed: int,
        loss: TaskLoss | None = None,
        precision: str | None = None,
        group: ProcessGroup | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.model, self.recipe, self.group = model, recipe, group or distributed.get_group()
        self.device = hardware.get_device()
        hardware.set_malloc_options()
        self.precision = precision or hardware.get_fastest_precision(self.device)
        self.examples, self.total_steps = train, recipe.count_steps(len(train))
        self.batches = _draw_batches(train, recipe.batch_size, np.random.default_rng(seed))
        self.loss_module: nn.Module = LossModule(model, loss or TaskLoss())
        self.optimizer = optimizer.create_adamw(self.loss_module, recipe.learning_rate, recipe.weight_decay)
        self.weights = list(self.loss_module.parameters())
        if self.group.size > 1:
            self.loss_module = DistributedDataParallel(
                self.loss_module, forward_sync_buffers=False, gradient_as_bucket_view=True
            )
            # Each process, and each seed, needs a dropout stream that no other has.
            torch.manual_seed(int(np.random.SeedSequence([seed, self.group.rank]).generate_state(1)[0]))
        self.losses = torch.zeros(self.total_steps, device=self.device)
        self.rows = np.zeros(self.total_steps, dtype=np.int64)
        self.lengths: list[np.ndarray] = []  # of the examples of each batch, all processes together
        self.places = self.step = 0
        self.row_share = 1.0  # of this process in the rows of the batch
        self.train_seconds = self.selection_seconds = self.learning_rate = 0.0
        self.max_loss = MAX_LOSS_RATIO
        self.history: list[tuple[int, dict[str, float]]] = []
        self.curve: list[CurvePoint] = []
        self.checkpoint = checkpoint or Checkpoint()
        if content := self.checkpoint.load():
            self._restore(content)

    def train(self, until_step: int, on_step: Callable[[int], None]) -> float:
        """Train until step ``until_step`` and return the mean loss per example since the last point of the curves.

        Losses are read only here and before a checkpoint: a GPU would have to wait for each read. Raises UserError
        when a loss is NaN, infinite or far above the first one.
        """
        first, started = self._get_last_point(), time.perf_counter()
        while self.step < until_step:
            self.backward(self.forward(self.take()))
            self.update()
            on_step(1)
            if self._is_checkpoint_due():
                self._check_losses(self._collect_losses(first))
                started += self._save_checkpoint(time.perf_counter() - started)
        losses = self._collect_losses(first)
        self.train_seconds += time.perf_counter() - started
        self._check_losses(losses)
        return float(np.average(losses, weights=self.rows[first:until_step]))

    def log_point(self, step: int, values: dict[str, float]) -> dict[str, float]:
        """Add a point to the learning curves and return it."""
        self.history.append((step, {**values, "learning_rate": self.learning_rate}))
        return self.history[-1][1]

    def save_final_state(self) -> None:
        """Save the state of the finished run if other work of the trial follows."""
        if self.checkpoint.save_at_end and self.checkpoint.step < self.step:
            self._save_checkpoint(0.0)

    def _get_last_point(self) -> int:
        """Return the step of the last point of the curves."""
        return self.history[-1][0] if self.history else 0

    def _is_checkpoint_due(self) -> bool:
        """Return whether a checkpoint is due; rank 0 decides for all processes, every ``SYNC_STEPS`` steps."""
        if self.group.size == 1:
            return self.checkpoint.is_due
        return self.step % SYNC_STEPS == 0 and self.group.broadcast(self.checkpoint.is_due)

    def _collect_losses(self, first: int) -> np.ndarray:
        """Return the mean losses over the rows of all processes, from step ``first`` on."""
        losses: np.ndarray = self.group.all_reduce(self.losses[first : self.step].clone()).cpu().numpy()
        return losses

    def _check_losses(self, losses: np.ndarray) -> None:
        """Raise UserError where one of the last losses is NaN, infinite or above ``max_loss``."""
        first = self.step - len(losses)
        if first == 0:
            self.max_loss = MAX_LOSS_RATIO * max(1.0, float(losses[0]) if np.isfinite(losses[0]) else 1.0)
        wrong = ~(losses <= self.max_loss)  # true for NaN, too
        if wrong.any():
            at = int(np.argmax(wrong))
            raise UserError(
                f"the loss is {losses[at]:.3g} at step {first + at + 1} of {self.total_steps}; "
                f"lower learning_rate ({self.recipe.learning_rate:g}) or clip ({self.recipe.clip:g})"
                f"{self.checkpoint.description}"
            )

    def take(self) -> Batch:
        """Return this process's rows of the next batch; if there are too few, one row with weight zero."""
        rows = next(self.batches)
        own = rows[self.group.rank :: self.group.size]
        batch = batches.collate(self.examples, own if len(own) else rows[:1], PAD_MULTIPLE)
        self.row_share = len(own) / len(rows)
        self.rows[self.step] = len(rows)
        self.lengths.append(self.examples.lengths[rows])
        self.places += batch.places
        return batch.to(self.device)

    def forward(self, batch: Batch) -> Tensor:
        """Return the mean loss of this process's rows."""
        with hardware.autocast(self.device, self.precision):
            loss: Tensor = self.loss_module(batch)
        self.losses[self.step] = loss.detach() * self.row_share
        return loss

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of the mean loss over the whole batch, equal in all processes."""
        (loss * (self.row_share * self.group.size)).backward()  # type: ignore[no-untyped-call]  # DDP averages gradients

    def update(self) -> None:
        """Apply the gradients at the learning rate of this step."""
        self.learning_rate = self.recipe.learning_rate * optimizer.compute_rate_share(
            self.step, self.total_steps, self.recipe.warmup
        )
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        self.optimizer.apply_gradients(self.recipe.clip)
        self.step += 1

    def _save_checkpoint(self, seconds: float) -> float:
        """Save the state, with ``seconds`` of training not yet in ``train_seconds``; return the seconds it took."""
        tensors = checkpoints.collect_state(self.weights, self.optimizer, self.group)
        tensors["losses"] = self.group.all_reduce(self.losses[self._get_last_point() : self.step].clone())
        state = {
            "history": self.history,
            "curve": [asdict(point) for point in self.curve],
            "places": self.group.sum_number(self.places),
            "train_seconds": self.train_seconds + seconds,
            "selection_seconds": self.selection_seconds,
            "learning_rate": self.learning_rate,
            "max_loss": self.max_loss,
        }
        started = time.perf_counter()
        if self.group.is_rank_zero:
            self.checkpoint.save(self.step, tensors, state)
        self.group.wait_for_all()
        return time.perf_counter() - started

    def _restore(self, content: CheckpointContent) -> None:
        """Restore the state of a checkpoint; batches before it are drawn again, but not trained on."""
        checkpoints.restore_state(content.tensors, self.weights, self.optimizer, self.group.rank)
        state = content.state
        for self.step in range(1, state["step"] + 1):
            rows = next(self.batches)
            self.rows[self.step - 1] = len(rows)
            self.lengths.append(self.examples.lengths[rows])
        self.history = [(step, values) for step, values in state["history"]]
        self.curve = [CurvePoint(**point) for point in state["curve"]]
        self.train_seconds, self.selection_seconds = state["train_seconds"], state["selection_seconds"]
        self.learning_rate, self.max_loss = state["learning_rate"], state["max_loss"]
        if self.group.is_rank_zero:  # sums over all processes
            self.places = round(state["places"])
            self.losses[self._get_last_point() : self.step] = content.tensors["losses"]

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Train without exchanging gradients, only for timing: the weights of the processes differ afterwards."""
        if isinstance(self.loss_module, DistributedDataParallel):
            with self.loss_module.no_sync():
                yield
        else:
            yield

    def evaluate(self, selection: Examples, compute_metrics: ComputeMetrics, score_name: str) -> dict[str, float]:
        """Return loss, score and metrics on the selection split."""
        started = time.perf_counter()
        logits = predict_logits(self.model, selection, self.precision, self.group)
        self.selection_seconds += time.perf_counter() - started
        loss = compute_task_loss(torch.from_numpy(logits), torch.from_numpy(selection.labels))
        metrics = compute_metrics(logits, selection.labels)
        values = {"loss": float(loss), "score": metrics[score_name], **metrics}
        return {f"selection_{name}": value for name, value in values.items()}

    def compute_cost(self) -> dict[str, Any]:
        """Return steps, epochs, seconds, rates and memory of the run; ``train_seconds`` has no evaluation."""
        tokens = int(sum(lengths.sum() for lengths in self.lengths))
        return {
            "steps": self.step,
            "epochs": int(self.rows.sum()) / len(self.examples),
            "train_seconds": self.train_seconds,
            "selection_seconds": self.selection_seconds,
            "train_pairs_per_second": int(self.rows.sum()) / self.train_seconds,
            "train_tokens_per_second": tokens / self.train_seconds,
            "padding_share": 1 - tokens / self.group.sum_number(self.places),
            "peak_memory_mib": hardware.get_peak_memory_mib(self.device),
            "precision": self.precision,
            "device": self.device.type,
            "threads": torch.get_num_threads(),
            "processes": self.group.size,
        }


def _draw_batches(train: Examples, size: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    while True:
        yield from batches.shuffled(train.lengths, size, random)
