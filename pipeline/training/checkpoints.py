"""The state of a training on its way, in a file that outlives the process.

What is restored is all that the rest of a run depends on: weights, the optimiser's moments, the random numbers of every
process, and how far the run is; schedule and order of the data follow from the seed and the step. A run that was
resumed makes the same weights, byte for byte, as one that was not.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.core import paths
from pipeline.system.distributed import SINGLE_PROCESS, ProcessGroup

PATIENCE = 20  # times what the last one took to write is the least time between two: at most 5% of a run goes into them
STATE, DIGEST = "state", "sha256"  # keys of the file's header


@dataclass(frozen=True)
class Found:
    """What a checkpoint holds: tensors by name, and numbers and lists under ``state``."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


@dataclass
class Checkpoint:
    """The last good state of one training, in ``file``; without a file nothing is kept.

    ``seconds`` lie at least between two of them. ``ends`` says that other work of the same trial follows the training,
    so that its end is worth keeping as well. ``step`` is that of the state in the file, ``earlier`` the seconds that
    the training had taken when it was loaded.
    """

    file: Path | None = None
    seconds: float = 30.0
    ends: bool = False
    step: int = 0
    earlier: float = 0.0
    _begun: float = field(default_factory=lambda: time.monotonic())
    _saved: float = field(default_factory=lambda: time.monotonic())
    _took: float = 0.0

    @property
    def due(self) -> bool:
        """Say whether it is time for another one."""
        since = time.monotonic() - self._saved
        return self.file is not None and since >= max(self.seconds, PATIENCE * self._took)

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> float:
        """Keep the state after ``step`` in the place of the last one; return the seconds that it took.

        The file is written beside and to the disk before it takes its place. A state with weights that are no numbers
        is none to go on from, and is not kept.
        """
        started = time.monotonic()
        if self.file is None or not all(tensor.isfinite().all() for tensor in tensors.values()):
            return time.monotonic() - started
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        text = json.dumps({"step": step, "seconds": self.earlier + started - self._begun, **state})
        self.file.parent.mkdir(parents=True, exist_ok=True)
        beside = self.file.with_suffix(".tmp")
        save_file(whole, beside, {STATE: text, DIGEST: _digest(whole, text)})
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(self.file)
        self.step, self._saved = step, time.monotonic()
        self._took = self._saved - started
        return self._took

    def load(self) -> Found | None:
        """Return the last state, or None where there is none that is whole: then a run begins anew."""
        if self.file is None or not self.file.exists():
            return None
        try:
            with safe_open(self.file, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
                header = file.metadata() or {}
        except (SafetensorError, OSError):
            return None
        text = header.get(STATE, "")
        if header.get(DIGEST) != _digest(tensors, text):
            return None
        state = json.loads(text)
        self.step, self.earlier = state["step"], state["seconds"]
        return Found(tensors, state)

    @property
    def told(self) -> str:
        """Say where the last good state lies, empty where none is kept at all."""
        if self.file is None:
            return ""
        if not self.step:
            return "; no checkpoint yet"
        shown = self.file.relative_to(paths.ROOT) if self.file.is_relative_to(paths.ROOT) else self.file
        return f"; the last good checkpoint is that of step {self.step}, {shown}"


def _digest(tensors: Mapping[str, Tensor], text: str) -> str:
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def taken(
    weights: list[nn.Parameter], optimizer: torch.optim.Optimizer, group: ProcessGroup = SINGLE_PROCESS
) -> dict[str, Tensor]:
    """Return weights, the optimiser's state of each, and every process's random numbers, by name.

    Every process of ``group`` has to ask.
    """
    tensors: dict[str, Tensor] = {f"weight.{place}": weight for place, weight in enumerate(weights)}
    for place, kept in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{place}.{name}": tensor for name, tensor in kept.items()}
    for kind, state in _random().items():
        tensors |= {f"random.{kind}.{rank}": each for rank, each in enumerate(group.all_gather(state))}
    return tensors


def restore(
    tensors: Mapping[str, Tensor], weights: list[nn.Parameter], optimizer: torch.optim.Optimizer, rank: int = 0
) -> None:
    """Put what ``taken`` returned back in its place; ``rank`` is of this process."""
    with torch.no_grad():
        for place, weight in enumerate(weights):
            weight.copy_(tensors[f"weight.{place}"])
    content = optimizer.state_dict()
    content["state"] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, part = name.split(".")
            content["state"].setdefault(int(number), {})[part] = tensor
    optimizer.load_state_dict(content)
    torch.set_rng_state(tensors[f"random.cpu.{rank}"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors[f"random.gpu.{rank}"])


def _random() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    return states | ({"gpu": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})
