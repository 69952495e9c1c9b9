"""Benchmark of a model: training and inference on some processes and threads, relative to the machine's peak."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from pipeline.core.errors import UserError
from pipeline.data.batches import Examples
from pipeline.evaluation.benchmark_settings import MeasurementSettings
from pipeline.evaluation.cost import peak_flops, speed, step_scaling, timing
from pipeline.models.flops import model_flops
from pipeline.system import distributed, hardware
from pipeline.system.distributed import ProcessGroup
from pipeline.training.benchmark_loop import BATCHES, start_benchmark_loop
from pipeline.training.trainer import Trainer

GROWN_ROWS = 8  # per batch, while another axis grows


def benchmark(
    model: Any,
    inference_model: Any,
    train: Examples,
    report: Examples,
    settings: MeasurementSettings,
    group: ProcessGroup,
) -> dict[str, Any]:
    """Return the numbers of one point, documented in ``docs/metrics.md``. The models are not changed.

    ``model`` is loaded as in ``finetune``, ``inference_model`` as in ``evaluate``. One process is also timed for
    inference and step scaling. Several are timed with the batch divided (strong scaling), with a whole batch each
    (weak), and one of them alone, all in the same run.
    """
    device = hardware.get_device()
    model.to(device)
    before = _peak(settings, group)
    found: dict[str, Any] = _costs(model, train, settings.batch // group.size)
    if group.size == 1:
        found |= _asked(inference_model.to(device), report, settings)
    found |= _trained(model, train, settings, group)
    found["peak_flops_per_second"] = max(
        before, _peak(settings, group)
    )  # the machine may have been disturbed during one of them
    found |= _budget(found["train_pairs_per_second"], settings, group)
    for verb, lengths in (("train", found.pop("lengths")), ("inference", report.lengths)):
        found |= _utilisation(verb, found, model, lengths, hardware.is_emulated(settings.precision, device))
    if group.size == 1 and model.config.model_type == "bert":
        length, brief = round(float(train.lengths.mean())), settings.at_most / 10
        most = found["peak_flops_per_second"] * settings.at_most / 16
        found["growth"] = step_scaling.growth(model.config, GROWN_ROWS, length, settings.precision, device, brief, most)
    return found


def _utilisation(verb: str, found: dict[str, Any], model: Any, lengths: np.ndarray, emulated: bool) -> dict[str, float]:
    """Return the useful FLOP/s as a share of the measured peak, or nothing if there is no such share.

    The formulas must know the family. Emulated precisions have no peak, because other kernels than the measured one are
    faster. A share above 1 means that the machine was disturbed while its peak was measured.
    """
    if "forward_flops" not in found or f"{verb}_pairs_per_second" not in found or emulated:
        return {}
    forward, backward = model_flops.compute_training_flops(model)
    passes = (forward, backward) if verb == "train" else (forward,)
    useful = sum(float(np.mean(flops(lengths))) for flops in passes) * found[f"{verb}_pairs_per_second"]
    share = useful / found["peak_flops_per_second"]
    return {f"{verb}_utilisation": share} if share <= 1 else {}


def _peak(settings: MeasurementSettings, group: ProcessGroup) -> float:
    """Return the FLOP/s that all processes reach at the same time."""
    group.wait_for_all()
    own = peak_flops.peak_flops_per_second(hardware.get_device(), settings.precision, settings.at_most / 4)
    return group.sum_number(own.flops_per_second)


def _costs(model: Any, train: Examples, rows: int) -> dict[str, float]:
    """Return parameters and, if the formulas know the family, FLOPs per example and bytes per process."""
    known = model_flops.count_parameters(model)
    found: dict[str, float] = {
        "parameters": known.parameters,
        "parameters_trainable": known.trainable,
        "parameters_non_embedding": known.non_embedding,
    }
    try:
        whole = model_flops.compute_step_cost(model, round(float(train.lengths.mean())), rows)
    except UserError:
        return found
    return found | {
        "forward_flops": float(np.mean(whole.flops.forward(train.lengths))),
        "backward_flops": float(np.mean(whole.flops.backward(train.lengths))),
        "update_flops": whole.update,
        "activation_bytes": whole.activation_bytes,
        "gradient_bytes": whole.gradient_bytes,
        "optimizer_bytes": whole.optimizer_bytes,
    }


def _asked(model: Any, report: Examples, settings: MeasurementSettings) -> dict[str, float]:
    precision, rows = settings.precision, settings.batch
    found = speed.inference(model, report, precision, rows, settings.within, settings.at_most)
    for count in settings.latency.rows:
        found |= speed.latency(model, report, precision, count, settings.latency.calls)
    return found


def _trained(model: Any, train: Examples, settings: MeasurementSettings, group: ProcessGroup) -> dict[str, Any]:
    """Return the numbers of training, and the ``lengths`` of the training examples."""
    rows = settings.batch
    with start_benchmark_loop(copy.deepcopy(model), train, rows, settings.precision, group) as run:
        found: dict[str, Any] = speed.training(run, settings.within, settings.at_most, group, BATCHES)
        found["lengths"] = np.concatenate(run.lengths[:BATCHES])
        if group.size > 1:
            found["communication_share"] = _exchange(run, settings, group)
    if group.size == 1:
        return found
    with start_benchmark_loop(copy.deepcopy(model), train, rows * group.size, settings.precision, group) as run:
        weak = speed.training(run, settings.within, settings.at_most, group, BATCHES)
    alone = 0.0
    if group.is_rank_zero:
        with start_benchmark_loop(
            copy.deepcopy(model), train, rows, settings.precision, distributed.SINGLE_PROCESS
        ) as run:
            alone = speed.training(run, settings.within, settings.at_most, turn=BATCHES)["train_pairs_per_second"]
    alone = group.sum_number(alone)  # the others have waited for it here
    return found | {
        "alone_pairs_per_second": alone,
        "strong_efficiency": found["train_pairs_per_second"] / (group.size * alone),
        "weak_pairs_per_second": weak["train_pairs_per_second"],
        "weak_efficiency": weak["train_pairs_per_second"] / (group.size * alone),
    }


def _exchange(run: Trainer, settings: MeasurementSettings, group: ProcessGroup) -> float:
    """Return the share of a step that it would not take if the processes exchanged no gradients; waiting included.

    Steps with and without the exchange take turns. The weights differ from process to process afterwards.
    """
    with_exchange: list[float] = []
    without: list[float] = []

    def pair() -> float:
        with_exchange.append(speed.steps(run, BATCHES)[0])
        with run.no_sync():
            without.append(speed.steps(run, BATCHES)[0])
        return with_exchange[-1] + without[-1]

    timing.measure(pair, within=settings.within, at_most=settings.at_most, agree=group.broadcast)
    return max(0.0, 1 - float(np.median(without) / np.median(with_exchange)))


def _budget(rate: float, settings: MeasurementSettings, group: ProcessGroup) -> dict[str, float]:
    """Return what it takes to train the stated number of examples at the measured rate."""
    seconds = settings.budget.examples / rate
    found = {
        "budget_examples": float(settings.budget.examples),
        "budget_seconds": seconds,
        "budget_process_hours": seconds * group.size / 3600,
    }
    if settings.budget.price_per_hour is not None:
        found["budget_cost"] = settings.budget.price_per_hour * seconds / 3600
    return found
