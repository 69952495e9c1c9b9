import json
from pathlib import Path

import pytest

from pipeline.paths import replacing, write_json


def test_a_folder_takes_its_place_only_when_the_work_succeeds(tmp_path: Path) -> None:
    target = tmp_path / "made"
    with replacing(target) as fresh:
        (fresh / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    with pytest.raises(RuntimeError, match="midway"):
        fail_midway(target)
    assert (target / "a").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def fail_midway(target: Path) -> None:
    with replacing(target) as fresh:
        (fresh / "a").write_text("2")
        raise RuntimeError("midway")


def test_what_is_no_json_leaves_the_old_file_whole(tmp_path: Path) -> None:
    target = tmp_path / "numbers.json"
    write_json(target, {"score": 0.5})
    with pytest.raises(ValueError, match="Out of range float values"):
        write_json(target, {"score": float("nan")})
    assert json.loads(target.read_text()) == {"score": 0.5}
    assert [path.name for path in tmp_path.iterdir()] == ["numbers.json"]
