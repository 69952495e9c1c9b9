"""Checkpoints: the state of a training run in a file, from which another process resumes.

The state is weights, optimiser moments, random states of all processes and the step. Schedule and data order follow
from seed and step. A resumed run ends with the same weights, byte for byte, as an uninterrupted one.
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

MIN_INTERVAL_RATIO = (
    20  # times the seconds of the last save must pass before the next, so that saves take at most 5% of a run
)
STATE, DIGEST = "state", "sha256"  # keys in the header of the file


@dataclass(frozen=True)
class CheckpointContent:
    """The content of a checkpoint: tensors by name, and a JSON ``state``."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


@dataclass
class Checkpoint:
    """The last good state of a training run, in ``file``; without a file nothing is saved.

    At least ``min_seconds`` pass between two saves. With ``save_at_end`` the final state is saved as well, because
    other work of the trial follows. ``step`` is that of the state in the file. ``earlier_seconds`` is the duration of
    the run before it was resumed.
    """

    file: Path | None = None
    min_seconds: float = 30.0
    save_at_end: bool = False
    step: int = 0
    earlier_seconds: float = 0.0
    _started_at: float = field(default_factory=lambda: time.monotonic())
    _saved_at: float = field(default_factory=lambda: time.monotonic())
    _save_seconds: float = 0.0

    @property
    def is_due(self) -> bool:
        """Return whether it is time for the next save."""
        since = time.monotonic() - self._saved_at
        return self.file is not None and since >= max(self.min_seconds, MIN_INTERVAL_RATIO * self._save_seconds)

    def save(self, step: int, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> float:
        """Save the state after ``step`` over the last one, atomically, and return the seconds it took.

        The file is synced to disk before it replaces the last one. A state with NaN or infinite values is not saved.
        """
        started = time.monotonic()
        if self.file is None or not all(tensor.isfinite().all() for tensor in tensors.values()):
            return time.monotonic() - started
        whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        text = json.dumps({"step": step, "seconds": self.earlier_seconds + started - self._started_at, **state})
        self.file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.file.with_suffix(".tmp")
        save_file(whole, temporary, {STATE: text, DIGEST: _compute_digest(whole, text)})
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(self.file)
        self.step, self._saved_at = step, time.monotonic()
        self._save_seconds = self._saved_at - started
        return self._save_seconds

    def load(self) -> CheckpointContent | None:
        """Return the last state, or None if there is no intact file."""
        if self.file is None or not self.file.exists():
            return None
        try:
            with safe_open(self.file, "pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
                header = file.metadata() or {}
        except (SafetensorError, OSError):
            return None
        text = header.get(STATE, "")
        if header.get(DIGEST) != _compute_digest(tensors, text):
            return None
        state = json.loads(text)
        self.step, self.earlier_seconds = state["step"], state["seconds"]
        return CheckpointContent(tensors, state)

    @property
    def description(self) -> str:
        """Return where the last good state is, as the end of an error message; empty without a file."""
        if self.file is None:
            return ""
        if not self.step:
            return "; no checkpoint yet"
        path = self.file.relative_to(paths.ROOT) if self.file.is_relative_to(paths.ROOT) else self.file
        return f"; the last good checkpoint is that of step {self.step}, {path}"


def _compute_digest(tensors: Mapping[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def collect_state(
    weights: list[nn.Parameter], optimizer: torch.optim.Optimizer, group: ProcessGroup = SINGLE_PROCESS
) -> dict[str, Tensor]:
    """Return weights, optimiser state and the random states of all processes, by name.

    All processes of ``group`` must call it.
    """
    tensors: dict[str, Tensor] = {f"weight.{number}": weight for number, weight in enumerate(weights)}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in moments.items()}
    for kind, state in _get_random_states().items():
        tensors |= {f"random.{kind}.{rank}": each for rank, each in enumerate(group.all_gather(state))}
    return tensors


def restore_state(
    tensors: Mapping[str, Tensor], weights: list[nn.Parameter], optimizer: torch.optim.Optimizer, rank: int = 0
) -> None:
    """Restore the result of ``collect_state`` in the process ``rank``."""
    with torch.no_grad():
        for number, weight in enumerate(weights):
            weight.copy_(tensors[f"weight.{number}"])
    content = optimizer.state_dict()
    content["state"] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, part = name.split(".")
            content["state"].setdefault(int(index), {})[part] = tensor
    optimizer.load_state_dict(content)
    torch.set_rng_state(tensors[f"random.cpu.{rank}"])
    if torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors[f"random.gpu.{rank}"])


def _get_random_states() -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    return states | ({"gpu": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})
