"""Teacher outputs, computed once and reused in every epoch and for every seed."""

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
from pipeline.training.distillation import distillation_settings, layer_outputs
from pipeline.training.distillation.distillation_settings import Distillation, LayerSelection
from pipeline.training.distillation.layer_outputs import LayerOutputs
from pipeline.training.predict import ROWS

LayerPart = tuple[str, int]  # "states", "query", "key" or "value" of a layer


class TeacherOutputs:
    """Logits (examples, outputs) float32 of a teacher, and optionally parts of its layers.

    Layer parts are float16 by token, without padding. They take 2 bytes * (hidden size * states + heads * head size *
    (2 * layers with scores + layers with values)) per token, in an unnamed temporary file that the system removes with
    the process. Queries and keys are stored instead of attention scores, whose size grows with the length. ``heads``
    has the number of attention heads of each layer, empty without layer parts.
    """

    def __init__(self, examples: Examples, outputs: int) -> None:
        self.examples = examples
        self.logits = np.empty((len(examples), outputs), dtype=np.float32)
        self.heads: tuple[int, ...] = ()
        self._columns: dict[LayerPart, slice] = {}
        self._parts: np.ndarray = np.empty((len(examples.tokens), 0), dtype=np.float16)

    def get_width(self, name: str, layer: int) -> int:
        """Return the width of a layer part."""
        columns = self._columns[name, layer]
        return int(columns.stop - columns.start)

    def read(self, rows: np.ndarray, length: int, device: torch.device) -> dict[LayerPart, Tensor]:
        """Return the layer parts of the examples ``rows``, each (rows, length, width) float32, zero for padding."""
        real, tokens = self._find_tokens(rows, length)
        padded = np.zeros((*real.shape, self._parts.shape[1]), dtype=np.float16)
        padded[real] = self._parts[tokens]
        tensor = torch.from_numpy(padded).to(device).float()
        return {part: tensor[:, :, columns] for part, columns in self._columns.items()}

    def write(self, rows: np.ndarray, parts: dict[LayerPart, Tensor], scratch: Path) -> None:
        """Store the layer parts of the examples ``rows``, each (rows, length, width)."""
        if not self._columns:
            self._create_file({part: tensor.shape[2] for part, tensor in parts.items()}, scratch)
        padded = torch.cat([tensor.half() for tensor in parts.values()], 2).cpu().numpy()
        real, tokens = self._find_tokens(rows, padded.shape[1])
        self._parts[tokens] = padded[real]

    def _create_file(self, widths: dict[LayerPart, int], scratch: Path) -> None:
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
            self._parts = np.memmap(file, dtype=np.float16, mode="w+", shape=shape)

    def _find_tokens(self, rows: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a mask of the tokens in (rows, length), and their indices among the tokens of all examples."""
        starts, lengths = self.examples.starts[rows], self.examples.lengths[rows]
        real = np.arange(length) < lengths[:, None]
        return real, (starts[:, None] + np.arange(length))[real]


@torch.inference_mode()
def run_teacher(
    teacher: Any, examples: Examples, layers: LayerSelection, precision: str, scratch: Path
) -> TeacherOutputs:
    """Return the outputs of ``teacher`` for all examples, from one pass in evaluation mode.

    ``precision`` is ``bf16`` (autocast) or ``fp32``. The parts of ``layers`` are stored in a file in the folder
    ``scratch``. Raises UserError if the disk is too small, or if the teacher has no layers like BERT's.
    """
    outputs = TeacherOutputs(examples, teacher.config.num_labels)
    has_parts = layers != LayerSelection()
    outputs.heads = layer_outputs.count_heads(teacher) if has_parts else ()
    device, training = next(teacher.parameters()).device, teacher.training
    teacher.eval()
    for rows in batches.by_length(examples.lengths, ROWS):
        batch = batches.collate(examples, rows).to(device)
        with (
            hardware.autocast(device, precision),
            layer_outputs.record_layers(teacher) if has_parts else nullcontext(LayerOutputs()) as layer_states,
        ):
            logits = teacher(**batch.inputs).logits
        outputs.logits[rows] = logits.float().cpu().numpy()
        if has_parts:
            outputs.write(rows, _select_parts(layer_states, layers), scratch)
    teacher.train(training)
    return outputs


@lru_cache(maxsize=1)
def load_teacher_outputs(
    teacher: Path, file: Path, ratio: float, max_length: int, settings: Distillation, layers: int, scratch: Path
) -> TeacherOutputs:
    """Return the outputs of the teacher in a folder on the subset ``ratio`` of a prepared split.

    ``settings`` and the number of the student's ``layers`` determine the stored layer parts. The last result is cached
    for students of other seeds. The teacher's memory is free before a student is trained.
    """
    loaded = load_model.load_finetuned(teacher)
    model = loaded.model.to(hardware.get_device())
    examples = batches.read(file, ratio, teacher, max_length)
    selection = LayerSelection()
    if settings.matches_layers:
        selection = distillation_settings.select_layers(settings, layers, len(bert_layers.list_layers(model)))
    return run_teacher(model, examples, selection, hardware.get_fastest_precision(hardware.get_device()), scratch)


def _select_parts(outputs: LayerOutputs, layers: LayerSelection) -> dict[LayerPart, Tensor]:
    parts = {("states", layer): outputs.states[layer] for layer in layers.states}
    for layer in layers.scores:
        parts["query", layer], parts["key", layer] = outputs.query[layer - 1], outputs.key[layer - 1]
    return parts | {("value", layer): outputs.value[layer - 1] for layer in layers.values}
