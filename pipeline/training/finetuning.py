"""Fine-tuning a classifier from pre-trained weights: a plain loop, its clock and its learning curves.

A plain loop rather than transformers' Trainer, which needs 1.24 times the processor's time over the trials of the
shipped plan, its 0.27 s of setting up included (BENCHMARKS.md). For large models it would not matter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pipeline import distributed, machine
from pipeline.data import batches
from pipeline.data.batches import Batch, Examples
from pipeline.distributed import Group
from pipeline.errors import UserError
from pipeline.models import complexity
from pipeline.models.masks import kept_sparse
from pipeline.training import optimizer, vocabulary
from pipeline.training.curves import Point, convergence
from pipeline.training.prediction import logits
from pipeline.training.quick import quick
from pipeline.training.recipe import Recipe

# Tokens to which a batch's length is rounded up. oneDNN compiles a kernel for each new shape and keeps it: with fours
# bert-tiny on MRPC takes 500 MB less and 0.85 of the time, the padding included (0.067 of the places, not 0.043).
MULTIPLE = 4

Judge = Callable[[np.ndarray, np.ndarray], dict[str, float]]
Record = Callable[[int, dict[str, float]], None]


def finetune(
    model: nn.Module,
    train: Examples,
    selection: Examples,
    recipe: Recipe,
    judge: Judge,
    score: str,
    seed: int,
    record: Record = lambda step, values: None,
    advanced: Callable[[int], None] = lambda steps: None,
    loss: Loss | None = None,
) -> dict[str, Any]:
    """Fine-tune ``model`` in place and return what the run was, cost and came to.

    ``judge`` gives the metrics of logits (examples, outputs) and labels (examples,), ``score`` names the one whose
    convergence is told; ``record`` gets the points of the curves, ``advanced`` the steps made; ``loss`` is another
    than that of the labels. Weights that are sparse keep their zeros. The order of the batches and dropout come from
    ``seed``. Several processes (``distributed``) each take their rows of every batch, add up their gradients and
    return the same. Raises UserError when the loss is no longer a number.
    """
    loss = loss or Loss()
    machine.make_repeatable(seed)
    machine.reset_peak_memory()
    model.to(machine.device()).train()
    loss.to(machine.device()).train()
    updates = recipe.updates(len(train))
    operations = _operations(model)
    left = optimizer.decayed(recipe.learning_rate, recipe.weight_decay, updates, recipe.warmup)
    curve = []
    with (
        vocabulary.narrowed(model, [train, selection], left) as (seen, judged),
        kept_sparse(model),
        quick(model, loss.whole),
    ):
        run = Run(model, seen, recipe, seed, loss)
        for until in recipe.points(len(train)):
            values = {"loss": run.advance(until, advanced), **run.select(judged, judge, score)}
            record(until, {**values, "learning_rate": run.learning_rate})
            spent = operations(np.concatenate(run.lengths)) if operations else None
            curve.append(Point(values["selection_score"], until, int(run.rows.sum()), run.train_seconds, spent))
    return {
        "train_examples": len(train),
        "selection_examples": len(selection),
        **run.cost(),
        **values,
        **({} if spent is None else {"train_operations": spent}),
        **convergence(curve, recipe.fractions),
    }


def _operations(model: nn.Module) -> Callable[[np.ndarray], float] | None:
    """Return how many operations forward and backward take for examples of given lengths; None where nobody knows.

    Those of the model as it is defined, for real tokens alone: neither padding nor what is left out here changes them.
    """
    try:
        forward, backward = complexity.training_operations(model)
    except UserError:
        return None
    return lambda lengths: float(forward(lengths).sum() + backward(lengths).sum())


def objective(said: Tensor, labels: Tensor) -> Tensor:
    """Return the mean loss of a batch: cross entropy of logits (rows, classes), squared error of numbers (rows, 1)."""
    if said.shape[1] == 1:
        return nn.functional.mse_loss(said[:, 0], labels)
    return nn.functional.cross_entropy(said, labels)


class Loss(nn.Module):
    """What a batch costs a model: ``objective`` of its labels. Another loss derives from this one.

    A loss may have weights of its own, which are trained with the model's. ``whole`` says that it reads more of the
    last layer than the first token. It is called under autocast and computes in fp32 itself.
    """

    whole = False

    def forward(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss, a number."""
        said = model(**batch.inputs).logits
        with torch.autocast(said.device.type, enabled=False):
            return objective(said.float(), batch.labels)


class Objective(nn.Module):
    """A loss of a model as one module, for several processes to share the gradients of all that it trains."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch, a number."""
        loss: Tensor = self.loss(self.model, batch)
        return loss


class Run:
    """A model on its way: its batches, its optimiser, and the losses, rows, tokens and seconds so far.

    ``precision`` is the machine's fastest where None; ``group`` the processes that train together, all that there are
    where None. A step is ``take``, ``forward``, ``backward``, ``update``, as ``evaluation.speed`` takes it apart.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Examples,
        recipe: Recipe,
        seed: int,
        loss: Loss | None = None,
        precision: str | None = None,
        group: Group | None = None,
    ) -> None:
        self.model, self.recipe, self.group = model, recipe, group or distributed.current()
        self.device = machine.device()
        self.precision = precision or machine.precision(self.device)
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

    def advance(self, until: int, advanced: Callable[[int], None]) -> float:
        """Update the model until it has had ``until`` updates and return the mean loss of an example on the way.

        The losses are looked at only here: at each step a GPU would have to wait for it. Raises UserError when one of
        them is not a number.
        """
        first, started = self.done, time.perf_counter()
        while self.done < until:
            self.step()
            advanced(1)
        losses = self.group.add(self.losses[first:until]).cpu().numpy()
        self.train_seconds += time.perf_counter() - started
        if not np.isfinite(losses).all():
            step = first + int(np.argmin(np.isfinite(losses))) + 1
            raise UserError(
                f"the loss is {losses[step - first - 1]} at step {step} of {self.updates}; "
                f"lower learning_rate ({self.recipe.learning_rate:g}) or clip ({self.recipe.clip:g})"
            )
        return float(np.average(losses, weights=self.rows[first:until]))

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
        with machine.computing(self.device, self.precision):
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
        nn.utils.clip_grad_norm_(self.weights, self.recipe.clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.done += 1

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
            "padding_share": 1 - tokens / self.group.total(self.places),
            "peak_memory_mib": machine.peak_memory_mib(self.device),
            "precision": self.precision,
            "device": self.device.type,
            "threads": torch.get_num_threads(),
            "processes": self.group.size,
        }


def _endless(train: Examples, size: int, random: np.random.Generator) -> Iterator[np.ndarray]:
    while True:
        yield from batches.shuffled(train.lengths, size, random)
