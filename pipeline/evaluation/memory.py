"""The most memory that a model takes, by phase, in a process of its own: nothing that was done before stains it.

``python -m pipeline.evaluation.memory '{...}'`` takes the fields of a ``Request`` and prints the numbers as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import warm
from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.data.batches import Batch

SMALL = {"vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 32}


@dataclass(frozen=True)
class Request:
    """Which model, on which examples, and in what: ``rows`` of the longest examples of ``data``, in ``precision``.

    ``folder`` is a classifier that was saved, or with ``labels`` a pre-trained model that becomes one (1 is a number);
    ``shape`` says what of it its memory depends on: two requests that differ in the folder alone are answered once.
    """

    shape: str
    data: str
    max_length: int
    rows: int
    precision: str
    threads: int
    training: bool = False
    labels: int | None = None
    folder: str = field(default="", compare=False)


@cache
def apart(request: Request) -> dict[str, float]:
    """Return what ``phases`` says of the request in a process of its own.

    Raises UserError with what that process said last where it fails.
    """
    command = [sys.executable, "-m", "pipeline.evaluation.memory", json.dumps(asdict(request))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["nothing"]
        raise UserError(f"memory: its process ended with status {done.returncode} and said: {said[-1]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def phases(request: Request) -> dict[str, float]:
    """Return the peak of each phase in MiB: ``<phase>_memory_mib`` resident, ``<phase>_gpu_memory_mib`` on a GPU.

    The phases are ``load`` and ``inference``, or with ``training`` ``load``, ``forward``, ``backward`` and ``update``
    of a first step of fine-tuning. A peak holds all that the process holds then, Python and its libraries too;
    ``<phase>_memory_added_mib`` is what of it came after a tiny model had brought in the kernels.
    """
    import torch

    from pipeline import distributed, machine
    from pipeline.data import batches
    from pipeline.training.endless import endless

    machine.set_threads(request.threads)
    device = machine.device()
    examples = batches.read(Path(request.data), 1.0, Path(request.folder), request.max_length)
    batch = batches.collate(examples, next(batches.by_length(examples.lengths, request.rows))).to(device)
    _touch_kernels(batch, request)
    before = machine.resident_memory_mib()
    found: dict[str, float] = {}

    def phase(name: str, work: Callable[[], Any]) -> Any:
        machine.reset_peak_memory()
        made = work()
        peak = machine.peak_resident_memory_mib()
        found[f"{name}_memory_mib"] = peak
        found[f"{name}_memory_added_mib"] = peak - before
        if device.type == "cuda":
            found[f"{name}_gpu_memory_mib"] = machine.peak_memory_mib(device)
        return made

    model = phase("load", lambda: _model(request).to(device))
    if request.training:
        with endless(model, examples, request.rows, request.precision, distributed.ALONE) as run:
            longest = batches.collate(run.train, batch.rows).to(device)
            loss = phase("forward", lambda: run.forward(longest))
            phase("backward", lambda: run.backward(loss))
            phase("update", run.update)
    else:
        with torch.inference_mode(), machine.computing(device, request.precision):
            phase("inference", lambda: model.eval()(**batch.inputs))
    return found


def _model(request: Request) -> Any:
    from pipeline.models import loading

    folder = Path(request.folder)
    attention = "eager" if request.training else None  # as finetune opens it, as evaluate does
    if request.labels is None:
        return loading.saved(folder).model
    return loading.classifier(folder, request.labels, regression=request.labels == 1, attention=attention).model


def _touch_kernels(batch: Batch, request: Request) -> None:
    """Let a tiny model do the same: code is read from disk when it is first run, and counts as resident then."""
    import torch
    from transformers.models.bert.configuration_bert import BertConfig
    from transformers.models.bert.modeling_bert import BertForSequenceClassification

    from pipeline import machine

    small = BertForSequenceClassification(BertConfig(**SMALL)).to(batch.labels.device)
    ids = torch.zeros_like(batch.inputs["input_ids"][:2, :8])
    with machine.computing(ids.device, request.precision):
        said = small(input_ids=ids).logits
    if request.training:
        said.sum().backward()
        torch.optim.AdamW(small.parameters(), lr=1e-5, fused=True).step()


def main() -> None:
    """Answer the request that stands in the arguments."""
    print(json.dumps(phases(Request(**json.loads(sys.argv[1])))))


if __name__ == "__main__":
    warm.call(main)
