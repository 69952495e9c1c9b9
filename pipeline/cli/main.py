"""The command `lab`: one function per subcommand.

Commands import their work when they run, so that ``lab --help`` and ``lab check`` start without torch.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from pipeline.core import redaction
from pipeline.core.errors import UserError, format_line
from pipeline.core.exits import exit_on_user_error

MAX_JOBS = 1024
MIN_PORT, MAX_PORT = 1024, 2**16 - 1
MAX_SEED = 2**32 - 1
MAX_BATCH = 9999  # also of tokens: the FLOPs are counted by running the batch


def _parse_number(name: str, lowest: int, highest: int) -> Callable[[str | int], int]:
    def parse(value: str | int) -> int:
        text = str(value)  # typer passes the default as well
        if not (text.isdecimal() and lowest <= int(text[: len(str(highest)) + 1]) <= highest):
            raise UserError(f"{name}: got {text!r}; give a whole number from {lowest} to {highest}")
        return int(text)

    return parse


app = typer.Typer(
    name="lab",
    help="Run the plan in params.yaml and read its results.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command("check")
def check_plan(
    schema: Annotated[bool, typer.Option("--schema", help="Write the JSON Schemas in .schema/ for editors.")] = False,
) -> None:
    """Check params.yaml and conf/ and report every mistake.

    Example: lab check
    """
    from pipeline import plan
    from pipeline.plan import json_schemas

    if schema:
        print(f"{len(json_schemas.write_schemas())} schemas written into {json_schemas.FOLDER}/")
    plan.main()


@app.command("status")
def show_status() -> None:
    """List the cells of the plan: stale or done, seconds expected.

    Example: lab status
    """
    from pipeline import plan
    from pipeline.plan import split_grid
    from pipeline.runner import plan_status

    study = plan.load()
    split_grid.check_parts(study)
    plan_status.print_status(study)


@app.command("run")
def run_plan(
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", metavar="N", parser=_parse_number("--jobs", 1, MAX_JOBS), help="Parallel cells."),
    ] = 1,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", "-k", help="After a failure, run what does not need the failed cell.")
    ] = False,
) -> None:
    """Run the stale cells of the plan, then print the results.

    Repairs files that a killed DVC left half-written. With one job it is a plain `dvc repro`.

    Example: lab run --jobs 2
    """
    from pipeline.cli import run

    sys.exit(run.run(jobs, keep_going))


@app.command("recommend")
def recommend_cell(
    limits: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=NUMBER]...", help="Limits; without any, those of the plan.")
    ] = None,
    details: Annotated[bool, typer.Option("--details", help="Print the statistics and the runs behind it.")] = False,
) -> None:
    """Recommend a cell for each task under limits; runs nothing.

    Limits are latency_p50_ms, storage_bytes, inference_memory_mib, train_seconds, train_examples and score.

    Example: lab recommend latency_p50_ms=2 score=0.8
    """
    from pipeline.cli import recommend

    recommend.show(recommend.recommend(limits or []), details)
    recommend.print_notices()


@app.command("flops")
def show_flops(
    model: Annotated[str, typer.Argument(help="<stage>/<cell>, a name in models/, or the folder of a checkpoint.")],
    length: Annotated[
        int | None,
        typer.Option(metavar="N", parser=_parse_number("--length", 1, MAX_BATCH), help="Tokens of an example."),
    ] = None,
    batch: Annotated[
        int, typer.Option(metavar="N", parser=_parse_number("--batch", 1, MAX_BATCH), help="Examples of a batch.")
    ] = 16,
) -> None:
    """Print the FLOPs and the memory of a model.

    By formula, and counted by torch.

    Example: lab flops finetune/mrpc-bert-mini-0.5-standard --length 64 --batch 16
    """
    from pipeline.cli import flops

    flops.print_flops(model, length, batch)


@app.command("export")
def export_onnx(
    cell: Annotated[str, typer.Argument(help="<stage>/<cell> below runs/.")],
    seed: Annotated[
        int | None,
        typer.Option(metavar="N", parser=_parse_number("--seed", 0, MAX_SEED), help="The trial; by default the first."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file; by default exports/<stage>-<cell>-seed-<seed>.onnx.")
    ] = None,
) -> None:
    """Write a trained classifier as ONNX.

    Its logits are compared with torch first.

    Example: lab export compress/mrpc-bert-mini-0.5-standard-heads
    """
    from pipeline.cli import export

    print(export.export(cell, seed, out))


@app.command("ui")
def open_ui(
    port: Annotated[
        int | None,
        typer.Option(
            metavar="N", parser=_parse_number("--port", MIN_PORT, MAX_PORT), help="By default the first free one."
        ),
    ] = None,
) -> None:
    """Serve the results in MLflow on this machine.

    Only programs of this machine reach it. Ctrl-C ends it.

    Example: lab ui --port 8080
    """
    from pipeline.tracking import get_tracker

    redaction.redact_streams()
    get_tracker().open_ui(port)


@app.command("sync")
def sync_store() -> None:
    """Make the MLflow store match the result files.

    The store is that of MLFLOW_TRACKING_URI, by default mlflow.db here.

    Example: MLFLOW_TRACKING_URI=http://127.0.0.1:5000 lab sync
    """
    from pipeline import plan
    from pipeline.tracking import get_tracker

    redaction.redact_streams()
    print(get_tracker().sync([*((cell.stage, cell.name) for cell in plan.load().cells), ("compare", "plan")]))


@app.command("split")
def split_plan(
    axes: Annotated[list[str] | None, typer.Argument(metavar="[AXIS]...", help="task, model, ratio; or none.")] = None,
) -> None:
    """Split the dvc.yaml of a long plan by axes.

    `none` joins it again. Without an axis, the split follows an edited params.yaml. Nothing becomes
    stale.

    Example: lab split task model
    """
    from pipeline.cli import split

    print(split.split(axes or []))


@app.command("clean")
def clean_outputs(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without a prompt.")] = False,
) -> None:
    """Remove outputs of cells that left the plan.

    Lists them first. Files that no stage wrote stay; DVC's cache keeps its copies.

    Example: lab clean --yes
    """
    from pipeline import plan
    from pipeline.cli import clean

    outputs = clean.find_unplanned_outputs(plan.load())
    foreign = {path: reason for path in outputs if (reason := clean.explain_foreign(path))}
    removable = [path for path in outputs if path not in foreign]
    for reason in foreign.values():
        print(f"stays: {reason}")
    for path in removable:
        print(clean.describe(path))
    if not removable:
        print("no outputs to remove: all belong to cells of the plan")
    elif yes or (sys.stdin.isatty() and typer.confirm(f"Remove these {len(removable)}?")):
        clean.remove(removable)
        print(f"removed {len(removable)} outputs")
    else:
        print("nothing removed; add --yes to remove them without a prompt")


def main() -> None:
    """Run `lab` and exit; a mistake of the user is one line."""
    with exit_on_user_error():
        try:
            status = app(sys.argv[1:] or ["--help"], prog_name="lab", standalone_mode=False)
        except TyperException as error:
            raise UserError(_format_usage_error(error)) from None
        except typer.Abort:
            raise KeyboardInterrupt from None
    sys.exit(status)


def _format_usage_error(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "lab"
    return f"{format_line(error.format_message()).rstrip('.')}; `{command} --help` lists what is allowed"


if __name__ == "__main__":
    main()
