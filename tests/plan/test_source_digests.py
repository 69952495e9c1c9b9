"""Everything that decides a result outside code and conf/ shows in a file that DVC compares, and nothing else does."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.plan import source_digests

TASKS, MODELS = ("own", "hubbed"), ("checkpoint", "scratch", "generated")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project whose tasks and models have each kind of source, with files that are not new any more."""
    root = tmp_path / "project"
    write(root / "params.yaml", f"tasks: [{', '.join(TASKS)}]\nmodels: [{', '.join(MODELS)}]\n")
    for stage in ("prepare", "pretrain"):
        write(root / f"conf/{stage}.yaml", "mirror: ${oc.env:LAB_MIRROR,null}\n")
    write(root / "conf/task/own.yaml", "source: {path: inputs/own}\n")
    write(root / "conf/task/hubbed.yaml", "source: {config: rte, revision: abc}\n")
    write(root / "conf/model/checkpoint.yaml", "source: {path: inputs/checkpoint, sha256: abc}\n")
    write(root / "conf/model/scratch.yaml", "source:\n  layers: 2\n  corpus: {text: inputs/news}\n")
    write(root / "conf/model/generated.yaml", "source: {layers: 2, corpus: {topics: 5}}\n")
    for file in ("own/train.jsonl", "own/validation.jsonl", "checkpoint/config.json", "checkpoint/tokenizer.json",
                 "checkpoint/model.safetensors", "news/one.txt", "news/deep/two.txt"):  # fmt: skip
        write(root / "inputs" / file, f"content of {file}\n")
    monkeypatch.setattr(paths, "ROOT", root)
    monkeypatch.setattr(paths, "CONF", root / "conf")
    monkeypatch.setattr(paths, "PARAMS", root / "params.yaml")
    monkeypatch.setattr(source_digests, "FOLDER", root / ".cache/sources")
    monkeypatch.setattr(source_digests, "KNOWN", root / ".cache/source-digests.json")
    monkeypatch.delenv("LAB_MIRROR", raising=False)
    return root


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def mirrored(root: Path, *files: str) -> Path:
    for file in files:
        write(root.parent / "mirror" / file, f"{file} of the mirror\n")
    (root.parent / "mirror").mkdir(exist_ok=True)
    return root.parent / "mirror"


def written(root: Path) -> dict[str, str]:
    source_digests.write()
    folder = root / ".cache/sources"
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*.txt")}


def changed_by(root: Path, change: Callable[[], object]) -> set[str]:
    before = written(root)
    change()
    after = written(root)
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def test_each_task_and_model_of_the_plan_has_a_file(root: Path) -> None:
    found = written(root)
    assert sorted(found) == sorted(
        ["versions.txt", *(f"task/{name}.txt" for name in TASKS), *(f"model/{name}.txt" for name in MODELS)]
    )
    assert [line.split("  ")[-1] for line in found["task/own.txt"].splitlines()] == [
        "mirror: none", "inputs/own/train.jsonl", "inputs/own/validation.jsonl",
    ]  # fmt: skip
    assert found["model/generated.txt"] == "mirror: none\n"
    assert found["versions.txt"].splitlines()[0].startswith("torch 2.")


@pytest.mark.parametrize(
    ("file", "concerned"),
    [
        ("inputs/own/train.jsonl", "task/own.txt"),
        ("inputs/checkpoint/config.json", "model/checkpoint.txt"),
        ("inputs/checkpoint/tokenizer.json", "model/checkpoint.txt"),
        ("inputs/checkpoint/model.safetensors", "model/checkpoint.txt"),
        ("inputs/checkpoint/vocab.txt", "model/checkpoint.txt"),  # a new file
        ("inputs/news/one.txt", "model/scratch.txt"),
        ("inputs/news/deep/two.txt", "model/scratch.txt"),
    ],
)
def test_an_edit_shows_in_exactly_the_task_or_model_that_it_concerns(root: Path, file: str, concerned: str) -> None:
    assert changed_by(root, lambda: write(root / file, "edited\n")) == {concerned}


def test_a_removed_file_and_a_removed_folder_show(root: Path) -> None:
    assert changed_by(root, (root / "inputs/checkpoint/tokenizer.json").unlink) == {"model/checkpoint.txt"}
    assert changed_by(root, lambda: shutil.rmtree(root / "inputs/own")) == {"task/own.txt"}
    assert written(root)["task/own.txt"] == "mirror: none\nmissing  inputs/own\n"


def test_a_touched_file_and_a_hidden_one_do_not_show(root: Path) -> None:
    assert changed_by(root, lambda: os.utime(root / "inputs/own/train.jsonl")) == set()
    assert changed_by(root, lambda: write(root / "inputs/own/.swp", "x")) == set()


@pytest.mark.parametrize("settled", [0.0, 60.0])
def test_an_edit_of_the_same_size_with_its_old_time_shows(
    root: Path, monkeypatch: pytest.MonkeyPatch, settled: float
) -> None:
    monkeypatch.setattr(source_digests, "SETTLED_SECONDS", settled)
    file = root / "inputs/own/train.jsonl"

    def edit() -> None:
        stat = file.stat()
        file.write_text(file.read_text().replace("content", "CONTENT"))
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    assert changed_by(root, edit) == {"task/own.txt"}


def test_a_mirror_shows_where_it_holds_a_task_or_a_model_and_wherever_it_is(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = mirrored(root, "data/other/train.tsv")
    assert changed_by(root, lambda: monkeypatch.setenv("LAB_MIRROR", str(mirror))) == set()
    assert changed_by(root, lambda: mirrored(root, "data/hubbed/train.tsv")) == {"task/hubbed.txt"}
    assert changed_by(root, lambda: mirrored(root, "models/checkpoint/config.json")) == {"model/checkpoint.txt"}
    edit = lambda: write(mirror / "data/hubbed/train.tsv", "edited")  # noqa: E731
    assert changed_by(root, edit) == {"task/hubbed.txt"}
    shutil.copytree(mirror, root.parent / "moved")
    assert changed_by(root, lambda: monkeypatch.setenv("LAB_MIRROR", str(root.parent / "moved"))) == set()
    unset = lambda: monkeypatch.delenv("LAB_MIRROR")  # noqa: E731
    assert changed_by(root, unset) == {"task/hubbed.txt", "model/checkpoint.txt"}


def test_a_mirror_named_in_conf_shows_as_well(root: Path) -> None:
    mirror = mirrored(root, "data/hubbed/train.tsv", "models/scratch/config.json")
    name = lambda: write(root / "conf/prepare.yaml", f"mirror: {mirror}\n")  # noqa: E731
    assert changed_by(root, name) == {"task/hubbed.txt"}


def test_what_stays_the_same_is_neither_written_nor_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_digests, "SETTLED_SECONDS", -1.0)
    written(root)
    times = {file: file.stat().st_mtime_ns for file in (root / ".cache").rglob("*") if file.is_file()}
    monkeypatch.setattr(source_digests.hashlib, "file_digest", lambda *_: pytest.fail("read again"))
    written(root)
    assert {file: file.stat().st_mtime_ns for file in times} == times


def test_a_memory_of_digests_that_is_damaged_is_not_used(root: Path) -> None:
    before = written(root)
    for text in ("{", "[]", '{"a": 1}'):
        write(source_digests.KNOWN, text)
        assert written(root) == before


def test_a_name_that_the_plan_dropped_has_no_file(root: Path) -> None:
    written(root)
    write(root / "params.yaml", "tasks: [own]\nmodels: [scratch]\n")
    assert sorted(written(root)) == ["model/scratch.txt", "task/own.txt", "versions.txt"]


def test_a_file_that_may_not_be_read_is_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = root / "inputs/own/train.jsonl"

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(source_digests.hashlib, "file_digest", refuse)
    with pytest.raises(UserError) as error:
        source_digests.write()
    assert str(error.value) == f"{file}: cannot be read: Permission denied; give yourself the right to read it"


def test_a_mirror_that_is_the_project_is_refused_though_no_check_of_the_plan_runs(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_MIRROR", str(root))
    with pytest.raises(UserError) as error:
        source_digests.write()
    assert str(error.value) == (
        f"mirror {root}: its folder data/own is inside data/ of this project, where stages write and delete; "
        "name another folder as mirror, such as inputs/mirror"
    )


def test_the_digests_import_nothing_that_takes_long() -> None:
    program = "import pipeline.plan.source_digests, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=paths.ROOT, capture_output=True, text=True, check=True)
    slow = {"torch", "transformers", "numpy", "ruamel", "omegaconf", "hydra", "grimp", "pyarrow", "psutil", "dvc"}
    assert not slow & set(done.stdout.split())


def test_a_direct_command_runs_a_trial_again_after_an_edit_of_its_data(project: Path) -> None:
    """What an earlier trial has kept counts only while the data is the same, outside DVC as well."""
    text = (project / "conf/task/starter-swap.yaml").read_text()
    source = "source: {_target_: pipeline.data.dataset_sources.files, path: inputs/own}"
    lines = [source if line.startswith("source:") else line for line in text.splitlines()]
    counts = "train_counts: [500, 500]"
    assert counts in text
    own = "\n".join(lines).replace("name: starter-swap", "name: own").replace(counts, "train_counts: [50, 50]")
    (project / "conf/task/own.yaml").write_text(own)
    rows = [f'{{"text_a": "a {i}", "text_b": "b {i}", "label": {i % 2}}}\n' for i in range(100)]
    for split in ("train", "validation"):
        write(project / f"inputs/own/{split}.jsonl", "".join(rows))
    command = [sys.executable, "-m", "pipeline.stages.prepare", "--multirun", "+sweep=once", "task=own"]

    def prepare() -> str:
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    prepare()
    assert "so it does not run again" in prepare()
    first = (project / "data/own/train.parquet").read_bytes()
    write(project / "inputs/own/train.jsonl", "".join(rows).replace("a 7", "c 7"))
    assert "so it does not run again" not in prepare()
    assert (project / "data/own/train.parquet").read_bytes() != first
