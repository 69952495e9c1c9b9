"""Rows come from the mirror where it has them, or else from the source, and an absent Hub is one line."""

import hashlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.data import dataset_sources, hub

REVISION = "bcdcba79d07bc864c1c254ccfcedcce55bcc9a8c"


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    folder = tmp_path / "mirror" / "data" / "mine"
    folder.mkdir(parents=True)
    (folder / "train.jsonl").write_text('{"sentence": "a", "label": 0}\n')
    return tmp_path / "mirror"


def unasked() -> dict[str, Any]:
    raise AssertionError("the source was asked although the mirror has the task")


def away() -> dict[str, Any]:
    raise hub.Away("some/repository at 0123: nothing came from the Hub (ConnectError: no network)")


def test_the_mirror_is_asked_before_the_source(mirror: Path) -> None:
    found = dataset_sources.find("mine", str(mirror), unasked)
    assert found.splits["train"].to_pylist() == [{"sentence": "a", "label": 0}]
    text = (mirror / "data" / "mine" / "train.jsonl").read_bytes()
    assert found.mirrored == {"train.jsonl": hashlib.sha256(text).hexdigest()}


@pytest.mark.parametrize("place", [None, ""])
def test_without_a_mirror_the_source_is_asked(place: str | None) -> None:
    rows = [{"text": "a", "label": 0}, {"text": "b"}]
    found = dataset_sources.find("mine", place, lambda: {"train": rows, "validation": pa.table({"text": ["c"]})})
    assert found.splits["train"].to_pylist() == [{"text": "a", "label": 0}, {"text": "b", "label": None}]
    assert found.splits["validation"].to_pylist() == [{"text": "c"}]
    assert found.mirrored == {}


def test_a_mirror_without_the_task_leaves_the_source_to_be_asked(mirror: Path) -> None:
    assert dataset_sources.find("other", str(mirror), lambda: {"train": [{"a": 1}]}).splits["train"].num_rows == 1


def test_a_hub_that_is_away_is_told_with_what_to_do() -> None:
    with pytest.raises(UserError) as error:
        dataset_sources.find("mine", None, away)
    assert str(error.value) == (
        "some/repository at 0123: nothing came from the Hub (ConnectError: no network); "
        "no mirror is named; put data/mine/ into a folder that LAB_MIRROR names, or go online"
    )


def test_a_mirror_that_has_not_got_it_either_is_named(mirror: Path) -> None:
    with pytest.raises(UserError) as error:
        dataset_sources.find("other", str(mirror), away)
    assert str(error.value).endswith(f"; the mirror {mirror} has no data/other/ either; put it there, or go online")


def test_glue_is_asked_for_once_at_its_commit_and_loaded_by_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    class Dataset:
        data = type("Data", (), {"table": pa.table({"sentence1": ["a"]})})

    def load_dataset(*names: str, **options: str) -> dict[str, type[Dataset]]:
        asked.append((*names, options))
        return {"train": Dataset}

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    assert dataset_sources.glue("mrpc", REVISION)["train"].to_pylist() == [{"sentence1": "a"}]
    assert asked == [("nyu-mll/glue", "mrpc", {"revision": REVISION})]


def test_glue_without_a_network_says_so_after_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", refused)
    monkeypatch.setattr("datasets.load_dataset", lambda *_, **__: pytest.fail("tried again"))
    with pytest.raises(hub.Away) as error:
        dataset_sources.glue("mrpc", REVISION)
    assert str(error.value) == (
        "nyu-mll/glue at bcdcba79d07b: nothing came from the Hub (OSError: Name or service not known)"
    )


def test_glue_kept_offline_says_what_its_client_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", lambda *_, **__: pytest.fail("the Hub was asked"))

    def missing(*_: str, **__: str) -> None:
        raise ConnectionError("Couldn't reach 'nyu-mll/glue' on the Hub (OfflineModeIsEnabled)")

    monkeypatch.setattr("datasets.load_dataset", missing)
    with pytest.raises(hub.Away) as error:
        dataset_sources.glue("mrpc", REVISION)
    assert str(error.value) == (
        "nyu-mll/glue (mrpc) at bcdcba79d07b: nothing came from the Hub "
        "(ConnectionError: Couldn't reach 'nyu-mll/glue' on the Hub (OfflineModeIsEnabled))"
    )


def test_a_folder_of_your_own_is_a_source(mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "ROOT", mirror)
    assert dataset_sources.files("data/mine")["train"].num_rows == 1
    with pytest.raises(UserError) as error:
        dataset_sources.files("data/other")
    assert str(error.value) == (
        "conf/task: source.path: got 'data/other', but the project has no such folder; give one, such as "
        "inputs/<name>, that holds train and validation as .jsonl, .json, .csv, .tsv, .parquet (each also .gz)"
    )
