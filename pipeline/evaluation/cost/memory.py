"""Peak memory of a model by phase, measured in a separate process so that earlier work does not count.

``python -m pipeline.evaluation.cost.memory '{...}'`` takes the fields of a ``Request`` and prints the numbers as JSON.
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

from pipeline.core.errors import UserError
from pipeline.system import preload

if TYPE_CHECKING:
    import torch

    from pipeline.data.batches import Examples

SMALL = {"vocab_size": 32, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 32}


@dataclass(frozen=True)
class Request:
    """A measurement: a model on ``rows`` of ``length`` tokens, ``words`` of them different, in ``precision``.

    ``types`` states whether the model takes segments. ``folder`` is a saved classifier or, with ``labels``, a
    pre-trained model that becomes one (1 means regression). ``shape`` identifies everything that memory depends on:
    requests that differ only in the folder are measured once.
    """

    shape: str
    rows: int
    length: int
    words: int
    types: bool
    precision: str
    threads: int
    training: bool = False
    labels: int | None = None
    folder: str = field(default="", compare=False)


def longest(examples: Examples, rows: int) -> dict[str, Any]:
    """Return the request fields for ``rows`` examples as long as the longest of ``examples``."""
    import numpy as np

    return {
        "rows": min(rows, len(examples)),
        "length": int(examples.lengths.max()),
        "words": int(np.unique(examples.tokens).size),
        "types": examples.types is not None,
    }


@cache
def apart(request: Request) -> dict[str, float]:
    """Run ``phases`` in a separate process.

    Raises UserError with the last line of its output if it fails.
    """
    command = [sys.executable, "-m", "pipeline.evaluation.cost.memory", json.dumps(asdict(request))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["nothing"]
        raise UserError(f"memory: its process ended with status {done.returncode} and printed: {lines[-1]}")
    found: dict[str, float] = json.loads(done.stdout)
    return found


def phases(request: Request) -> dict[str, float]:
    """Return the peak of each phase in MiB: ``<phase>_memory_mib`` resident, ``<phase>_gpu_memory_mib`` on a GPU.

    The phases are ``load`` and ``inference``, or with ``training`` ``load``, ``forward``, ``backward`` and ``update``
    of a first step of fine-tuning. A peak includes Python and its libraries; ``<phase>_memory_added_mib`` is the part
    that was added after a tiny model had loaded the kernels.
    """
    import numpy as np
    import torch

    from pipeline.data import batches
    from pipeline.system import distributed, hardware
    from pipeline.training.benchmark_loop import start_benchmark_loop

    hardware.set_threads(request.threads)
    device, examples = hardware.get_device(), _examples(request)
    _touch_kernels(device, request)
    before = hardware.get_resident_memory_mib()
    found: dict[str, float] = {}

    def phase(name: str, work: Callable[[], Any]) -> Any:
        hardware.reset_peak_memory()
        made = work()
        peak = hardware.get_peak_resident_memory_mib()
        found[f"{name}_memory_mib"] = peak
        found[f"{name}_memory_added_mib"] = peak - before
        if device.type == "cuda":
            found[f"{name}_gpu_memory_mib"] = hardware.get_peak_memory_mib(device)
        return made

    model = phase("load", lambda: _load_model(request).to(device))
    if request.training:
        with start_benchmark_loop(model, examples, request.rows, request.precision, distributed.SINGLE_PROCESS) as run:
            batch = run.take()
            loss = phase("forward", lambda: run.forward(batch))
            phase("backward", lambda: run.backward(loss))
            phase("update", run.update)
    else:
        batch = batches.collate(examples, np.arange(request.rows)).to(device)
        with torch.inference_mode(), hardware.autocast(device, request.precision):
            phase("inference", lambda: model.eval()(**batch.inputs))
    return found


def _load_model(request: Request) -> Any:
    from pipeline.models import load_model

    folder = Path(request.folder)
    attention = "eager" if request.training else None  # as in finetune, as in evaluate
    if request.labels is None:
        return load_model.load_finetuned(folder).model
    return load_model.load_pretrained(folder, request.labels, regression=request.labels == 1, attention=attention).model


def _examples(request: Request) -> Examples:
    """Return artificial examples: memory does not depend on their content."""
    import numpy as np

    from pipeline.data.batches import Examples

    tokens = np.arange(request.rows * request.length) % request.words
    labels = np.zeros(request.rows, dtype=np.float32 if request.labels == 1 else np.int64)
    starts = np.arange(request.rows + 1) * request.length
    return Examples(tokens, np.zeros_like(tokens) if request.types else None, starts, labels, pad=0)


def _touch_kernels(device: torch.device, request: Request) -> None:
    """Run a tiny model, because code becomes resident when it first runs."""
    import torch
    from transformers.models.bert.configuration_bert import BertConfig
    from transformers.models.bert.modeling_bert import BertForSequenceClassification

    from pipeline.system import hardware

    small = BertForSequenceClassification(BertConfig(**SMALL)).to(device)
    ids = torch.zeros(2, 8, dtype=torch.int64, device=device)
    with hardware.autocast(device, request.precision):
        logits = small(input_ids=ids).logits
    if request.training:
        logits.sum().backward()
        torch.optim.AdamW(small.parameters(), lr=1e-5, fused=True).step()


def main() -> None:
    """Run the request in the arguments and print the result as JSON."""
    print(json.dumps(phases(Request(**json.loads(sys.argv[1])))))


if __name__ == "__main__":
    preload.run_in_server()
    main()
