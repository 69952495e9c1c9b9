"""A task: the model of ``conf/task/*.yaml``, its columns, labels, metrics and splits."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from pipeline.core import validation
from pipeline.core.errors import suggest
from pipeline.core.validation import CheckedModel, Count, Items, Name, Target, read_items
from pipeline.core.validators import MAX_INT
from pipeline.tasks.labels import find_equal_numerals

CLASSIFICATION = ("accuracy", "f1", "matthews_correlation")
REGRESSION = ("pearson", "spearmanr")
OpenFraction = Annotated[float, Field(gt=0, lt=1)]
AnySeed = Annotated[int, Field(ge=-MAX_INT, le=MAX_INT, json_schema_extra={"errorMessage": "give a whole number"})]


def _read_label(value: object) -> object:
    """Return a class name that YAML read as text or as a plain whole number. Raises ValueError for any other."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        written = json.dumps(value) if value is None or isinstance(value, (bool, float)) else str(value)
        words = " (or as the data write it: yes, no, on, off)" if isinstance(value, bool) else ""
        raise ValueError(f'got {written}, which is no text; put it in quotes: "{written}"{words}')
    if value == "":
        raise ValueError("got an empty text; a class name holds at least one character")
    return str(value)


Label = Annotated[str, BeforeValidator(_read_label, json_schema_input_type=str | int)]


class Columns(CheckedModel):
    """Columns of the source under the names of the prepared columns."""

    text_a: str = Field(description="The column of the text, or of the first of two.")
    text_b: str | None = Field(default=None, description="The column of the second text of a pair.")
    label: str = Field(description="The column of the class or the number.")


class Selection(CheckedModel):
    """Rows of train that are set aside to select checkpoints and settings."""

    fraction: OpenFraction = Field(description="Share of the training rows.")
    seed: AnySeed = Field(description="Seed of the draw.")


class Task(CheckedModel):
    """One task: a classification has ``labels``, a regression has a ``range``."""

    name: Name = Field(description="The name of the file.")
    source: Target = Field(description="_target_ is the function that loads the rows; every other key is an argument.")
    columns: Columns
    labels: Items[Label] | None = Field(description="Class names in the order of their numbers, or null.")
    range: Annotated[tuple[float, float], BeforeValidator(read_items)] | None = Field(
        default=None,
        description="Lowest and highest number of a regression.",
        json_schema_extra={"errorMessage": "write the lowest and the highest number"},
    )
    metrics: Items[str] = Field(description=f"Of a classification {', '.join(CLASSIFICATION)}; "
                                f"of a regression {', '.join(REGRESSION)}.")  # fmt: skip
    score: str = Field(description="The metric that selects and is compared; one of metrics.")
    report: str = Field(description="The split of the source that is reported.")
    train_counts: Items[Count] = Field(
        description="Rows of each class in the source's train split, or the one count of a regression."
    )
    selection: Selection
    subset_seed: AnySeed = Field(description="Seed of the order in which subsets grow.")
    max_length: Annotated[int, Field(ge=8, le=MAX_INT)] = Field(description="Tokens of an input at most.")

    @model_validator(mode="after")
    def _check_together(self) -> Task:
        if mistakes := [*self._list_mistakes()]:
            raise ValueError("\n".join(mistakes))
        return self

    def _list_mistakes(self) -> Iterator[str]:
        """Yield what does not fit together."""
        if (self.labels is None) == (self.range is None):
            yield "labels: give either the labels of a classification or the range of a regression"
            return
        if self.range is not None and self.range[0] >= self.range[1]:
            yield f"range: got {list(self.range)}; write the lowest and the highest number"
        labels = self.labels or ()
        if not self.regression and len(set(labels)) < max(2, len(labels)):
            yield f"labels: got {', '.join(labels)}; name at least two, each once, in the order of their numbers"
        if equal := find_equal_numerals(labels):
            yield f"labels: {equal[0]!r} and {equal[1]!r} are the same number; rename one of them, in the data too"
        allowed = REGRESSION if self.regression else CLASSIFICATION
        yield from (f"metrics: got {metric!r}; {suggest(metric, allowed)}" for metric in self.metrics
                    if metric not in allowed)  # fmt: skip
        if "f1" in self.metrics and len(labels) != 2:
            yield f"metrics: f1 is that of the second of two labels, but there are {len(labels)}"
        if self.score not in self.metrics:
            yield f"score: got {self.score!r}; {suggest(self.score, self.metrics)}"
        if len(self.train_counts) != max(len(labels), 1):
            yield f"train_counts: got {len(self.train_counts)} counts; give {max(len(labels), 1)}, one a label"

    @property
    def regression(self) -> bool:
        """Return whether the label is a number to predict rather than a class."""
        return self.labels is None

    @property
    def texts(self) -> tuple[str, ...]:
        """Return the prepared columns that hold text: one, or two for a task on pairs."""
        return tuple(column for column in ("text_a", "text_b") if column in self.source_columns)

    @property
    def source_columns(self) -> dict[str, str]:
        """Return the source's column of each prepared column."""
        return self.columns.model_dump(exclude_none=True)


def load_task(conf: Mapping[str, Any]) -> Task:
    """Return the task that a conf file states. Raises UserError with a line for each mistake."""
    return validation.load(Task, conf, f"conf/task/{conf.get('name', '?')}.yaml: ")
