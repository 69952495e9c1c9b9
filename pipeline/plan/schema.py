"""``params.yaml``: the model of the plan, the one place for its keys, types, bounds, defaults and meanings.

Names of files in conf/ are looked up. What needs several parts of the plan is checked in ``plan_check.py``.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, ValidatorFunctionWrapHandler, WrapValidator

from pipeline.core.errors import format_line
from pipeline.core.validation import ERROR_MESSAGE, MAX_SEED, CheckedModel, Count, Items, Ratio, read_items
from pipeline.core.validators import MAX_NAME_LENGTH, RESERVED_WORDS
from pipeline.evaluation.benchmark_settings import Precision
from pipeline.plan.budget import MARGIN, Budget
from pipeline.plan.load_plan import find_name_mistake

TRAINED = ("finetune", "distill", "compress")  # stages whose cells hold a classifier
ENTRY_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
SOURCE_ADVICE = f"write <stage>/<cell>, the stage one of {', '.join(TRAINED)}"

T = TypeVar("T")


def _check_entry_name(name: object) -> str:
    """Return the name of an entry. Raises ValueError for a name that DVC or Hydra would change."""
    if not isinstance(name, str) or not ENTRY_NAME.fullmatch(name):
        raise ValueError("a name starts with a letter and holds letters, digits, '-' and '_' (DVC loses others)")
    if len(name) > MAX_NAME_LENGTH:
        raise ValueError(f"a name has at most {MAX_NAME_LENGTH} characters, this has {len(name)}")
    if name.lower() in RESERVED_WORDS:
        raise ValueError(f"Hydra reads {', '.join(RESERVED_WORDS)} as values; choose another name")
    return name


def _check_file(name: str, group: str) -> str:
    if mistake := find_name_mistake(name, group):
        raise ValueError(format_line(mistake))
    return name


def _name_file(group: str, meaning: str) -> Any:
    """Return the validator and the description of a name of a file in conf/<group>/."""
    return Field(
        description=f"{meaning}: the name of a file in conf/{group}/.",
        json_schema_extra={ERROR_MESSAGE: f"write the name of a file in conf/{group}/"},
    )


def _check_source(value: str) -> str:
    stage, _, name = value.partition("/")
    if stage not in TRAINED or not name:
        raise ValueError(f"got {value!r}; {SOURCE_ADVICE}")
    return value


def _keep_int(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Return a ratio as it is written, since the names of cells contain it: 1 stays 1, as DVC reads it."""
    validate(value)
    return value


TaskName = Annotated[str, AfterValidator(partial(_check_file, group="task")), _name_file("task", "Task")]
ModelName = Annotated[str, AfterValidator(partial(_check_file, group="model")), _name_file("model", "Model")]
RecipeName = Annotated[str, AfterValidator(partial(_check_file, group="recipe")), _name_file("recipe", "Recipe")]
DistillationName = Annotated[
    str, AfterValidator(partial(_check_file, group="distillation")), _name_file("distillation", "Distillation")
]
CompressionName = Annotated[
    str, AfterValidator(partial(_check_file, group="compression")), _name_file("compression", "Compression")
]
EntryName = Annotated[str, BeforeValidator(_check_entry_name)]
CellSource = Annotated[str, AfterValidator(_check_source), Field(json_schema_extra={ERROR_MESSAGE: SOURCE_ADVICE})]
GridRatio = Annotated[Ratio, WrapValidator(_keep_int)]
PlanSeed = Annotated[
    int,
    Field(ge=0, le=MAX_SEED, json_schema_extra={ERROR_MESSAGE: f"a seed is a whole number from 0 to {MAX_SEED}"}),
]
Axis = Annotated[tuple[T, ...], Field(min_length=1), BeforeValidator(read_items)]


class Variant(CheckedModel):
    """A cell outside the grid."""

    task: TaskName
    model: ModelName
    ratio: Ratio
    recipe: RecipeName


class Distill(CheckedModel):
    """A student that learns from a teacher."""

    task: TaskName
    student: ModelName
    teacher: CellSource = Field(description="<stage>/<cell> of the teacher.")
    ratio: Ratio
    recipe: RecipeName
    distillation: DistillationName


class Compress(CheckedModel):
    """A compression of a source, which may be a compression itself."""

    source: CellSource = Field(description="<stage>/<cell> of the classifier to compress.")
    compression: CompressionName


class Benchmark(CheckedModel):
    """What is timed: every combination of the lists; models: [] times nothing."""

    task: TaskName
    models: Items[ModelName] = Field(description="Models that are timed as classifiers of the task.")
    processes: Items[Count] = Field(description="Processes that train together.")
    threads: Items[Count] = Field(description="CPU threads of each process.")
    precisions: Items[Precision] = Field(description="auto is bf16 where the hardware has instructions for it.")
    batches: Items[Count] = Field(description="Rows of a batch, of all processes together.")


class Compare(CheckedModel):
    """How a cell is recommended."""

    budget: Budget | None = Field(
        description="Limits on costs and score, {} for none.",
        json_schema_extra={ERROR_MESSAGE: f"write limits by name ({', '.join(Budget.model_fields)}), or {{}} for none"},
    )
    margin: Annotated[float, Field(gt=0, lt=100)] = Field(
        default=MARGIN,
        description="Cells whose scores differ by fewer points are equally good.",
        json_schema_extra={ERROR_MESSAGE: f"give a number of points above 0, such as {MARGIN}"},
    )


def _describe_section(description: str, message: str) -> Any:
    names: Any = {"propertyNames": {"pattern": f"^{ENTRY_NAME.pattern}$", "maxLength": MAX_NAME_LENGTH}}
    return Field(description=description, json_schema_extra={ERROR_MESSAGE: f"write {message}", **names})


class PlanFile(CheckedModel):
    """The content of params.yaml."""

    tasks: Axis[TaskName] = Field(description="What to learn.")
    models: Axis[ModelName] = Field(description="What to start from.")
    ratios: Axis[GridRatio] = Field(description="Shares of the training rows.")
    recipes: Axis[RecipeName] = Field(description="How to fine-tune.")
    seeds: Axis[PlanSeed] = Field(description="Repetitions; at least three give an interval.")
    variants: dict[EntryName, Variant] = _describe_section(
        "Cells outside the grid, by name.", "one entry a variant, or {} for none"
    )
    distill: dict[EntryName, Distill] = _describe_section("Students, by name.", "one entry a student, or {} for none")
    compress: dict[EntryName, Compress] = _describe_section(
        "Compressions, by name.", "one entry a compression, or {} for none"
    )
    benchmark: Benchmark = Field(
        json_schema_extra={
            ERROR_MESSAGE: f"write {', '.join(Benchmark.model_fields)}, with models: [] for no benchmark"
        }
    )
    compare: Compare = Field(
        json_schema_extra={ERROR_MESSAGE: "write budget: with limits by name, or budget: {} for none"}
    )


SECTIONS: dict[str, type[CheckedModel]] = {"variants": Variant, "distill": Distill, "compress": Compress}
TIMED_AXES = ("models", "processes", "threads", "precisions", "batches")  # lists in the section benchmark
