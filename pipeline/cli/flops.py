"""FLOPs and memory of a model, by formula and counted: ``lab flops finetune/mrpc-bert-mini-0.5``.

The model is a cell below ``runs/`` (its first seed), a name in ``models/``, or the folder of any checkpoint. A batch
holds no padding.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import paths
from pipeline.core.errors import UserError, suggest
from pipeline.core.validators import is_name
from pipeline.data import batches
from pipeline.models import load_model
from pipeline.models.flops import counted_flops, model_flops, traced_flops
from pipeline.models.flops.analytic_flops import ModelPart, Polynomial
from pipeline.models.flops.counted_flops import CountedCosts
from pipeline.models.flops.model_flops import ParameterCounts, StepCost
from pipeline.models.model_files import CONFIG, WEIGHTS, load_json

if TYPE_CHECKING:
    from rich.table import Table

DEFAULT_LENGTH = 64  # tokens of an example, where the model accepts that many
MILLION = 10**6


def show(what: str, length: int | None = None, batch: int = 16) -> None:
    """Print what training ``what`` on a batch costs: part by part, in all, and how it grows with the length.

    Raises UserError where there is no such model, where it takes fewer tokens, or where there are no formulas for it.
    """
    from rich.console import Console

    folder = _folder(what)
    limit = batches.longest(folder, sys.maxsize)
    if length is not None and length > limit:
        raise UserError(f"--length: got {length}; {what} accepts at most {limit} tokens")
    model = _opened(folder)
    found = model_flops.compute_step_cost(model, length or min(DEFAULT_LENGTH, limit), batch)
    counts, held = counted_flops.count_costs(model, found.length, batch), model_flops.count_parameters(model)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(f"{folder}: a batch of {batch} examples of {found.length} tokens\n", soft_wrap=True, highlight=False)
    console.print(_by_part(found, counts))
    console.print()
    console.print(_in_all(found, counts, held))
    console.print()
    for line in _told(found, held):
        console.print(line, soft_wrap=True, highlight=False)


def _by_part(found: StepCost, counts: CountedCosts) -> Table:
    table = _table(
        "part", "parameters", "forward, M", "counted", "off", "backward, M", "counted", "off", "kept, MB",
        title="FLOPs (multiplications and additions of matrix products) by formula and as torch counts them",
    )  # fmt: skip
    for kind in traced_flops.KINDS:
        parts = [part for part in found.parts if part.kind == kind]
        if not parts:
            continue
        forward, backward = _counted(parts, counts)
        if kind == traced_flops.SCORES:  # the products that are no Linear's
            linears = _counted(list(found.parts), counts)
            forward, backward = counts.forward - linears[0], counts.backward - linears[1]
        times = f", {len(parts)} times" if len(parts) > 1 else ""
        table.add_row(
            f"{kind}{times}",
            f"{sum(part.parameters for part in parts):,}",
            *_compared(_sum(found, (part.forward for part in parts)), forward),
            *_compared(_sum(found, (part.backward for part in parts)), backward),
            _millions(_sum(found, (part.activations for part in parts))),
        )
    return table


def _counted(parts: list[ModelPart], counts: CountedCosts) -> tuple[int, int]:
    """Return the FLOPs of the parts' Linears; one that layers share is counted under its first name."""
    names = {name for part in parts for name in part.modules}
    return (
        sum(counts.forward_by_linear.get(name, 0) for name in names),
        sum(counts.backward_by_linear.get(name, 0) for name in names),
    )


def _sum(found: StepCost, polynomials: Any) -> int:
    return found.batch * sum(int(polynomial(found.length)) for polynomial in polynomials)


def _in_all(found: StepCost, counts: CountedCosts, held: ParameterCounts) -> Table:
    table = _table("of the batch", "by formula", "counted", "off", "an example", "a token")
    tokens = found.batch * found.length
    for name, unit, own, counted in (
        ("forward", "M FLOPs", found.forward, counts.forward),
        ("backward", "M FLOPs", found.backward, counts.backward),
        ("update", "M FLOPs", found.update, counts.update),
        ("activations", "MB", found.activation_bytes, counts.activation_bytes),
        ("gradients", "MB", found.gradient_bytes, counts.gradient_bytes),
        ("optimiser", "MB", found.optimizer_bytes, counts.optimizer_bytes),
        ("weights", "MB", held.bytes, None),
    ):
        share = (_millions(own / found.batch), f"{own / tokens / MILLION:,.3f}") if name in SHARED else ("", "")
        table.add_row(f"{name}, {unit}", *(_compared(own, counted) if counted is not None else _alone(own)), *share)
    return table


SHARED = ("forward", "backward", "update", "activations")  # of which an example and a token have a part


def _told(found: StepCost, held: ParameterCounts) -> list[str]:
    flops = found.flops
    return [
        f"parameters: {held.parameters:,}; trainable {held.trainable:,}, outside the embeddings "
        f"{held.non_embedding:,}, not zero {held.nonzero:,}; stored in {held.stored_bytes:,} bytes",
        "one example of s tokens, and a batch as many times as much as it has examples:",
        f"  forward      {_polynomial(flops.forward)} FLOPs",
        f"  backward     {_polynomial(flops.backward)} FLOPs",
        f"  activations  {_polynomial(found.activations)} bytes",
        "the update, the gradients and the optimiser are the same for every batch",
    ]


def _polynomial(polynomial: Polynomial) -> str:
    return f"{polynomial.constant:,} + {polynomial.linear:,} s + {polynomial.square:,} s²"


def _table(first: str, *numbers: str, title: str | None = None) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, title=title, title_justify="left")
    table.add_column(first)
    for column in numbers:
        table.add_column(column, justify="right")
    return table


def _compared(own: int, counted: int) -> tuple[str, str, str]:
    """Return both numbers and by how much of the counted one the formula is off."""
    if own == counted:
        return _millions(own), _millions(counted), "0" if own else ""
    return _millions(own), _millions(counted), f"{own / counted - 1:+.2%}" if counted else "all"


def _alone(own: int) -> tuple[str, str, str]:
    return _millions(own), "", ""


def _millions(number: float) -> str:
    return f"{number / MILLION:,.2f}"


def _folder(what: str) -> Path:
    """Return the folder of a trained cell, of a model, or the one that ``what`` is a path to."""
    runs, models = paths.ROOT / "runs", paths.ROOT / "models"
    trials = [*runs.glob("*/*/seed-*"), *runs.glob("exploration/*/*/seed-*")]
    made: dict[str, list[int]] = {}
    for trial in trials:
        if (trial / WEIGHTS).exists() and trial.name.removeprefix("seed-").isdecimal():
            seed = int(trial.name.removeprefix("seed-"))
            made.setdefault(str(trial.parent.relative_to(runs)), []).append(seed)
    named = {folder.name for folder in models.glob("*") if (folder / WEIGHTS).exists()}
    if what in made:
        return paths.get_source_dir(what, min(made[what]))
    if what in named:
        return paths.get_model_dir(what)
    if _is_file(Path(what) / CONFIG):
        return Path(what)
    if is_name(what) and (paths.CONF / "model" / f"{what}.yaml").exists():
        raise UserError(f"models/{what}: not made yet; run `{load_model.PRETRAIN_COMMAND}{what}`")
    known = {*made, *named}
    remedy = suggest(what, known) if known else "run `dvc repro`, or name the folder of a checkpoint"
    raise UserError(f"{what}: no cell or model made yet, and no folder with {CONFIG}; {remedy}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


def _opened(folder: Path) -> Any:
    """Open a classifier as it was saved, or a checkpoint with a fresh head of two classes."""
    classifiers = load_json(folder / CONFIG, str(folder)).get("architectures") or [""]
    if str(classifiers[0]).endswith("ForSequenceClassification"):
        return load_model.load_finetuned(folder).model
    return load_model.load_pretrained(folder).model
