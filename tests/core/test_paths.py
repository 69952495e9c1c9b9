import json
import tempfile
from pathlib import Path

import pytest

from pipeline.core import paths
from pipeline.core.paths import replace_dir, write_json


def test_a_folder_takes_its_place_only_when_the_work_succeeds(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with replace_dir(target) as fresh:
        (fresh / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    with pytest.raises(RuntimeError, match="midway"):
        fail_midway(target)
    assert (target / "a").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def fail_midway(target: Path) -> None:
    with replace_dir(target) as fresh:
        (fresh / "a").write_text("2")
        raise RuntimeError("midway")


def test_what_is_no_json_leaves_the_old_file_whole(tmp_path: Path) -> None:
    target = tmp_path / "numbers.json"
    write_json(target, {"score": 0.5})
    with pytest.raises(ValueError, match="Out of range float values"):
        write_json(target, {"score": float("nan")})
    assert json.loads(target.read_text()) == {"score": 0.5}
    assert [path.name for path in tmp_path.iterdir()] == ["numbers.json"]


@pytest.mark.parametrize("named", [{}, {"TMPDIR": "/nowhere"}, {"TMP": "/var/tmp"}, {"TMPDIR": "", "TEMP": "/nowhere"}])
def test_the_folder_of_temporary_files_is_that_of_the_standard_library(
    monkeypatch: pytest.MonkeyPatch, named: dict[str, str]
) -> None:
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    for name, folder in named.items():
        monkeypatch.setenv(name, folder)
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert paths._get_temp_dir() == tempfile.gettempdir()


def test_a_folder_of_the_machine_is_a_short_one_where_its_name_has_to_be_short(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "short").mkdir()
    monkeypatch.setattr(paths, "SHORT_TEMP_DIR", str(tmp_path / "short"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    usual = paths.get_machine_dir()
    assert usual.parent == tmp_path
    assert paths.get_machine_dir(len(str(usual))) == usual
    assert paths.get_machine_dir(len(str(usual)) - 1) == tmp_path / "short" / usual.name
    monkeypatch.setattr(paths, "SHORT_TEMP_DIR", "/nowhere")
    assert paths.get_machine_dir(len(str(usual)) - 1) == usual
