"""The prepare stage, from a conf file to the files of a task."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.stages.prepare import prepare


class Told:
    """Keeps what a stage tells its log."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.shown: list[Path] = []

    def print_line(self, text: str) -> None:
        self.lines.append(text)

    def log_artifact(self, path: Path) -> None:
        self.shown.append(path)


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """A mirror that holds a task of RTE's shape: 40 rows of train, 10 of validation, labels by name."""
    folder = tmp_path / "mirror" / "data" / "rte"
    folder.mkdir(parents=True)
    for file, rows in (("train", 40), ("dev", 10)):
        lines = [f"{i}\t{file} {i}\tfollows\t{('entailment', 'not_entailment')[i % 2]}\n" for i in range(rows)]
        (folder / f"{file}.tsv").write_text("index\tsentence1\tsentence2\tlabel\n" + "".join(lines))
    return tmp_path / "mirror"


def configured(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(paths.CONF), version_base="1.3"):
        cfg = compose("prepare", list(overrides))
    OmegaConf.resolve(cfg)
    return cfg


def test_a_task_of_the_mirror_is_prepared(mirror: Path, tmp_path: Path) -> None:
    log, out = Told(), tmp_path / "out"
    out.mkdir()
    cfg = configured("task=rte", f"mirror={mirror}", "task.train_counts=[20,20]")
    result = prepare(cfg, out, log)  # type: ignore[arg-type]
    assert sorted(path.name for path in out.iterdir()) == [
        "report.parquet", "selection.parquet", "summary.json", "train.parquet",
    ]  # fmt: skip
    assert pq.read_table(out / "train.parquet").num_rows == result["train_rows"] == 36
    assert (result["selection_rows"], result["report_rows"], result["majority_accuracy"]) == (4, 10, 0.5)
    assert log.lines == [
        "labels: a value is a class name; a whole number that is no class name is an index: "
        "0 = entailment, 1 = not_entailment"
    ]
    assert log.shown == [out / "summary.json"]
    assert sorted(json.loads((out / "summary.json").read_text())["source"]["mirror"]) == ["dev.tsv", "train.tsv"]


def test_the_cell_is_the_task_and_the_mirror_is_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_MIRROR", "/some/mirror")
    cfg = configured("task=mrpc")
    assert (cfg.cell, cfg.mirror) == ("mrpc", "/some/mirror")
    monkeypatch.delenv("LAB_MIRROR")
    assert configured("task=mrpc").mirror is None


def test_a_task_without_mirror_and_hub_ends_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", unreachable)
    with pytest.raises(UserError) as error:
        prepare(configured("task=rte", "mirror=null"), tmp_path, Told())  # type: ignore[arg-type]
    assert str(error.value) == (
        "nyu-mll/glue at bcdcba79d07b: nothing came from the Hub (OSError: Name or service not known); "
        "no mirror is named; put data/rte/ into a folder that LAB_MIRROR names, or go online"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_source_of_your_own_is_named_in_a_conf_file(tmp_path: Path) -> None:
    log, out = Told(), tmp_path / "out"
    out.mkdir()
    cfg = configured("task=rte", "mirror=null")
    cfg.task.source = {"_target_": "pipeline.data.synthetic.pairs", "grade": "swap", "rows": ROWS, "seed": 0}
    cfg.task.train_counts = [25, 25]
    cfg.task.columns = {"text_a": "text_a", "text_b": "text_b", "label": "label"}
    result = prepare(cfg, out, log)  # type: ignore[arg-type]
    assert (result["train_rows"], result["selection_rows"], result["report_rows"]) == (45, 5, 20)
    assert json.loads((out / "summary.json").read_text())["source"] == OmegaConf.to_container(cfg.task.source)


ROWS = {"train": 50, "validation": 20}
