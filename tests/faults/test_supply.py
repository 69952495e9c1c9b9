"""Where code and weights come from: nothing that could run code is opened; what is installed has a hash."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.models import checkpoint_sources
from requirements import audit

REQUIREMENTS = paths.ROOT / "requirements"


RISKS = [
    ("import pickle", "TID251"),
    ("from cloudpickle import loads", "TID251"),
    ("import joblib", "TID251"),
    ("import dill", "TID251"),
    ("import marshal", "TID251"),
    ("import shelve", "TID251"),
    ("import torch\ntorch.load('x')", "TID251"),
    ("import numpy as np\nnp.load('x', allow_pickle=True)", "TID251"),
    ("import pandas as pd\npd.read_pickle('x')", "TID251"),
    ("import yaml\nyaml.load('x')", "S506"),
    ("eval('x')", "S307"),
    ("exec('x')", "S102"),
    ("import os\nos.system('ls')", "S605"),
    ("import os\nos.popen('ls')", "S605"),
    ("import subprocess\nsubprocess.run('ls', shell=True)", "S602"),
    ("import tarfile\ntarfile.open('x').extractall()", "S202"),
    ("import tempfile\ntempfile.mktemp()", "S306"),
]


def test_the_linter_refuses_what_could_run_code(tmp_path: Path) -> None:
    for number, (lines, _) in enumerate(RISKS):
        (tmp_path / f"{number}.py").write_text(f"{lines}\n")
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--config", paths.ROOT / "pyproject.toml"]
    done = subprocess.run([*command, "--output-format", "json", tmp_path], capture_output=True, text=True, check=False)
    found = {(Path(each["filename"]).stem, each["code"]) for each in json.loads(done.stdout)}
    assert [risk for number, risk in enumerate(RISKS) if (str(number), risk[1]) not in found] == []


def test_nothing_here_switches_those_rules_off() -> None:
    banned = re.compile(r"noqa(?!:)|noqa:.*\b(S\d+|TID251)|trust_remote_code *= *True|weights_only *= *False")
    files = [*paths.ROOT.glob("pipeline/**/*.py"), *paths.ROOT.glob("requirements/*.py")]
    assert [f"{file}: {line}" for file in files for line in file.read_text().splitlines() if banned.search(line)] == []


def checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    save_file({"embeddings.weight": torch.zeros(2, 2)}, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text("{}")
    return folder


def code_of_its_own(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "bert", "auto_map": {"AutoModel": "mine.Mine"}}')
    (folder / "mine.py").write_text("raise SystemExit('ran')")


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def zipped(folder: Path) -> None:
    with zipfile.ZipFile(folder / "weights.zip", "w") as archive:
        archive.write(folder / "model.safetensors", "../../model.safetensors")
    (folder / "weights.zip").replace(folder / "model.safetensors")


def named_wrongly(folder: Path) -> None:
    torch.save({"embeddings.weight": torch.zeros(2, 2)}, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            code_of_its_own,
            "odd: config.json requires custom code (auto_map), which is never run here; name a checkpoint of an "
            "architecture that transformers has itself",
        ),
        (
            pickled,
            "odd: no model.safetensors, only pytorch_model.bin; pickles are not opened: name a revision that holds "
            "safetensors (such as a conversion's refs/pr/1), or put model.safetensors into a mirror",
        ),
        (zipped, r"model.safetensors: \d+ bytes that are no safetensors; fetch the file itself, not a pointer to it"),
        (
            named_wrongly,
            r"model.safetensors: \d+ bytes that are no safetensors; fetch the file itself, not a pointer to it",
        ),
    ],
)
def test_a_checkpoint_that_could_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: Any, message: str
) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    harm(checkpoint(tmp_path / "odd"))
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError) as error:
        taken(tmp_path / "out")
    assert re.fullmatch(message if "\\d" in message else re.escape(message), str(error.value))


def taken(out: Path) -> None:
    checkpoint_sources.directory("odd", out)
    checkpoint_sources.read_weights(out)


def test_files_that_are_no_part_of_a_checkpoint_are_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    folder = checkpoint(tmp_path / "odd")
    for name in ("mine.py", "archive.tar.gz", "weights.zip", "pytorch_model.bin", "optimizer.pt"):
        (folder / name).write_bytes(b"x")
    (tmp_path / "out").mkdir()
    checkpoint_sources.directory("odd", tmp_path / "out")
    assert sorted(os.listdir(tmp_path / "out")) == [
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip


def test_a_file_of_a_checkpoint_that_leads_out_of_its_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    folder = checkpoint(tmp_path / "odd")
    shutil.move(folder / "tokenizer.json", tmp_path / "secret")
    (folder / "tokenizer.json").symlink_to(tmp_path / "secret")
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError) as error:
        checkpoint_sources.directory("odd", tmp_path / "out")
    assert str(error.value) == (
        "odd: tokenizer.json leads out of its folder or is no plain file; put the file itself there"
    )
    assert os.listdir(tmp_path / "out") == []


def locked() -> dict[str, list[str]]:
    """Return each pinned requirement with its hashes."""
    found: dict[str, list[str]] = {}
    for file in ("tests.txt", "torch.txt", "torch-cpu.txt"):
        for line in (REQUIREMENTS / file).read_text().splitlines():
            if line and not line.startswith((" ", "#")):
                name = line.removesuffix(" \\")
                found[name] = []
            elif "--hash=" in line:
                found[name].append(line.strip().removesuffix(" \\"))
    return found


def test_everything_that_the_tests_run_with_is_pinned_by_hashes_and_names_no_registry() -> None:
    pins = locked()
    assert len(pins) > 200
    assert [name for name in pins if not re.fullmatch(r"[a-z0-9._-]+==[\w.+]+", name)] == []
    assert [
        name for name, hashes in pins.items()
        if not hashes or not all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes)
    ] == []  # fmt: skip
    for file in REQUIREMENTS.glob("*.txt"):
        assert not re.search(r"https?:|file:|--index|--find-links|/opt/|/tmp/", file.read_text())


def test_the_lock_holds_the_versions_that_the_project_states() -> None:
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    stated = [word for word in [*project["dependencies"], *extras["dev"], *extras["onnx"]] if "==" in word]
    pins = {re.sub(r"[-_.]+", "-", name) for name in locked()}
    assert len(stated) > 30
    assert {re.sub(r"[-_.]+", "-", re.sub(r"\[.*?\]", "", word)).lower() for word in stated} - pins == set()


def test_an_index_that_knows_nothing_is_told_from_one_that_knows_no_holes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "asked", lambda *_: [{"name": "jinja2", "skip_reason": "not found"}])
    audit.main()
    assert capsys.readouterr().out == "audit: skipped, for no index of known holes answers here\n"
    hole = {"id": "PYSEC-1", "fix_versions": ["2.0"], "aliases": [], "description": ""}
    monkeypatch.setattr(
        audit, "asked",
        lambda *_: [
            {"name": "jinja2", "version": "1.0", "vulns": []},
            {"name": "bad", "version": "1.0", "vulns": [hole, hole | {"id": "PYSEC-2", "fix_versions": []}]},
            {"name": "torch", "skip_reason": "not found"},
        ],
    )  # fmt: skip
    with pytest.raises(SystemExit) as end:
        audit.main()
    assert end.value.code == 1
    assert capsys.readouterr().out == (
        "bad 1.0: PYSEC-1, mended in 2.0\nbad 1.0: PYSEC-2, mended in nothing yet\n"
        "audit: 2 known holes; not to be found in the index: torch\n"
    )
