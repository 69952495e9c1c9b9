"""FLOPs and memory of a model, by formula and counted: ``lab flops finetune/mrpc-bert-mini-0.5-standard``.

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


def print_flops(name: str, length: int | None = None, batch: int = 16) -> None:
    """Print the cost of a training step of a model: by part, in total, and as a function of the length.

    Raises UserError where there is no such model, where it takes fewer tokens, or where there are no formulas for it.
    """
    from rich.console import Console

    folder = _find_folder(name)
    limit = batches.longest(folder, sys.maxsize)
    if length is not None and length > limit:
        raise UserError(f"--length: got {length}; {name} accepts at most {limit} tokens")
    model = _open_model(folder)
    cost = model_flops.compute_step_cost(model, length or min(DEFAULT_LENGTH, limit), batch)
    counts, weights = counted_flops.count_costs(model, cost.length, batch), model_flops.count_parameters(model)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(f"{folder}: a batch of {batch} examples of {cost.length} tokens\n", soft_wrap=True, highlight=False)
    console.print(_build_part_table(cost, counts))
    console.print()
    console.print(_build_total_table(cost, counts, weights))
    console.print()
    for line in _describe(cost, weights):
        console.print(line, soft_wrap=True, highlight=False)


def _build_part_table(cost: StepCost, counts: CountedCosts) -> Table:
    table = _create_table(
        "part", "parameters", "forward, M", "counted", "off", "backward, M", "counted", "off", "kept, MB",
        title="FLOPs (multiplications and additions of matrix products) by formula and as torch counts them",
    )  # fmt: skip
    for kind in traced_flops.KINDS:
        parts = [part for part in cost.parts if part.kind == kind]
        if not parts:
            continue
        forward, backward = _count_linears(parts, counts)
        if kind == traced_flops.SCORES:  # the products that are no Linear's
            linears = _count_linears(list(cost.parts), counts)
            forward, backward = counts.forward - linears[0], counts.backward - linears[1]
        times = f", {len(parts)} times" if len(parts) > 1 else ""
        table.add_row(
            f"{kind}{times}",
            f"{sum(part.parameters for part in parts):,}",
            *_format_comparison(_sum_parts(cost, (part.forward for part in parts)), forward),
            *_format_comparison(_sum_parts(cost, (part.backward for part in parts)), backward),
            _format_millions(_sum_parts(cost, (part.activations for part in parts))),
        )
    return table


def _count_linears(parts: list[ModelPart], counts: CountedCosts) -> tuple[int, int]:
    """Return the FLOPs of the parts' Linears; one that layers share is counted under its first name."""
    names = {name for part in parts for name in part.modules}
    return (
        sum(counts.forward_by_linear.get(name, 0) for name in names),
        sum(counts.backward_by_linear.get(name, 0) for name in names),
    )


def _sum_parts(cost: StepCost, polynomials: Any) -> int:
    return cost.batch * sum(int(polynomial(cost.length)) for polynomial in polynomials)


def _build_total_table(cost: StepCost, counts: CountedCosts, weights: ParameterCounts) -> Table:
    table = _create_table("of the batch", "by formula", "counted", "off", "an example", "a token")
    tokens = cost.batch * cost.length
    for name, unit, own, counted in (
        ("forward", "M FLOPs", cost.forward, counts.forward),
        ("backward", "M FLOPs", cost.backward, counts.backward),
        ("update", "M FLOPs", cost.update, counts.update),
        ("activations", "MB", cost.activation_bytes, counts.activation_bytes),
        ("gradients", "MB", cost.gradient_bytes, counts.gradient_bytes),
        ("optimiser", "MB", cost.optimizer_bytes, counts.optimizer_bytes),
        ("weights", "MB", weights.bytes, None),
    ):
        share = (
            (_format_millions(own / cost.batch), f"{own / tokens / MILLION:,.3f}") if name in PER_EXAMPLE else ("", "")
        )
        table.add_row(
            f"{name}, {unit}",
            *(_format_comparison(own, counted) if counted is not None else _format_single(own)),
            *share,
        )
    return table


PER_EXAMPLE = ("forward", "backward", "update", "activations")  # which are divided by examples and tokens


def _describe(cost: StepCost, weights: ParameterCounts) -> list[str]:
    flops = cost.flops
    return [
        f"parameters: {weights.parameters:,}; trainable {weights.trainable:,}, outside the embeddings "
        f"{weights.non_embedding:,}, not zero {weights.nonzero:,}; stored in {weights.stored_bytes:,} bytes",
        "one example of s tokens:",
        f"  forward      {_format_polynomial(flops.forward)} FLOPs",
        f"  backward     {_format_polynomial(flops.backward)} FLOPs",
        f"  activations  {_format_polynomial(cost.activations)} bytes",
        "the update, the gradients and the optimiser are the same for every batch",
    ]


def _format_polynomial(polynomial: Polynomial) -> str:
    return f"{polynomial.constant:,} + {polynomial.linear:,} s + {polynomial.square:,} s²"


def _create_table(first: str, *numbers: str, title: str | None = None) -> Table:
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False, title=title, title_justify="left")
    table.add_column(first)
    for column in numbers:
        table.add_column(column, justify="right")
    return table


def _format_comparison(own: int, counted: int) -> tuple[str, str, str]:
    """Return both numbers and the relative error of the formula."""
    if own == counted:
        return _format_millions(own), _format_millions(counted), "0" if own else ""
    return _format_millions(own), _format_millions(counted), f"{own / counted - 1:+.2%}" if counted else "all"


def _format_single(own: int) -> tuple[str, str, str]:
    return _format_millions(own), "", ""


def _format_millions(number: float) -> str:
    return f"{number / MILLION:,.2f}"


def _find_folder(name: str) -> Path:
    """Return the folder of a trained cell, of a model, or the one that ``name`` is a path to."""
    runs, models = paths.ROOT / "runs", paths.ROOT / "models"
    trials = [*runs.glob("*/*/seed-*"), *runs.glob("exploration/*/*/seed-*")]
    trained: dict[str, list[int]] = {}
    for trial in trials:
        if (trial / WEIGHTS).exists() and trial.name.removeprefix("seed-").isdecimal():
            seed = int(trial.name.removeprefix("seed-"))
            trained.setdefault(str(trial.parent.relative_to(runs)), []).append(seed)
    named = {folder.name for folder in models.glob("*") if (folder / WEIGHTS).exists()}
    if name in trained:
        return paths.get_source_dir(name, min(trained[name]))
    if name in named:
        return paths.get_model_dir(name)
    if _is_file(Path(name) / CONFIG):
        return Path(name)
    if is_name(name) and (paths.CONF / "model" / f"{name}.yaml").exists():
        raise UserError(f"models/{name}: not created yet; run `{load_model.PRETRAIN_COMMAND}{name}`")
    known = {*trained, *named}
    remedy = suggest(name, known) if known else "run `dvc repro`, or name the folder of a checkpoint"
    raise UserError(f"{name}: no trained cell or model, and no folder with {CONFIG}; {remedy}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


def _open_model(folder: Path) -> Any:
    """Open a classifier as it was saved, or a checkpoint with a fresh head of two classes."""
    classifiers = load_json(folder / CONFIG, str(folder)).get("architectures") or [""]
    if str(classifiers[0]).endswith("ForSequenceClassification"):
        return load_model.load_finetuned(folder).model
    return load_model.load_pretrained(folder).model
