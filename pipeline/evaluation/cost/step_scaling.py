"""How the cost of a training step grows with depth, width, length and batch of a BERT."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from transformers.models.bert.modeling_bert import BertForSequenceClassification

from pipeline.evaluation.cost import timing
from pipeline.models.flops import counted_flops
from pipeline.system import hardware
from pipeline.training import optimizer

DEPTHS = (1, 2, 4, 8)
WIDTHS = (0.25, 0.5, 1, 2, 4)  # times the shape's own, where that leaves whole heads
LENGTHS = (16, 32, 64, 128, 256)
BATCHES = (1, 4, 16, 64)
MOST_OPERATIONS = 6e10  # of a step: about a second of a slow core
LEAST = 3  # rounds of a point
WITHIN = 0.05  # of the median, where its interval is narrow enough


@dataclass(frozen=True)
class Point:
    """A point on an axis: the config, the rows and the length of a batch."""

    axis: str
    value: int
    config: Any
    rows: int
    length: int


def growth(
    config: Any,
    rows: int,
    length: int,
    precision: str,
    device: torch.device,
    at_most: float = 0.25,
    most_flops: float = MOST_OPERATIONS,
) -> list[dict[str, Any]]:
    """Return the cost of a training step at points along four axes, the others fixed at the arguments.

    ``axis`` is ``depth`` (layers), ``width`` (the hidden size, heads and feed-forward in proportion, so that a head
    keeps its size), ``length`` (tokens, to at most the model's positions) or ``batch`` (rows). ``seconds`` are the
    median of forward, backward and AdamW's update with random weights and full rows, in ``precision``, with the ends
    of its interval; of fewer than six rounds they are the extremes. ``flops`` are those of forward and backward,
    ``activation_bytes`` what is kept between them in fp32, both counted, with attention computed in plain products.
    A point takes ``at_most`` seconds or three rounds; one above ``most_flops`` is left out.
    """
    found = []
    training = None
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        for point in points(config, rows, length):
            counts = _counted(point)
            if counts.forward + counts.backward > most_flops:
                continue
            if training is None or training.config is not point.config:
                training = Training(point.config, precision, device)
            taken = training.measure(point.rows, point.length, at_most)
            found.append(
                {
                    "axis": point.axis,
                    "value": point.value,
                    "seconds": taken.median,
                    "seconds_low": taken.low,
                    "seconds_high": taken.high,
                    "flops": counts.forward + counts.backward,
                    "activation_bytes": counts.activation_bytes,
                }
            )
    return found


def points(config: Any, rows: int, length: int) -> Iterator[Point]:
    """Yield the points along the axes, each axis in increasing order."""
    for depth in DEPTHS:
        yield Point("depth", depth, _changed(config, num_hidden_layers=depth), rows, length)
    heads = config.num_attention_heads
    for times in WIDTHS:
        if heads * times % 1 == 0:
            sizes = {name: int(getattr(config, name) * times) for name in ("hidden_size", "intermediate_size")}
            wide = _changed(config, num_attention_heads=int(heads * times), **sizes)
            yield Point("width", wide.hidden_size, wide, rows, length)
    longest = min(config.max_position_embeddings, LENGTHS[-1])
    for value in sorted({*(each for each in LENGTHS if each < longest), longest}):
        yield Point("length", value, config, rows, value)
    for value in BATCHES:
        yield Point("batch", value, config, value, length)


def _changed(config: Any, **sizes: int) -> Any:
    changed = copy.deepcopy(config)
    for name, size in sizes.items():
        setattr(changed, name, size)
    return changed


def _model(config: Any) -> Any:
    model = BertForSequenceClassification(config).train()
    model.set_attn_implementation("eager")
    return model


def _counted(point: Point) -> counted_flops.CountedCosts:
    with torch.device("meta"):
        model = _model(point.config)
    return counted_flops.count_costs(model, point.length, point.rows)


class Training:
    """A model with random weights and its optimizer, to time steps of any rows and length."""

    def __init__(self, config: Any, precision: str, device: torch.device) -> None:
        self.config, self.precision, self.device = config, precision, device
        with device:
            self.model = _model(config)
        self.optimizer = optimizer.create_adamw(self.model, learning_rate=1e-5, weight_decay=0.01)

    def measure(self, rows: int, length: int, at_most: float) -> timing.Timing:
        """Return the seconds of a step, after a warm-up step."""
        ids = torch.randint(self.config.vocab_size, (rows, length), device=self.device)
        labels = torch.zeros(rows, dtype=torch.long, device=self.device)

        def once() -> float:
            started = timing.now(self.device)
            with hardware.autocast(self.device, self.precision):
                loss = self.model(input_ids=ids, labels=labels).loss
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            return timing.now(self.device) - started

        once()
        return timing.measure(once, within=WITHIN, at_most=at_most, least=LEAST)
