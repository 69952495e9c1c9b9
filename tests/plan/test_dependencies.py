"""The check of students and compressions: their sources, and steps that cannot work."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline import plan
from pipeline.core import paths
from pipeline.plan import dependencies, load_plan
from pipeline.plan.conf_files import STAGES
from pipeline.plan.plan_check import _count_rows, find_file_mistakes, list_conf_mistakes

TEACHER = "finetune/rte-big-1.0-standard"
STUDENT = {
    "task": "rte", "student": "small", "teacher": TEACHER, "ratio": 1.0, "recipe": "standard", "distillation": "soft",
}  # fmt: skip
SOUND: dict[str, Any] = {
    "tasks": ["rte", "cola"],
    "models": ["small", "big"],
    "ratios": [0.5, 1.0],
    "recipes": ["standard"],
    "seeds": [0],
    "benchmark": {
        "task": "rte",
        "models": [],
        "processes": [1],
        "threads": [1],
        "precisions": ["fp32"],
        "batches": [8],
    },
    "variants": {},
    "distill": {"taught": STUDENT},
    "compress": {"cut": {"source": TEACHER, "compression": "heads"}},
    "compare": {"budget": {}},
}
STARTS = {"soft": "pretrained", "half": "{every: 2}", "fifth": "{every: 5}"}
SOFT = (
    "{{name: {name}, alpha: 0.5, temperature: 2.0, hidden: null, attention: null, start: {start}, teacher_seed: null}}"
)
SOURCE = "source: {_target_: pipeline.models.checkpoint_sources.directory, path: mine}"
CONFS = {
    "task": {
        name: f"{{name: {name}, {SOURCE}, columns: {{text_a: a, label: b}}, labels: [x, y], metrics: [accuracy], "
        "score: accuracy, report: validation, train_counts: [900, 900], selection: {fraction: 0.1, seed: 0}, "
        "subset_seed: 0, max_length: 64}"
        for name in ("rte", "cola")
    },
    "model": {name: f"{{name: {name}, {SOURCE}}}" for name in ("small", "big")},
    "recipe": {
        "standard": "{name: standard, learning_rate: '${model.learning_rate}', epochs: 3, steps: null, batch_size: 16, "
        "warmup: 0.1, weight_decay: 0.01, clip: 1.0, evaluations: 10, fractions: [0.9]}"
    },
    "distillation": {name: SOFT.format(name=name, start=start) for name, start in STARTS.items()},
    "compression": {},
}
METHODS = {
    "heads": "head_pruning.apply, remove: 0.5, importance: gradient",
    "all-heads": "head_pruning.apply, remove: 0.9, importance: gradient",
    "layers": "layer_removal.apply, remove: 2, importance: magnitude",
    "high": "low_rank.apply, rank: {fraction: 0.5}, parts: all, weighted: false, embeddings: null",
    "zeros": "magnitude.apply, share: 0.5, scope: global",
    "int8": "quantisation.apply, activations: dynamic",
    "typo": "head_pruning.apply, remvoe: 0.5, importance: gradient",
}


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project of two models, whose shapes `pretrain` has left, with a file of conf/ for each method."""
    files = {**CONFS, "compression": {name: _compression(name, method) for name, method in METHODS.items()}}
    for group, entries in files.items():
        (tmp_path / "conf" / group).mkdir(parents=True)
        for name, text in entries.items():
            (tmp_path / "conf" / group / f"{name}.yaml").write_text(text)
    for name, layers in (("small", 2), ("big", 4)):
        shape = {"num_hidden_layers": layers, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 256}
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "config.json").write_text(json.dumps({**shape, "vocab_size": 600}))
    for package in ("compression", "models"):
        shutil.copytree(paths.ROOT / "pipeline" / package, tmp_path / "pipeline" / package)
    for stage in STAGES:
        shutil.copy(paths.CONF / f"{stage}.yaml", tmp_path / "conf")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "CONF", tmp_path / "conf")
    _forget()
    yield tmp_path
    _forget()


def _compression(name: str, method: str) -> str:
    return f"{{name: {name}, method: {{_target_: pipeline.compression.{method}}}, recovery: null}}"


def _forget() -> None:
    for kept in (
        load_plan.list_names,
        find_file_mistakes,
        _count_rows,
        dependencies._read_file,
        dependencies._find_shape,
    ):
        kept.cache_clear()


def mistakes(**changed: Any) -> list[str]:
    content = {**SOUND, **changed}
    return [*plan.check(content), *list_conf_mistakes(content)]


def compressed(compression: str, source: str = TEACHER) -> dict[str, Any]:
    return {"compress": {"cut": {"source": source, "compression": compression}}}


def test_a_sound_plan_has_no_mistakes() -> None:
    assert mistakes() == []


@pytest.mark.parametrize("source", ["finetune/rte-bgi-1.0-standard", "distill/thaugt", "compress/cat"])
def test_a_source_that_no_cell_makes_is_told_with_the_nearest(source: str) -> None:
    grid = [
        f"finetune/{task}-{model}-{ratio}-standard"
        for task in ("cola", "rte")
        for model in ("big", "small")
        for ratio in (0.5, 1.0)
    ]
    nearest = {"f": TEACHER, "d": "distill/taught", "c": "compress/cut"}[source[0]]
    allowed = ", ".join(["compress/cut", "distill/taught", *grid])
    assert mistakes(**compressed("heads", source)) == [
        f"compress.cut.source: no cell makes {source!r}; did you mean {nearest!r}? (allowed: {allowed})"
    ]
    (found,) = mistakes(distill={"taught": {**STUDENT, "teacher": source}})
    assert found.startswith(f"distill.taught.teacher: no cell makes {source!r}; ")


@pytest.mark.parametrize("source", ["rte-big-1.0-standard", "prepare/rte", 3, "finetune/"])
def test_a_source_is_a_stage_and_a_cell(source: object) -> None:
    (found,) = mistakes(**compressed("heads", source))  # type: ignore[arg-type]
    assert found == (
        f"compress.cut.source: got {source!r}; write <stage>/<cell>, the stage one of finetune, distill, compress"
    )


def test_a_circle_is_told_whole() -> None:
    circle = {
        "a": {"source": "compress/c", "compression": "heads"},
        "b": {"source": "compress/a", "compression": "heads"},
        "c": {"source": "compress/b", "compression": "heads"},
    }
    (found,) = mistakes(compress=circle)
    message, _, advice = found.partition(": ")
    steps = message.split(" <- ")
    assert (len(steps), steps[0], set(steps)) == (4, steps[-1], {f"compress/{name}" for name in circle})
    assert advice == "made of itself; name a source that is there before it"


def test_a_teacher_for_another_task_is_refused() -> None:
    assert mistakes(distill={"taught": {**STUDENT, "task": "cola"}}) == [
        f"distill.taught.teacher: {TEACHER!r} is a teacher for rte, not for cola"
    ]
    through = {"taught": {**STUDENT, "task": "cola", "teacher": "compress/cut"}}
    assert mistakes(distill=through) == ["distill.taught.teacher: 'compress/cut' is a teacher for rte, not for cola"]


def test_a_rank_that_saves_nothing_is_refused_where_the_shape_is_known() -> None:
    assert mistakes(**compressed("high")) == [
        "compress.cut: conf/compression/high.yaml: method: rank: fraction 0.5 is rank 32 of matrices of 64 x 64, which "
        "saves nothing; use rank 31 at most, a fraction of 0.4844"
    ]


def test_heads_that_are_all_removed_are_refused() -> None:
    assert mistakes(**compressed("all-heads")) == [
        "compress.cut: conf/compression/all-heads.yaml: method: remove: 0.9 of 16 heads leaves a layer without any; "
        "use at most 0.75, or remove whole layers"
    ]


def test_layers_are_counted_in_the_model_that_is_compressed() -> None:
    assert mistakes(**compressed("layers")) == []
    assert mistakes(**compressed("layers", "distill/taught")) == [
        "compress.cut: conf/compression/layers.yaml: method: remove: got 2 of 2 layers; use at most 1"
    ]


def test_what_changes_the_shape_leaves_later_steps_to_the_stage() -> None:
    chain = {
        "cut": {"source": TEACHER, "compression": "heads"},
        "next": {"source": "compress/cut", "compression": "all-heads"},
    }
    assert mistakes(compress=chain) == []
    chain["cut"]["compression"] = "zeros"
    (found,) = mistakes(compress=chain)
    assert found.startswith("compress.next: conf/compression/all-heads.yaml: method: remove: 0.9 of 16 heads")
    assert (
        mistakes(
            distill={"taught": {**STUDENT, "student": "big", "distillation": "half"}},
            **compressed("layers", "distill/taught"),
        )
        == []
    )


def test_nothing_is_built_on_int8() -> None:
    chain = {
        "small": {"source": TEACHER, "compression": "int8"},
        "cut": {"source": "compress/small", "compression": "heads"},
    }
    assert mistakes(compress=chain) == [
        "compress.cut.source: 'compress/small' has int8 weights, which come last; name its own source"
    ]


def test_a_distillation_that_cannot_be_taught_with_is_refused(root: Path) -> None:
    assert mistakes(distill={"taught": {**STUDENT, "student": "big", "distillation": "fifth"}}) == [
        "distill.taught: conf/distillation/fifth.yaml: start: every: got 5 of a teacher of 4 layers"
    ]
    text = CONFS["distillation"]["soft"]
    for said, message in (
        (
            text.replace("alpha: 0.5", "alpha: 5"),
            "conf/distillation/soft.yaml: alpha: got 5; give a number from 0 to 1",
        ),
        (
            text.replace("seed: null", "seed: 7"),
            "distill.taught: conf/distillation/soft.yaml: teacher_seed: got 7; allowed: 0",
        ),
    ):
        (root / "conf/distillation/soft.yaml").write_text(said)
        _forget()
        assert mistakes() == [message]


def test_a_student_of_the_teachers_layers_bears_the_name_of_its_model() -> None:
    assert mistakes(distill={"taught": {**STUDENT, "distillation": "half"}}) == [
        "distill.taught.student: got 'small', but conf/distillation/half.yaml makes it of the teacher's layers; write "
        "'big', of which the teacher is made"
    ]


def test_a_method_that_is_not_there_is_told_with_the_nearest(root: Path) -> None:
    (root / "pipeline/compression/head_pruning.py").write_text("def apply(): ...\ndef check(): ...\n")
    text = _compression("heads", METHODS["heads"]).replace("head_pruning.apply", "head_pruning.aply")
    (root / "conf/compression/heads.yaml").write_text(text)
    assert mistakes() == [
        "compress.cut: conf/compression/heads.yaml: method: _target_: got "
        "'pipeline.compression.head_pruning.aply', but "
        "pipeline.compression.head_pruning has no such function; did you mean 'apply'? (allowed: apply, check)"
    ]
    (root / "conf/compression/heads.yaml").write_text("{name: heads, method: 3, recovery: null}")
    _forget()
    assert mistakes() == [
        "compress.cut: conf/compression/heads.yaml: method: got 3; give a _target_ and its arguments by name"
    ]


def test_settings_that_a_method_does_not_take_are_told() -> None:
    assert mistakes(**compressed("typo")) == [
        "compress.cut: conf/compression/typo.yaml: method: remvoe: not an argument of apply; did you mean 'remove'? "
        "(allowed: importance, remove)"
    ]


@pytest.mark.parametrize(
    ("recovery", "messages"),
    [
        ("1", ["recovery: got 1; give {epochs: ..., rate: ...}, or null"]),
        ("{epochs: 1}", ["recovery.rate: missing; give a number above 0"]),
        ("{epochs: 0, rate: 1}", ["recovery.epochs: got 0; give a number above 0"]),
        (
            "{epoch: 1, rate: 1}",
            [
                "recovery.epochs: missing; give a number above 0",
                "recovery.epoch: unknown key; did you mean 'epochs'? (allowed: distillation, epochs, rate)",
            ],
        ),
        (
            "{epochs: 1, rate: 1, distillation: {alpha: 5, temperature: 1}}",
            ["recovery.distillation.alpha: got 5; give a number from 0 to 1"],
        ),
        (
            "{epochs: 1, rate: 1, distillation: {alpha: 1}}",
            ["recovery.distillation.temperature: missing; give a number above 0"],
        ),
    ],
)
def test_a_recovery_that_cannot_be_trained_is_refused(root: Path, recovery: str, messages: list[str]) -> None:
    text = _compression("heads", METHODS["heads"]).replace("recovery: null", f"recovery: {recovery}")
    (root / "conf/compression/heads.yaml").write_text(text)
    assert mistakes() == [f"conf/compression/heads.yaml: {message}" for message in messages]


def test_names_are_told_apart_over_all_sections() -> None:
    entry = SOUND["compress"]["cut"]
    assert mistakes(compress={"taught": entry}) == ["2 cells would write runs/evaluate/taught; rename one"]
    assert mistakes(compress={"rte-big-1.0": entry}) == [
        "compress.rte-big-1.0: a name starts with a letter and holds letters, digits, '-' and '_' (DVC loses others)"
    ]


def test_cells_stand_behind_what_they_are_made_of_whatever_the_order_of_the_entries() -> None:
    chain = {
        "last": {"source": "compress/middle", "compression": "int8"},
        "middle": {"source": "distill/taught", "compression": "zeros"},
    }
    (paths.ROOT / "params.yaml").write_text(json.dumps({**SOUND, "compress": chain}))
    cells = plan.load(paths.ROOT / "params.yaml").cells
    places = {cell.address: place for place, cell in enumerate(cells)}
    for cell in cells:
        assert all(places[need] < places[cell.address] for need in cell.needs if need != "plan")
    last = next(cell for cell in cells if cell.address == "compress@last")
    assert (last.task, last.model, last.ratio, last.method) == ("rte", "small", 1.0, "int8")
