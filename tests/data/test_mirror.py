"""A mirror is a folder that holds everything it says it holds."""

from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.data import mirror


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "mirror" / "models" / "mine").mkdir(parents=True)
    return tmp_path / "mirror"


def refusal(place: Path) -> str:
    with pytest.raises(UserError) as error:
        mirror.find(str(place), "models", "mine")
    return str(error.value)


def test_a_folder_is_found_by_its_kind_and_name(place: Path) -> None:
    assert mirror.find(str(place), "models", "mine") == place / "models" / "mine"
    assert mirror.find(str(place), "data", "mine") is None
    assert mirror.find(None, "models", "mine") is None
    assert mirror.find("", "models", "mine") is None


def test_a_mirror_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert refusal(absent) == f"mirror {absent}: no such folder; name one that holds data/<task>/ and models/<name>/"


def test_a_link_out_of_the_mirror_is_refused(place: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (place / "models" / "mine" / "config.json").symlink_to(tmp_path / "secret")
    assert refusal(place) == (
        f"mirror {place}: models/mine/config.json leads out of the mirror, to {tmp_path / 'secret'}; "
        "copy what it leads to into the mirror"
    )


def test_a_name_that_climbs_out_of_the_mirror_is_refused(place: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    with pytest.raises(UserError, match=r"leads out of the mirror"):
        mirror.find(str(place), "models", "../../outside")


def test_links_inside_the_mirror_are_followed(place: Path) -> None:
    (place / "blob").write_text("x")
    (place / "models" / "mine" / "config.json").symlink_to(place / "blob")
    assert mirror.find(str(place), "models", "mine") == place / "models" / "mine"
