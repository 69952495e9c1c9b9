"""A classifier on its way: steps, their clock, the points of its learning curves, and how it goes on after a death."""

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
from pipeline.training.checkpoints import Checkpoint, Found
from pipeline.training.learning_curves import Judge, Point
from pipeline.training.objective import EXPLODED, Loss, Objective, objective
from pipeline.training.predict import logits
from pipeline.training.recipe import Recipe

# Tokens to which a batch's length is rounded up. oneDNN compiles a kernel for each new shape and keeps it: with fours
# bert-tiny on MRPC takes 500 MB less and 0.85 of the time, the padding included (0.067 of the places, not 0.043).
MULTIPLE = 4
ASKED = 16  # steps between two times that several processes ask the first whether a checkpoint is due


class Run:
    """A model on its way: its batches, its optimiser, and the losses, rows, tokens and seconds so far.

    ``precision`` is the machine's fastest where None; ``group`` the processes that train together, all that there are
    where None. A step is ``take``, ``forward``, ``backward``, ``update``, as ``evaluation.speed`` takes it apart.
    ``told`` and ``curve`` hold the points of the learning curves so far. A run whose state ``checkpoint`` holds begins
    where that one was.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Examples,
        recipe: Recipe,
        seed: int,
        loss: Loss | None = None,
        precision: str | None = None,
        group: ProcessGroup | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        self.model, self.recipe, self.group = model, recipe, group or distributed.get_group()
        self.device = hardware.get_device()
        hardware.set_malloc_options()
        self.precision = precision or hardware.get_fastest_precision(self.device)
        self.train, self.updates = train, recipe.updates(len(train))
        self.batches = _endless(train, recipe.batch_size, np.random.default_rng(seed))
        self.objective: nn.Module = Objective(model, loss or Loss())
        self.optimizer = optimizer.adamw(self.objective, recipe.learning_rate, recipe.weight_decay)
        self.weights = list(self.objective.parameters())
        if self.group.size > 1:
            self.objective = DistributedDataParallel(
                self.objective, forward_sync_buffers=False, gradient_as_bucket_view=True
            )
            # Dropout: each process drops other elements, and others than the processes of another seed.
            torch.manual_seed(int(np.random.SeedSequence([seed, self.group.rank]).generate_state(1)[0]))
        self.losses = torch.zeros(self.updates, device=self.device)
        self.rows = np.zeros(self.updates, dtype=np.int64)
        self.lengths: list[np.ndarray] = []  # of the examples of each batch, all processes together
        self.places = self.done = 0
        self.share = 1.0  # of the rows of the batch, this process's
        self.train_seconds = self.selection_seconds = self.learning_rate = 0.0
        self.bound = EXPLODED  # of a loss
        self.told: list[tuple[int, dict[str, float]]] = []
        self.curve: list[Point] = []
        self.checkpoint = checkpoint or Checkpoint()
        if found := self.checkpoint.load():
            self._resume(found)

    def advance(self, until: int, advanced: Callable[[int], None]) -> float:
        """Update the model until it has had ``until`` updates; return the mean loss of an example since the last point.

        The losses are looked at only here and where a checkpoint is due: at each step a GPU would have to wait for it.
        Raises UserError when one of them is not a number, or far above the first ones.
        """
        first, started = self._point(), time.perf_counter()
        while self.done < until:
            self.step()
            advanced(1)
            if self._due():
                self._sound(self._losses(first))
                started += self._keep(time.perf_counter() - started)
        losses = self._losses(first)
        self.train_seconds += time.perf_counter() - started
        self._sound(losses)
        return float(np.average(losses, weights=self.rows[first:until]))

    def tell(self, step: int, values: dict[str, float]) -> dict[str, float]:
        """Add a point to the learning curves and return it."""
        self.told.append((step, {**values, "learning_rate": self.learning_rate}))
        return self.told[-1][1]

    def end(self) -> None:
        """Keep the state of the finished run, where other work of its trial follows."""
        if self.checkpoint.ends and self.checkpoint.step < self.done:
            self._keep(0.0)

    def _point(self) -> int:
        """Return the step of the last point of the curves."""
        return self.told[-1][0] if self.told else 0

    def _due(self) -> bool:
        """Say whether a checkpoint is due; of several processes the first decides, asked now and then."""
        if self.group.size == 1:
            return self.checkpoint.due
        return self.done % ASKED == 0 and self.group.broadcast(self.checkpoint.due)

    def _losses(self, first: int) -> np.ndarray:
        """Return the mean losses of all processes' rows from step ``first`` on."""
        losses: np.ndarray = self.group.all_reduce(self.losses[first : self.done].clone()).cpu().numpy()
        return losses

    def _sound(self, losses: np.ndarray) -> None:
        """Raise UserError where one of the last losses is not a number, or tells that the run has exploded."""
        first = self.done - len(losses)
        if first == 0:
            self.bound = EXPLODED * max(1.0, float(losses[0]) if np.isfinite(losses[0]) else 1.0)
        wrong = ~(losses <= self.bound)  # what is no number is not below it either
        if wrong.any():
            at = int(np.argmax(wrong))
            raise UserError(
                f"the loss is {losses[at]:.3g} at step {first + at + 1} of {self.updates}; "
                f"lower learning_rate ({self.recipe.learning_rate:g}) or clip ({self.recipe.clip:g})"
                f"{self.checkpoint.told}"
            )

    def step(self) -> None:
        """Make one update."""
        self.backward(self.forward(self.take()))
        self.update()

    def take(self) -> Batch:
        """Return this process's rows of the next batch; where there are too few for it, one that has no weight."""
        rows = next(self.batches)
        own = rows[self.group.rank :: self.group.size]
        batch = batches.collate(self.train, own if len(own) else rows[:1], MULTIPLE)
        self.share = len(own) / len(rows)
        self.rows[self.done] = len(rows)
        self.lengths.append(self.train.lengths[rows])
        self.places += batch.places
        return batch.to(self.device)

    def forward(self, batch: Batch) -> Tensor:
        """Return the mean loss of this process's rows."""
        with hardware.autocast(self.device, self.precision):
            loss: Tensor = self.objective(batch)
        self.losses[self.done] = loss.detach() * self.share
        return loss

    def backward(self, loss: Tensor) -> None:
        """Give every process the gradients of the mean loss of the whole batch."""
        (loss * (self.share * self.group.size)).backward()  # type: ignore[no-untyped-call]  # of their gradients the mean is taken

    def update(self) -> None:
        """Move the weights by their gradients, at the rate of this step."""
        self.learning_rate = self.recipe.learning_rate * optimizer.linear(self.done, self.updates, self.recipe.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        self.optimizer.clipped_step(self.recipe.clip)
        self.done += 1

    def _keep(self, seconds: float) -> float:
        """Keep the state of the run, ``seconds`` behind its clock; return how long that took."""
        tensors = checkpoints.taken(self.weights, self.optimizer, self.group)
        tensors["losses"] = self.group.all_reduce(self.losses[self._point() : self.done].clone())
        state = {
            "told": self.told,
            "curve": [asdict(point) for point in self.curve],
            "places": self.group.sum_number(self.places),
            "train_seconds": self.train_seconds + seconds,
            "selection_seconds": self.selection_seconds,
            "learning_rate": self.learning_rate,
            "bound": self.bound,
        }
        started = time.perf_counter()
        if self.group.is_rank_zero:
            self.checkpoint.save(self.done, tensors, state)
        self.group.wait_for_all()
        return time.perf_counter() - started

    def _resume(self, found: Found) -> None:
        """Go on from where a checkpoint was taken; the batches that were seen are drawn again, not trained on."""
        checkpoints.restore(found.tensors, self.weights, self.optimizer, self.group.rank)
        state = found.state
        for self.done in range(1, state["step"] + 1):
            rows = next(self.batches)
            self.rows[self.done - 1] = len(rows)
            self.lengths.append(self.train.lengths[rows])
        self.told = [(step, values) for step, values in state["told"]]
        self.curve = [Point(**point) for point in state["curve"]]
        self.train_seconds, self.selection_seconds = state["train_seconds"], state["selection_seconds"]
        self.learning_rate, self.bound = state["learning_rate"], state["bound"]
        if self.group.is_rank_zero:  # what is of all processes together
            self.places = round(state["places"])
            self.losses[self._point() : self.done] = found.tensors["losses"]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Train without exchanging gradients in the block: only to time it, for the weights differ afterwards."""
        if isinstance(self.objective, DistributedDataParallel):
            with self.objective.no_sync():
                yield
        else:
            yield

    def select(self, selection: Examples, judge: Judge, score: str) -> dict[str, float]:
        """Return loss, score and metrics on the split that selects."""
        started = time.perf_counter()
        said = logits(self.model, selection, self.precision, self.group)
        self.selection_seconds += time.perf_counter() - started
        loss = objective(torch.from_numpy(said), torch.from_numpy(selection.labels))
        metrics = judge(said, selection.labels)
        values = {"loss": float(loss), "score": metrics[score], **metrics}
        return {f"selection_{name}": value for name, value in values.items()}

    def cost(self) -> dict[str, Any]:
        """Return the length of the run and what it took; seconds are of training alone where nothing else is said."""
        tokens = int(sum(lengths.sum() for lengths in self.lengths))
        return {
            "steps": self.done,
            "epochs": int(self.rows.sum()) / len(self.train),
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


def _endless(train: Examples, size: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    while True:
        yield from batches.shuffled(train.lengths, size, random)
