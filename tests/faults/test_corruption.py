"""A file that was altered, cut short or lost after a stage made it is found by its digest and named."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.core import checksums, paths
from pipeline.core.errors import UserError


def again() -> str:
    return "run `dvc repro prepare@rte`"


FILES = {"train.parquet": b"rows " * 40, "alone/model.safetensors": b"weights" * 9, "a b.json": b"{}"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of the project's data with its digests."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    return laid(tmp_path / "data" / "rte")


def laid(made: Path) -> Path:
    for name, content in FILES.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_bytes(content)
    checksums.write_checksums(made)
    return made


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def test_a_whole_folder_is_let_through_and_sha256sum_agrees(folder: Path) -> None:
    checksums.verify_checksums(folder, again)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", checksums.CHECKSUMS_FILE], cwd=folder, check=True)
    names = [line.partition("  ")[2] for line in (folder / checksums.CHECKSUMS_FILE).read_text().splitlines()]
    assert names == sorted(FILES)


def test_a_folder_with_digests_of_its_own_is_looked_at_by_itself(folder: Path) -> None:
    inner = laid(folder / "product")
    checksums.verify_checksums(folder, again)
    (inner / "train.parquet").unlink()
    checksums.verify_checksums(folder, again)
    with pytest.raises(UserError, match=r"^data/rte/product/train.parquet: missing"):
        checksums.verify_checksums(inner, again)


def altered(file: Path) -> str:
    content = bytearray(file.read_bytes())
    content[7] ^= 1
    file.write_bytes(content)
    return f"63 bytes have the SHA-256 {sha(content)}"


def cut(file: Path) -> str:
    content = file.read_bytes()[:30]
    file.write_bytes(content)
    return f"30 bytes have the SHA-256 {sha(content)}"


@pytest.mark.parametrize("harm", [altered, cut])
def test_a_file_that_is_other_than_it_was_is_named_with_both_digests(folder: Path, harm: Callable[[Path], str]) -> None:
    checksums.verify_checksums(folder, again)  # seen whole before
    got = harm(folder / "alone/model.safetensors")
    with pytest.raises(UserError) as error:
        checksums.verify_checksums(folder, again)
    assert str(error.value) == (
        f"data/rte/alone/model.safetensors: modified or truncated: its {got}..., not "
        f"{sha(FILES['alone/model.safetensors'])}...; run `dvc repro prepare@rte`"
    )


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            lambda folder: (folder / "train.parquet").unlink(),
            "data/rte/train.parquet: missing, but listed in sha256.txt; run `dvc repro prepare@rte`",
        ),
        (
            lambda folder: (folder / "new").touch(),
            "data/rte/new: not listed in sha256.txt, so one of the two was modified; run `dvc repro prepare@rte`",
        ),
        (
            lambda folder: (folder / "sha256.txt").unlink(),
            "data/rte/sha256.txt: missing, so the other files cannot be verified; run `dvc repro prepare@rte`",
        ),
        (
            lambda folder: os.truncate(folder / "sha256.txt", 100),
            "data/rte/sha256.txt: modified or truncated; run `dvc repro prepare@rte`",
        ),
        (
            lambda folder: os.truncate(folder / "sha256.txt", 0),
            "data/rte/a b.json: not listed in sha256.txt, so one of the two was modified; run `dvc repro prepare@rte`",
        ),
    ],
)
def test_what_is_missing_or_new_is_named(folder: Path, harm: Callable[[Path], None], message: str) -> None:
    harm(folder)
    with pytest.raises(UserError) as error:
        checksums.verify_checksums(folder, again)
    assert str(error.value) == message


@given(data=st.data())
@settings(
    max_examples=100, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_change_of_any_byte_of_any_file_goes_unseen(folder: Path, data: st.DataObject) -> None:
    shutil.rmtree(folder)
    checksums._compute_cached.cache_clear()  # two examples may fall into one tick of the file system's clock
    file = laid(folder) / data.draw(st.sampled_from([*sorted(FILES), checksums.CHECKSUMS_FILE]))
    content = file.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(st.one_of(st.just(b""), st.binary(min_size=1, max_size=3).filter(lambda b: b[0] != content[at])))
    file.write_bytes(content[:at] + other + content[at + len(other) :] if other else content[:at])
    with pytest.raises(UserError):
        checksums.verify_checksums(folder, again)


def test_what_was_seen_whole_is_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checksums.verify_checksums(folder, again)
    monkeypatch.setattr(checksums, "_compute_sha256", lambda path: pytest.fail(f"{path} read again"))
    checksums.verify_checksums(folder, again)


def test_a_broken_copy_of_dvcs_own_is_named_and_goes_away_as_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n" + (
        "from pathlib import Path\nfrom pipeline.core import checksums\nmade = Path('made')\nmade.mkdir()\n"
        "(made / 'w').write_text('weights')\nchecksums.write_checksums(made)\n"
    )
    (tmp_path / "make.py").write_text(script)
    (tmp_path / "dvc.yaml").write_text(f"stages:\n  it: {{cmd: {sys.executable} make.py, outs: [made]}}\n")

    def dvc(*words: str) -> None:
        subprocess.run([sys.executable, "-m", "dvc", *words, "-q"], cwd=tmp_path, check=True)

    dvc("init", "--no-scm")
    dvc("repro")
    digest = hashlib.md5(b"weights", usedforsecurity=False).hexdigest()
    copy = tmp_path / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    copy.chmod(0o644)
    copy.write_bytes(b"weighty")
    copy.chmod(0o444)
    shutil.rmtree(tmp_path / "made")
    dvc("checkout")  # which does not look at its copy again
    with pytest.raises(UserError) as error:
        checksums.verify_checksums(tmp_path / "made", lambda: "run `dvc repro -s -f it`")
    assert str(error.value) == (
        f"made/w: modified or truncated: its 7 bytes have the SHA-256 {sha(b'weighty')}..., not "
        f"{sha(b'weights')}...; the file in DVC's cache is damaged: `rm -f {copy.relative_to(tmp_path)}`, then run "
        "`dvc repro -s -f it`"
    )
    copy.unlink()
    dvc("repro", "-s", "-f", "it")
    shutil.rmtree(tmp_path / "made")
    dvc("checkout")
    checksums.verify_checksums(tmp_path / "made", lambda: "run `dvc repro -s -f it`")
