"""The model of each kind of file in conf/, and the mistakes in such a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from pipeline.compression.recovery import CompressionFile, RecoverySettings
from pipeline.core import validation
from pipeline.core.stage_settings import Processes, StageSettings, Workspace
from pipeline.core.validation import CheckedModel, Mistake, Ratio, advise_key
from pipeline.core.validators import is_cell
from pipeline.evaluation.benchmark_settings import BenchmarkSettings
from pipeline.models.model_config import ModelFile
from pipeline.plan.schema import TRAINED
from pipeline.tasks.task_config import Task
from pipeline.training.distillation.distillation_settings import DistillationFile
from pipeline.training.recipe import RecipeFile

SOURCE = re.compile(rf"(exploration/)?({'|'.join(TRAINED)})/[^/]+")
SOURCE_ADVICE = (
    f"give <stage>/<cell>, the stage one of {', '.join(TRAINED)}; "
    "exploration/<stage>/<cell> is one outside the plan"
)  # fmt: skip
HYDRA_KEYS = ("defaults", "hydra")  # read by Hydra itself, in any file
ABBREVIATIONS = {"lr": "learning_rate", "wd": "weight_decay"}


def _check_source(value: str) -> str:
    if not (SOURCE.fullmatch(value) and is_cell(value.rpartition("/")[2])):
        raise ValueError(f"got {value!r}; {SOURCE_ADVICE}")
    return value


Source = Annotated[
    str, AfterValidator(_check_source), Field(json_schema_extra={validation.ERROR_MESSAGE: SOURCE_ADVICE})
]
Mirror = Annotated[
    str | None, Field(json_schema_extra={validation.ERROR_MESSAGE: "give a folder, or null"})
]  # fmt: skip
Threads = Annotated[
    Processes | None, Field(description="CPU threads of each process; null: every core, and no other trial runs.")
]


class PrepareSettings(StageSettings):
    """conf/prepare.yaml."""

    mirror: Mirror = Field(description="Folder with data/<task>/, used before the task's source, or null.")


class PretrainSettings(StageSettings):
    """conf/pretrain.yaml."""

    threads: Threads
    mirror: Mirror = Field(description="Folder with models/<name>/, used before the model's source, or null.")


class FinetuneSettings(StageSettings):
    """conf/finetune.yaml."""

    ratio: Ratio
    processes: Processes = Field(description="Processes that train together, each on its rows of every batch.")
    threads: Threads


class DistillSettings(StageSettings):
    """conf/distill.yaml."""

    teacher: Source = Field(description="<stage>/<cell> of the teacher.")
    ratio: Ratio
    threads: Threads


class CompressSettings(StageSettings):
    """conf/compress.yaml."""

    source: Source = Field(description="<stage>/<cell> of the classifier; task, model, ratio and recipe are its own.")
    threads: Threads
    recovery: RecoverySettings


class EvaluateSettings(StageSettings):
    """conf/evaluate.yaml."""

    source: Source = Field(description="<stage>/<cell> of the classifier; task, model, ratio and recipe are its own.")
    threads: Threads


class CompareSettings(Workspace):
    """conf/compare.yaml."""

    size: Literal["parameters", "parameters_non_embedding"] = Field(description="What the figures call size.")
    dpi: Annotated[int, Field(ge=10, le=1200)] = Field(description="Resolution of the PNG files.")


GROUPS: dict[str, type[CheckedModel]] = {  # conf/<group>/<name>.yaml
    "recipe": RecipeFile,
    "model": ModelFile,
    "task": Task,
    "distillation": DistillationFile,
    "compression": CompressionFile,
}
STAGES: dict[str, type[Workspace]] = {  # conf/<stage>.yaml
    "workspace": Workspace,
    "prepare": PrepareSettings,
    "pretrain": PretrainSettings,
    "finetune": FinetuneSettings,
    "distill": DistillSettings,
    "compress": CompressSettings,
    "evaluate": EvaluateSettings,
    "benchmark": BenchmarkSettings,
    "compare": CompareSettings,
}
SWEEP_KEYS = tuple(dict.fromkeys(key for model in STAGES.values() for key in model.model_fields))


def _find_places() -> dict[str, str]:
    """Return the folder or file of conf/ to which each key belongs, abbreviations included."""
    files = {f"conf/{group}/": model for group, model in GROUPS.items()}
    places: dict[str, str] = {}
    for place, model in [*files.items(), *((f"conf/{stage}.yaml", model) for stage, model in STAGES.items())]:
        for key in model.model_fields:
            places.setdefault(key, place)
    return places | {short: f"{places[key]} as {key}" for short, key in ABBREVIATIONS.items()}


PLACES = _find_places()


def find_group_mistakes(group: str, content: Mapping[str, Any], *, interpolated: bool = False) -> list[Mistake]:
    """Return the mistakes in the content of a file of conf/<group>/."""
    return validation.find_mistakes(GROUPS[group], content, interpolated=interpolated, places=PLACES)


def find_stage_mistakes(stage: str, content: Mapping[str, Any], *, interpolated: bool = False) -> list[Mistake]:
    """Return the mistakes in the settings of a stage; groups of conf/ are not judged.

    A stage that is not in ``STAGES`` has ``cell`` and the keys of conf/workspace.yaml.
    """
    own = {key: value for key, value in content.items() if key not in (*GROUPS, *HYDRA_KEYS)}
    model = STAGES.get(stage) or (StageSettings if "cell" in own else Workspace)
    return validation.find_mistakes(model, own, interpolated=interpolated, places=PLACES)


def find_sweep_mistakes(content: Mapping[str, Any]) -> list[Mistake]:
    """Return a mistake for each key in a file of conf/sweep/ that no stage has."""
    unknown = [key for key in content if key not in (*SWEEP_KEYS, *HYDRA_KEYS)]
    return [validation.Mistake((key,), f"{key}: unknown key; {advise_key(key, SWEEP_KEYS, PLACES)}") for key in unknown]


def find_value_mistakes(stage: str, key: str, value: object) -> list[Mistake]:
    """Return the mistakes in the value of one key of a stage."""
    if key not in STAGES.get(stage, StageSettings).model_fields:
        return []
    return [mistake for mistake in find_stage_mistakes(stage, {key: value}) if mistake.location[:1] == (key,)]
