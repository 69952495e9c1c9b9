"""A source that a stage would delete or replace is refused, however its path is written."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.plan import source_paths
from tests.pipelines import read_blocks

REST = "where stages write and delete; move your files to inputs/mine and write inputs/mine"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project in which stages have made data/swap, with a folder of a user in inputs/."""
    root = tmp_path / "above" / "project"
    for folder in ("data/swap", "inputs/mine"):
        (root / folder).mkdir(parents=True)
    (root / "data/swap/train.parquet").write_text("x")
    (root / "inputs/mine/train.jsonl").write_text("x")
    monkeypatch.setattr(paths, "ROOT", root)
    return root


def mistakes(path: str) -> list[str]:
    return [*source_paths.list_mistakes({"_target_": "pipeline.data.dataset_sources.files", "path": path}, "mine")]


@pytest.mark.parametrize(
    ("path", "conflict"),
    [
        ("data/mine", "is inside data/"),
        ("data", "is data/"),
        ("data/", "is data/"),
        ("./data//mine", "is inside data/"),
        ("inputs/../data/mine", "is inside data/"),
        ("models/mine", "is inside models/"),
        ("runs/finetune/swap-tiny-1.0/seed-0", "is inside runs/"),
        (".cache/mine", "is inside .cache/"),
        ("metrics", "is metrics/"),
        (".", "contains .cache/"),
        ("..", "contains .cache/"),
        ("/", "contains .cache/"),
        ("../project/report/x", "is inside report/"),
    ],
)
def test_a_path_inside_equal_to_or_above_an_output_is_refused(root: Path, path: str, conflict: str) -> None:
    assert mistakes(path) == [f"source.path: got {path!r}, which {conflict}, {REST}"]


def test_an_absolute_path_into_an_output_is_refused(root: Path) -> None:
    path = str(root / "data" / "mine")
    assert mistakes(path) == [f"source.path: got {path!r}, which is inside data/, {REST}"]


def test_links_are_followed_in_both_directions(root: Path, tmp_path: Path) -> None:
    (root / "inputs/link").symlink_to(root / "data/swap")
    assert mistakes("inputs/link") == [f"source.path: got 'inputs/link', which is inside data/, {REST}"]
    (root / "inputs/mine/validation.jsonl").symlink_to("../../data/swap/train.parquet")
    assert mistakes("inputs/mine") == [
        "source.path: got 'inputs/mine', but inputs/mine/validation.jsonl links to a file that is inside data/, "
        "where stages write and delete; put the file itself there"
    ]
    large = tmp_path / "large"
    large.mkdir()
    (root / "models").symlink_to(large)  # outputs on another disk
    assert mistakes(str(large / "mine")) == [
        f"source.path: got {str(large / 'mine')!r}, which is inside models/, {REST}"
    ]


@pytest.mark.parametrize(
    "path", ["inputs/mine", "inputs", "starter/starter-2x64", "database", "data.jsonl", "../other"]
)
def test_other_places_are_allowed_whether_they_exist_or_not(root: Path, path: str) -> None:
    assert mistakes(path) == []


def test_every_output_of_a_stage_is_in_a_folder_that_is_refused() -> None:
    for block in read_blocks().values():
        stage = block.get("do", block)
        for entry in [*stage["outs"], *stage.get("metrics", [])]:
            name = entry if isinstance(entry, str) else next(iter(entry))
            assert name.partition("/")[0] in paths.OUTPUTS


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ({"corpus": {"text": "data/news", "topics": 0}}, [("source.corpus.text", "data/news")]),
        ({"train_file": "a", "files": ["b", "c"], "out_dir": "d", "grade": "e", "rows": {"train": 1}},
         [("source.train_file", "a"), ("source.files", "b"), ("source.files", "c"), ("source.out_dir", "d")]),
        ({"parts": [{"path": "a"}, {"folder": "b"}]}, [("source.parts[0].path", "a"), ("source.parts[1].folder", "b")]),
        ({"path": "${oc.env:LAB_TEST}/x"}, [("source.path", "/place/x")]),
        ({"path": "${oc.env:LAB_ABSENT,inputs/x}"}, [("source.path", "inputs/x")]),
        (None, []),
    ],
)  # fmt: skip
def test_paths_are_found_at_any_depth(source: Any, found: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAB_TEST", "/place")
    monkeypatch.delenv("LAB_ABSENT", raising=False)
    assert [*source_paths.find_paths(source)] == found


def test_a_path_that_cannot_be_known_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LAB_ABSENT", raising=False)
    assert mistakes("${oc.env:LAB_ABSENT}") == [
        "source.path: got '${oc.env:LAB_ABSENT}', but the variable LAB_ABSENT is not set; set it"
    ]
    assert mistakes("inputs/${task.name}") == [
        "source.path: got 'inputs/${task.name}'; write the path itself, or ${oc.env:NAME}"
    ]


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("mirror: ${oc.env:LAB_MIRROR,null}", None, None),
        ("mirror: ${oc.env:LAB_MIRROR,null}", "", None),
        ("mirror: ${oc.env:LAB_MIRROR,null}", "/somewhere", "/somewhere"),
        ("mirror: inputs/mirror", "/somewhere", "inputs/mirror"),
        ("mirror: null", "/somewhere", None),
        ("cell: x", "/somewhere", None),
    ],
)
def test_the_mirror_is_that_of_the_conf_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, value: str | None, expected: str | None
) -> None:
    monkeypatch.setattr(paths, "CONF", tmp_path)
    (tmp_path / "prepare.yaml").write_text(text)
    monkeypatch.delenv("LAB_MIRROR", raising=False)
    if value is not None:
        monkeypatch.setenv("LAB_MIRROR", value)
    assert source_paths.read_mirror("prepare") == expected


def test_a_mirror_whose_folder_is_an_output_is_refused(root: Path) -> None:
    assert source_paths.find_mirror_mistake(str(root), "task", "swap") == (
        f"mirror {root}: its folder data/swap is inside data/ of this project, where stages write and delete; "
        "name another folder as mirror, such as inputs/mirror"
    )
    assert source_paths.find_mirror_mistake(str(root / "inputs/mirror"), "task", "swap") is None
    assert source_paths.find_mirror_mistake(None, "task", "swap") is None


@pytest.mark.parametrize("text", ["mirror: [", "- a", "a: &a b\nc: *d"])
def test_a_file_that_is_no_yaml_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        source_paths.load_yaml(tmp_path / "x.yaml")
    assert str(error.value).startswith(f"{tmp_path / 'x.yaml'}: ")
    assert "\n" not in str(error.value)


REFUSED = "conf/task/loss.yaml: source.path: got 'data/loss', which is inside data/, where stages write and delete; "
ADVICE = "move your files to inputs/loss and write inputs/loss"


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "pipeline.plan"],
        ["-m", "pipeline.plan.source_digests"],
        ["-m", "pipeline.stages.prepare", "--multirun", "+sweep=once", "task=loss"],
        ["-m", "pipeline.stages.prepare", "task=starter-swap", "task.name=loss", "+task.source.path=data/loss"],
        ["-m", "dvc", "repro", "prepare@loss"],
        ["-m", "dvc", "repro", "-s", "-f", "prepare@loss"],  # no check of the plan runs before
    ],
)
def test_no_command_touches_the_files_of_a_user_in_an_output_folder(project: Path, command: list[str]) -> None:
    text = (project / "conf/task/starter-swap.yaml").read_text()
    source = "source: {_target_: pipeline.data.dataset_sources.files, path: data/loss}"
    lines = [source if line.startswith("source:") else line for line in text.splitlines()]
    (project / "conf/task/loss.yaml").write_text("\n".join(lines).replace("name: starter-swap", "name: loss"))
    params = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(params.replace("tasks: [", "tasks: [loss, "))
    (project / "data/loss").mkdir(parents=True)
    (project / "data/loss/train.jsonl").write_text('{"text": "mine"}\n')
    for name in (".cache/sources/task/loss.txt", ".cache/code/prepare.txt"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("of an earlier run\n")
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=project, check=True)
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(project), "LAB_WARM": "0"}
    done = subprocess.run(
        [sys.executable, *command], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert [error.removeprefix("error: ").partition("conf/")[2] for error in errors] == [
        (REFUSED + ADVICE).removeprefix("conf/")
    ]
    assert "Traceback" not in done.stderr
    assert [path.name for path in (project / "data/loss").iterdir()] == ["train.jsonl"]
    assert (project / "data/loss/train.jsonl").read_text() == '{"text": "mine"}\n'
