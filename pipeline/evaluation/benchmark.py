"""What a model costs on so many processes and threads: training and asking, timed, beside what the machine can do."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pipeline import distributed, machine
from pipeline.data.batches import Examples
from pipeline.distributed import Group
from pipeline.errors import UserError, near
from pipeline.evaluation import growth, peak, speed, timing
from pipeline.models import complexity
from pipeline.training import vocabulary
from pipeline.training.finetuning import Run
from pipeline.training.quick import quick
from pipeline.training.recipe import Recipe

GROWN_ROWS = 8  # of a batch, while something else grows
ENDLESS = 1_000_000  # steps of a run that is timed: more than any clock lets it make


@dataclass(frozen=True)
class Settings:
    """What is timed and how long: ``batch_size`` rows of all processes together, in ``precision``.

    Each measurement ends when the 95% interval of its median lies within the share ``within`` of it, or after
    ``at_most`` seconds. Latencies are of ``latency_calls`` calls of each of ``latency_rows`` rows. ``examples`` is a
    budget to train; ``price_per_hour`` what the machine costs, None where nobody says.
    """

    precision: str
    batch_size: int
    within: float
    at_most: float
    latency_rows: tuple[int, ...]
    latency_calls: int
    examples: int
    price_per_hour: float | None


def parse(conf: Mapping[str, Any]) -> Settings:
    """Return the settings that ``conf/benchmark.yaml`` states. Raises UserError for what cannot be measured."""
    where = "conf/benchmark.yaml"
    numbers = {key: conf[key] for key in ("within", "at_most")}
    for key, value in numbers.items():
        if not (isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf):
            raise UserError(f"{where}: {key}: got {value!r}; give a number above 0")
    counts = [("batch", conf["batch"]), ("latency.calls", conf["latency"]["calls"])]
    counts += [("budget.examples", conf["budget"]["examples"])]
    counts += [("latency.rows", rows) for rows in conf["latency"]["rows"]]
    for key, value in counts:
        if type(value) is not int or value < 1:
            raise UserError(f"{where}: {key}: got {value!r}; give a whole number from 1")
    if conf["precision"] not in peak.TYPES:
        raise UserError(f"{where}: precision: got {conf['precision']!r}; {near(conf['precision'], peak.TYPES)}")
    if conf["batch"] % conf["processes"]:
        raise UserError(
            f"batch: {conf['batch']} rows cannot be shared evenly by {conf['processes']} processes; give a multiple"
        )
    price = conf["budget"]["price_per_hour"]
    if price is not None and not (isinstance(price, (int, float)) and 0 <= price < math.inf):
        raise UserError(f"{where}: budget.price_per_hour: got {price!r}; give a number from 0, or null")
    return Settings(
        conf["precision"], conf["batch"], **numbers, latency_rows=tuple(conf["latency"]["rows"]),
        latency_calls=conf["latency"]["calls"], examples=conf["budget"]["examples"], price_per_hour=price,
    )  # fmt: skip


def benchmark(model: Any, train: Examples, report: Examples, settings: Settings, group: Group) -> dict[str, Any]:
    """Return the numbers of one point; ``docs/metrics.md`` says what they mean. The model is left as it was.

    One process is timed asking and growing as well. Several are timed with the batch divided among them (strong
    scaling), with a whole one for each (weak), and one of them alone, all in the same run.
    """
    device = machine.device()
    model.to(device)
    before = _peak(settings, group)
    found: dict[str, Any] = _costs(model, train, settings.batch_size // group.size)
    if group.size == 1:
        found |= _asked(model, report, settings)
    found |= _trained(model, train, settings, group)
    found["peak_operations_per_second"] = max(before, _peak(settings, group))  # something may have disturbed one
    found |= _budget(found["train_pairs_per_second"], settings, group)
    for verb, passes in (("train", ("forward", "backward")), ("inference", ("forward",))):
        if f"{verb}_pairs_per_second" in found and "forward_operations" in found:
            useful = sum(found[f"{name}_operations"] for name in passes) * found[f"{verb}_pairs_per_second"]
            found[f"{verb}_utilisation"] = useful / found["peak_operations_per_second"]
    if group.size == 1 and model.config.model_type == "bert":
        length, brief = round(float(train.lengths.mean())), settings.at_most / 10
        most = found["peak_operations_per_second"] * settings.at_most / 4
        found["growth"] = growth.growth(model.config, GROWN_ROWS, length, settings.precision, device, brief, most)
    return found


def _peak(settings: Settings, group: Group) -> float:
    """Return the operations a second that all processes reach at the same time."""
    group.wait()
    own = peak.peak_operations_per_second(machine.device(), settings.precision, settings.at_most / 4)
    return group.total(own.operations_per_second)


def _costs(model: Any, train: Examples, rows: int) -> dict[str, float]:
    """Return parameters and, where the formulas know the family, operations of a pair and bytes of a process."""
    known = complexity.weights(model)
    found: dict[str, float] = {
        "parameters": known.parameters,
        "parameters_trainable": known.trainable,
        "parameters_non_embedding": known.non_embedding,
    }
    try:
        whole = complexity.analyse(model, round(float(train.lengths.mean())), rows)
    except UserError:
        return found
    return found | {
        "forward_operations": float(np.mean(whole.operations.forward(train.lengths))),
        "backward_operations": float(np.mean(whole.operations.backward(train.lengths))),
        "update_operations": whole.update,
        "activation_bytes": whole.activation_bytes,
        "gradient_bytes": whole.gradient_bytes,
        "optimizer_bytes": whole.optimizer_bytes,
    }


def _asked(model: Any, report: Examples, settings: Settings) -> dict[str, float]:
    precision, rows = settings.precision, settings.batch_size
    found = speed.inference(model, report, precision, rows, settings.within, settings.at_most)
    for count in settings.latency_rows:
        found |= speed.latency(model, report, precision, count, settings.latency_calls)
    return found


def _trained(model: Any, train: Examples, settings: Settings, group: Group) -> dict[str, float]:
    rows = settings.batch_size
    with _run(model, train, rows, settings.precision, group) as run:
        found = _together(speed.training(run, settings.within, settings.at_most, group.agree), group)
        if group.size > 1:
            found["communication_share"] = _exchange(run, settings, group)
    if group.size == 1:
        return found
    with _run(model, train, rows * group.size, settings.precision, group) as run:
        weak = _together(speed.training(run, settings.within, settings.at_most, group.agree), group)
    alone = 0.0
    if group.leads:
        with _run(model, train, rows, settings.precision, distributed.ALONE) as run:
            alone = speed.training(run, settings.within, settings.at_most)["train_pairs_per_second"]
    alone = group.total(alone)  # the others have waited for it here
    return found | {
        "alone_pairs_per_second": alone,
        "strong_efficiency": found["train_pairs_per_second"] / (group.size * alone),
        "weak_pairs_per_second": weak["train_pairs_per_second"],
        "weak_efficiency": weak["train_pairs_per_second"] / (group.size * alone),
    }


@contextmanager
def _run(model: Any, train: Examples, rows: int, precision: str, group: Group) -> Iterator[Run]:
    """Yield the fine-tuning of a copy of the model, as ``finetuning`` does it, that goes on for ever."""
    recipe = Recipe(
        learning_rate=1e-5, batch_size=rows, epochs=None, steps=ENDLESS, warmup=0.0, weight_decay=0.01, clip=1.0,
        evaluations=1,
    )  # fmt: skip
    own = copy.deepcopy(model).train()
    torch.manual_seed(0)
    with vocabulary.narrowed(own, [train], 1.0) as (seen,), quick(own):
        yield Run(own, seen, recipe, 0, precision=precision, group=group)


def _together(found: dict[str, float], group: Group) -> dict[str, float]:
    """Return the numbers of all processes: rates added up, the rest that of the first process."""
    rates = [name for name in found if "_per_second" in name]
    added = {name: group.total(found[name]) for name in rates}
    kept = {name: value for name, value in found.items() if "_timed_" not in name}
    if "train_joules_per_pair" in kept and machine.device().type == "cpu":
        kept["train_joules_per_pair"] /= group.size  # the processors' counter is one for all processes
    return kept | added


def _exchange(run: Run, settings: Settings, group: Group) -> float:
    """Return the share of a step that it would not take if the processes exchanged no gradients; waiting included."""
    with_exchange: list[float] = []
    without: list[float] = []

    def pair() -> float:
        with_exchange.append(speed.steps(run, 4)[0])
        with run.alone():
            without.append(speed.steps(run, 4)[0])
        return with_exchange[-1] + without[-1]

    timing.measure(pair, within=settings.within, at_most=settings.at_most, agree=group.agree)
    return max(0.0, 1 - float(np.median(without) / np.median(with_exchange)))


def _budget(rate: float, settings: Settings, group: Group) -> dict[str, float]:
    """Return what it takes to train the stated number of examples at the measured rate."""
    seconds = settings.examples / rate
    found = {
        "budget_examples": float(settings.examples),
        "budget_seconds": seconds,
        "budget_process_hours": seconds * group.size / 3600,
    }
    if settings.price_per_hour is not None:
        found["budget_cost"] = settings.price_per_hour * seconds / 3600
    return found
