"""Throughput of training and inference with intervals, latency, the parts of a step, joules."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.data import batches
from pipeline.data.batches import Batch, Examples
from pipeline.evaluation.cost import energy, timing
from pipeline.evaluation.cost.energy import Meter
from pipeline.system import hardware
from pipeline.system.distributed import SINGLE_PROCESS, ProcessGroup

ROUND = 0.15  # seconds per round at least, so that the clock's error is negligible
WARMUP = 3  # steps of training before the clock counts
PHASED = (5, 50)  # steps that are taken apart, at least and at most

Agree = Callable[[bool], bool]


class Trainable(Protocol):
    """Training that can be taken apart: a step is ``take``, ``forward``, ``backward``, ``update``."""

    device: torch.device

    def take(self) -> Batch:
        """Return this process's rows of the next batch, on the device."""

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of a batch."""

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of a loss."""

    def update(self) -> None:
        """Move the weights by their gradients."""


def inference(
    model: nn.Module, examples: Examples, precision: str, rows: int, within: float, at_most: float
) -> dict[str, float]:
    """Return the inference throughput in pairs and real tokens (no padding) per second, and joules per pair.

    The batches have ``rows`` examples of similar length, spread over the split from the longest to the shortest, on
    the device already; a round asks all of them. ``precision`` is ``bf16`` (autocast) or ``fp32``; ``within`` and
    ``at_most`` seconds are those of ``timing.measure``. ``_low`` and ``_high`` are the ends of the median's interval.
    ``inference_joules_per_pair`` is absent without a counter.
    """
    device = _device(model)
    with _asking(model, precision):
        batches_used = _spread(model, examples, rows)

        def once() -> float:
            started = timing.now(device)
            for batch in batches_used:
                model(**batch.inputs)
            return timing.now(device) - started

        once()
        with energy.measured(device) as meter:
            found = timing.measure(once, within=within, at_most=at_most)
    pairs = sum(len(batch) for batch in batches_used)
    return {
        "inference_pairs_per_second": pairs / found.median,
        "inference_pairs_per_second_low": pairs / found.high,
        "inference_pairs_per_second_high": pairs / found.low,
        "inference_tokens_per_second": sum(batch.tokens for batch in batches_used) / found.median,
        "inference_rounds": found.rounds,
        **_joules("inference_joules_per_pair", meter, pairs * found.rounds),
    }


def latency(model: nn.Module, examples: Examples, precision: str, rows: int, calls: int) -> dict[str, float]:
    """Return the percentiles of the milliseconds of a call of ``rows`` examples: ``latency_b<rows>_p50_ms`` and so on.

    The calls are spread evenly over the split in its own order, so that lengths mix as in use, each padded to its own
    longest and on the device already; the split begins again where it has too few rows. Each length is called once
    before timing starts. p99 needs some hundred calls.
    """
    device = _device(model)
    starts = np.linspace(0, max(len(examples) - rows, 0), calls).round().astype(int)
    batches_used = [batches.collate(examples, (start + np.arange(rows)) % len(examples)).to(device) for start in starts]
    taken = []
    with _asking(model, precision):
        for batch in {batch.inputs["input_ids"].shape: batch for batch in batches_used}.values():
            model(**batch.inputs)
        for batch in batches_used:
            started = timing.now(device)
            model(**batch.inputs)
            taken.append((timing.now(device) - started) * 1000)
    return {f"latency_b{rows}_{name}_ms": value for name, value in timing.percentiles(taken).items()}


def training(
    run: Trainable, within: float, at_most: float, group: ProcessGroup = SINGLE_PROCESS, turn: int = 1
) -> dict[str, float]:
    """Return the training throughput in pairs and real tokens (no padding) per second, and the parts of a step.

    Whole steps first, as training makes them: rounds of equally many, a multiple of ``turn``, ``within`` and
    ``at_most`` seconds as in ``timing.measure``; then, for up to a quarter of ``at_most``, steps that wait for the
    device between their parts. Rates are of the rows of all processes of the ``group``, which make equally many steps;
    the milliseconds are this process's. ``train_joules_per_pair`` is absent without a counter. The run is left
    further on.
    """
    count = _warm_up(run, group.broadcast, turn)
    rounds: list[tuple[float, int, int]] = []

    def once() -> float:
        rounds.append(steps(run, count))
        return rounds[-1][0]

    with energy.measured(run.device) as meter:
        found = timing.measure(once, within=within, at_most=at_most, agree=group.broadcast)
    own = torch.tensor([(pairs / seconds, tokens / seconds, pairs) for seconds, pairs, tokens in rounds])
    rates, tokens, pairs = group.all_reduce(own.double().to(run.device)).cpu().unbind(1)
    rate, low, high = timing.interval(rates.tolist())
    meters = group.size if run.device.type == "cuda" else 1  # each process reads its own GPU; the processors are one
    return {
        "train_pairs_per_second": rate,
        "train_pairs_per_second_low": low,
        "train_pairs_per_second_high": high,
        "train_tokens_per_second": timing.interval(tokens.tolist())[0],
        "train_step_ms": found.median / count * 1000,
        "train_rounds": found.rounds,
        **_joules("train_joules_per_pair", meter, float(pairs.sum()) / meters),
        **_phases(run, at_most / 4, group.broadcast),
    }


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


@contextmanager
def _asking(model: nn.Module, precision: str) -> Iterator[None]:
    """Put the model into inference mode inside the block, then restore its mode."""
    training = model.training
    model.eval()
    with torch.inference_mode(), hardware.autocast(_device(model), precision):
        yield
    model.train(training)


def _spread(model: nn.Module, examples: Examples, rows: int) -> list[Batch]:
    """Return enough batches for a round, spread over the split; a small split may have fewer."""
    device = _device(model)
    found = list(batches.by_length(examples.lengths, rows))
    middle = batches.collate(examples, found[len(found) // 2]).to(device)
    model(**middle.inputs)
    started = timing.now(device)
    model(**middle.inputs)
    seconds = timing.now(device) - started
    count = min(math.ceil(ROUND / max(seconds, 1e-9)), len(found))
    places = (np.arange(count) + 0.5) * len(found) / count
    return [batches.collate(examples, found[place]).to(device) for place in places.astype(int)]


def _joules(name: str, meter: Meter, pairs: float) -> dict[str, float]:
    return {} if meter.joules is None else {name: meter.joules / pairs}


def _warm_up(run: Trainable, agree: Agree, turn: int) -> int:
    """Return the steps of a round: ``turn`` times a power of two that all processes agree on."""
    steps(run, max(WARMUP, turn))
    count = turn
    while not agree(steps(run, count)[0] >= ROUND):
        count *= 2
    return count


def steps(run: Trainable, count: int) -> tuple[float, int, int]:
    """Run ``count`` steps, wait for the device, and return seconds, pairs and real tokens."""
    pairs = tokens = 0
    started = timing.now(run.device)
    for _ in range(count):
        batch = run.take()
        run.backward(run.forward(batch))
        run.update()
        pairs += len(batch)
        tokens += batch.tokens
    return timing.now(run.device) - started, pairs, tokens


def _phases(run: Trainable, at_most: float, agree: Agree) -> dict[str, float]:
    """Return the median milliseconds of the four parts of a step, waiting for the device between them."""
    taken: list[np.ndarray] = []
    ended = False
    while not ended:
        clock = [timing.now(run.device)]
        batch = run.take()
        clock.append(timing.now(run.device))
        loss = run.forward(batch)
        clock.append(timing.now(run.device))
        run.backward(loss)
        clock.append(timing.now(run.device))
        run.update()
        clock.append(timing.now(run.device))
        taken.append(np.diff(clock))
        least, most = PHASED
        ended = agree(len(taken) >= most or (len(taken) >= least and float(np.sum(taken)) >= at_most))
    names = ("data", "forward", "backward", "update")
    return {f"train_{name}_ms": float(value) * 1000 for name, value in zip(names, np.median(taken, 0), strict=True)}
