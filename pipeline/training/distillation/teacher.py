"""A teacher's answers: asked once, kept for every epoch and every seed."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.core.errors import UserError
from pipeline.data import batches
from pipeline.data.batches import Examples
from pipeline.models import bert_layers, load_model
from pipeline.system import hardware
from pipeline.training.distillation import distillation_loss, distillation_settings
from pipeline.training.distillation.distillation_loss import Seen
from pipeline.training.distillation.distillation_settings import Distillation, Needs
from pipeline.training.predict import ROWS

Part = tuple[str, int]  # "states", "query", "key" or "value" of a layer


class Answers:
    """What a teacher says of ``examples``: ``logits`` (examples, outputs) float32, and what goes on inside it.

    The inside is kept by tokens, without padding, as float16: 2 bytes * (hidden size * states + 2 * size of the heads
    together * layers with scores + the same once more * layers with values) for each token, in a file without a name,
    which is gone with this object however the process ends. Attention scores are kept as the queries and keys that make
    them: their size does not grow with the length. ``heads`` holds the attention heads of each layer, empty where only
    the logits were asked for.
    """

    def __init__(self, examples: Examples, outputs: int) -> None:
        self.examples = examples
        self.logits = np.empty((len(examples), outputs), dtype=np.float32)
        self.heads: tuple[int, ...] = ()
        self._columns: dict[Part, slice] = {}
        self._inside: np.ndarray = np.empty((len(examples.tokens), 0), dtype=np.float16)

    def width(self, name: str, layer: int) -> int:
        """Return the width of a part of the inside."""
        columns = self._columns[name, layer]
        return int(columns.stop - columns.start)

    def read(self, rows: np.ndarray, longest: int, at: torch.device) -> dict[Part, Tensor]:
        """Return each kept part of the inside for the examples ``rows``, (rows, longest, width) float32 on ``at``.

        What is padding is zero.
        """
        real, places = self._places(rows, longest)
        found = np.zeros((*real.shape, self._inside.shape[1]), dtype=np.float16)
        found[real] = self._inside[places]
        whole = torch.from_numpy(found).to(at).float()
        return {part: whole[:, :, columns] for part, columns in self._columns.items()}

    def write(self, rows: np.ndarray, parts: dict[Part, Tensor], scratch: Path) -> None:
        """Keep the parts of the inside for the examples ``rows``, each (rows, longest, width)."""
        if not self._columns:
            self._make_room({part: tensor.shape[2] for part, tensor in parts.items()}, scratch)
        found = torch.cat([tensor.half() for tensor in parts.values()], 2).cpu().numpy()
        real, places = self._places(rows, found.shape[1])
        self._inside[places] = found[real]

    def _make_room(self, widths: dict[Part, int], scratch: Path) -> None:
        ends = np.cumsum(list(widths.values())).tolist()
        self._columns = {part: slice(end - width, end) for (part, width), end in zip(widths.items(), ends, strict=True)}
        shape = (len(self.examples.tokens), ends[-1])
        scratch.mkdir(parents=True, exist_ok=True)
        needed, free = 2 * shape[0] * shape[1], shutil.disk_usage(scratch).free
        if needed > free:
            raise UserError(
                f"{scratch}: the teacher's states take {needed / hardware.MIB:.0f} MiB "
                f"and {free / hardware.MIB:.0f} MiB are free; match fewer layers (layers: last), or make room"
            )
        with TemporaryFile(dir=scratch) as file:
            self._inside = np.memmap(file, dtype=np.float16, mode="w+", shape=shape)

    def _places(self, rows: np.ndarray, longest: int) -> tuple[np.ndarray, np.ndarray]:
        """Return which of (rows, longest) are tokens, and where these stand among those of all examples."""
        starts, lengths = self.examples.starts[rows], self.examples.lengths[rows]
        real = np.arange(longest) < lengths[:, None]
        return real, (starts[:, None] + np.arange(longest))[real]


@torch.inference_mode()
def ask(teacher: Any, examples: Examples, needs: Needs, precision: str, scratch: Path) -> Answers:
    """Return what ``teacher`` says of each example, in one pass in evaluation mode; it is left in the mode it was in.

    ``precision`` is ``bf16`` (autocast) or ``fp32``; ``scratch`` is a folder for a file of what ``needs`` names beside
    the logits. Raises UserError where there is no room for it, or the teacher has no layers like BERT's.
    """
    answers = Answers(examples, teacher.config.num_labels)
    inside = needs != Needs()
    answers.heads = distillation_loss.heads(teacher) if inside else ()
    at, training = next(teacher.parameters()).device, teacher.training
    teacher.eval()
    for rows in batches.by_length(examples.lengths, ROWS):
        batch = batches.collate(examples, rows).to(at)
        with (
            hardware.autocast(at, precision),
            distillation_loss.watched(teacher) if inside else nullcontext(Seen()) as seen,
        ):
            said = teacher(**batch.inputs).logits
        answers.logits[rows] = said.float().cpu().numpy()
        if inside:
            answers.write(rows, _chosen(seen, needs), scratch)
    teacher.train(training)
    return answers


@lru_cache(maxsize=1)
def asked(
    teacher: Path, file: Path, ratio: float, max_length: int, settings: Distillation, layers: int, scratch: Path
) -> Answers:
    """Return what the teacher saved in a folder says of the subset ``ratio`` of a prepared split.

    ``settings`` and the number of the student's ``layers`` tell what is kept beside the logits. The last answers are
    kept: the seeds that one trial teaches ask once, and the teacher itself is gone before a student is trained.
    """
    opened = load_model.load_finetuned(teacher)
    model = opened.model.to(hardware.get_device())
    examples = batches.read(file, ratio, teacher, max_length)
    needs = Needs()
    if settings.inside:
        needs = distillation_settings.needs(settings, layers, len(bert_layers.list_layers(model)))
    return ask(model, examples, needs, hardware.get_fastest_precision(hardware.get_device()), scratch)


def _chosen(seen: Seen, needs: Needs) -> dict[Part, Tensor]:
    parts = {("states", layer): seen.states[layer] for layer in needs.states}
    for layer in needs.scores:
        parts["query", layer], parts["key", layer] = seen.query[layer - 1], seen.key[layer - 1]
    return parts | {("value", layer): seen.value[layer - 1] for layer in needs.values}
