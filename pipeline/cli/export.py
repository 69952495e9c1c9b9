"""Write a trained classifier as an ONNX file: ``lab export compress/mrpc-bert-mini-0.5-standard-heads``.

The cell is any one below ``runs/``. The file takes ``input_ids``, ``attention_mask`` and, where the model has segments,
``token_type_ids``, each (rows, length) of any size, and gives ``logits``. onnxruntime runs it first:
the largest difference from torch's logits is printed, and a file whose difference is too large is not written.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.core import checksums, paths
from pipeline.core.errors import UserError, suggest
from pipeline.models import layer_surgery, load_model, quantised_layers
from pipeline.models.model_files import WEIGHTS

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
COMPARED_SHAPES = ((1, 1), (1, 24), (3, 17), (5, 40))  # rows and tokens; exported at another shape
TIMED_CALLS = 30  # of a single example
MAX_DIFFERENCE = 1e-4  # of logits: the two add up in another order, which came to 2e-6 in models of 2 to 6 layers
# Of logits where weights are int8: activations are rounded then, in a weight-only file too, for that is how onnxruntime
# runs it unless ``session.qdq_matmulnbits_accuracy_level`` is 1. The last bit decides where they fall, and always for
# the largest of a token, which torchao's 127.5 steps put between two. Came to 0.018, as much as int8 itself moves them.
MAX_INT8_DIFFERENCE = 0.05


def export(cell: str, seed: int | None = None, out: Path | None = None) -> str:
    """Write the ONNX file of one seed of a cell and return a summary.

    Returns a line: path, bytes, the largest difference of logits, milliseconds for one example in both runtimes.
    Raises UserError where a package is missing, where the cell is missing or modified, or where the logits differ.
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise UserError(f"{', '.join(missing)}: not installed; run `pip install '.[onnx]'`")
    folder, number = _find_trial(cell, seed)
    checksums.verify_checksums(folder, lambda: "run its cell again")
    if out and (out.is_dir() or not out.name):
        raise UserError(f"--out: got {out}, a folder; name a file, such as {out / 'model.onnx'}")
    out = out or paths.ROOT / "exports" / f"{cell.replace('/', '-')}-seed-{number}.onnx"
    model, tokenizer, _ = load_model.load_finetuned(folder)
    names = [name for name in INPUTS if name in tokenizer.model_input_names]
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        write(model, names, temporary)
        session = _open_session(temporary)
        difference = _compare_logits(session, model, names)
        allowed = MAX_DIFFERENCE if quantised_layers.get_int8_kind(model) is None else MAX_INT8_DIFFERENCE
        if not difference <= allowed:
            raise UserError(
                f"{cell}: its logits in onnxruntime are off by {difference:.2g}, above {allowed:g}; no file"
            )
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
    inputs = _make_inputs(model, names, 1, 24)
    torch_ms, onnx_ms = (
        _measure_milliseconds(lambda: _run_torch(model, inputs)),
        _measure_milliseconds(lambda: _run_onnx(session, inputs)),
    )
    return (
        f"{out}: {out.stat().st_size:,} bytes; logits differ by {difference:.1e} at most; one example of "
        f"{inputs['input_ids'].shape[1]} tokens takes {onnx_ms:.2f} ms in onnxruntime, {torch_ms:.2f} ms in torch"
    )


def write(model: Any, names: list[str], file: Path) -> None:
    """Write ``model`` as ONNX with the inputs ``names``; int8 weights stay int8, and so do their products.

    The metadata of the file holds the names of the classes as JSON, under ``id2label``.
    """
    plain = _replace_int8_layers(model)
    inputs = _make_inputs(model, names, 2, 8)
    logging.getLogger("torch.onnx._internal.exporter._registration").addFilter(_is_relevant)
    dims = {0: torch.export.Dim("rows"), 1: torch.export.Dim("length")}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "# The axis name: ", UserWarning)  # the inputs share their two axes
        warnings.filterwarnings("ignore", ".isinstance.treespec, LeafSpec.", FutureWarning)  # torch's own copy
        program = torch.onnx.export(
            plain, kwargs=inputs, dynamo=True, verbose=False, input_names=names, output_names=["logits"],
            dynamic_shapes=dict.fromkeys(names, dims),
        )  # fmt: skip
        assert program is not None
        for part in program.model.graph.all_nodes():
            part.metadata_props.clear()  # traces that name this machine's folders, and outweigh a small model
        program.model.metadata_props["id2label"] = json.dumps(model.config.id2label)
        program.save(file)


def _is_relevant(record: logging.LogRecord) -> bool:
    return "torchvision is not installed" not in record.getMessage()


class Int8Linear(nn.Module):
    """A Linear with int8 weights in ONNX's own operators; it computes only once exported.

    With ``rounds`` the activations are int8 too, one scale for each token, as torchao has it: symmetric, 127.5 steps
    to the largest. ``weight`` is (in, out), ``scale`` (out,).
    """

    weight: Tensor
    scale: Tensor

    def __init__(self, linear: Any, rounds: bool) -> None:
        super().__init__()
        self.register_buffer("weight", linear.weight.qdata.t().contiguous())
        self.register_buffer("scale", linear.weight.scale.flatten())
        self.bias = linear.bias
        self.multiply = self._integers if rounds else self._floats

    def forward(self, states: Tensor) -> Tensor:
        """Return the outputs of (..., in) states, (..., out)."""
        product = self.multiply(states)
        return product if self.bias is None else product + self.bias

    def _floats(self, states: Tensor) -> Tensor:
        given, axis = (self.weight, self.scale), {"axis": 1}
        weight: Tensor = _call_operator("DequantizeLinear", given, axis, dtype=torch.float32, shape=self.weight.shape)
        return states @ weight

    def _integers(self, states: Tensor) -> Tensor:
        step = (states.abs().amax(-1, keepdim=True) / 127.5).clamp(min=torch.finfo(torch.float32).eps)
        whole = (states * (1.0 / step)).round().clamp(-128, 127).to(torch.int8)
        shape = (*states.shape[:-1], len(self.scale))
        product: Tensor = _call_operator("MatMulInteger", (whole, self.weight), {}, dtype=torch.int32, shape=shape)
        return product.float() * step * self.scale


def _call_operator(name: str, given: Any, attributes: Any, **result: Any) -> Any:
    return torch.onnx.ops.symbolic(name, given, attributes, **result)


def _replace_int8_layers(model: Any) -> Any:
    """Return the model, or a copy in which Linears with int8 weights are such as can be exported."""
    kind = quantised_layers.get_int8_kind(model)
    if kind is None:
        return model
    copied = copy.deepcopy(model)
    for name, module in list(copied.named_modules(remove_duplicate=False)):
        if isinstance(module, nn.Linear) and hasattr(module.weight, "qdata"):
            layer_surgery.replace_module(copied, name, Int8Linear(module, kind == quantised_layers.DYNAMIC))
    return copied


def _find_trial(cell: str, seed: int | None) -> tuple[Path, int]:
    """Return the folder of a finished trial, and its seed."""
    runs = paths.ROOT / "runs"
    folders = [*runs.glob("*/*/seed-*"), *runs.glob("exploration/*/*/seed-*")]
    cells = {str(folder.parent.relative_to(runs)) for folder in folders if (folder / WEIGHTS).exists()}
    if cell not in cells:
        raise UserError(f"runs/{cell}: no trained model; {suggest(cell, cells)}")
    numbers = [folder.name.removeprefix("seed-") for folder in (runs / cell).glob("seed-*")]
    seeds = sorted(int(number) for number in numbers if number.isdecimal())
    if seed is not None and seed not in seeds:
        raise UserError(f"runs/{cell}: no seed {seed}; {suggest(seed, seeds)}")
    number = seeds[0] if seed is None else seed
    return paths.get_source_dir(cell, number), number


def _make_inputs(model: Any, names: list[str], rows: int, length: int) -> dict[str, Tensor]:
    """Return random tokens of a length that the model takes, every second row padded at its end by a third."""
    random = torch.Generator().manual_seed(rows * length)
    length = min(length, model.config.max_position_embeddings // 2)
    ids = torch.randint(model.config.vocab_size, (rows, length), generator=random)
    real = length - (torch.arange(rows) % 2) * (length // 3)
    mask = (torch.arange(length) < real[:, None]).long()
    return {name: {"input_ids": ids, "attention_mask": mask}.get(name, torch.zeros_like(ids)) for name in names}


def _open_session(file: Path) -> Any:
    import onnxruntime  # type: ignore[import-untyped]

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _compare_logits(session: Any, model: Any, names: list[str]) -> float:
    batches = [_make_inputs(model, names, *shape) for shape in COMPARED_SHAPES]
    return max(float(np.abs(_run_torch(model, batch) - _run_onnx(session, batch)).max()) for batch in batches)


@torch.inference_mode()
def _run_torch(model: Any, inputs: dict[str, Tensor]) -> np.ndarray:
    logits: np.ndarray = model(**inputs).logits.numpy()
    return logits


def _run_onnx(session: Any, inputs: dict[str, Tensor]) -> np.ndarray:
    logits: np.ndarray = session.run(["logits"], {name: tensor.numpy() for name, tensor in inputs.items()})[0]
    return logits


def _measure_milliseconds(call: Callable[[], object]) -> float:
    """Return the median of some calls, after a few that are not timed."""
    taken = []
    for _ in range(TIMED_CALLS):
        started = time.perf_counter()
        call()
        taken.append((time.perf_counter() - started) * 1000)
    return float(np.median(taken[5:]))
