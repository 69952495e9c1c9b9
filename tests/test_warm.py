import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import warm

PROBE = '''"""A command that tells where it ran."""
import json, os, sys, time
from pipeline import warm

def main():
    print(json.dumps([sys.argv[1:], os.environ.get("DVC_STAGE"), "ready" in sys.modules, os.getppid()]), flush=True)
    if "sleep" in sys.argv:
        time.sleep(60)
    sys.exit(3 if "fail" in sys.argv else "error: one line" if "say" in sys.argv else 0)

if __name__ == "__main__":
    warm.call(main)
'''


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Return a folder with a package whose warm server preloads one marker module and idles for long."""
    package = tmp_path / "pipeline"
    package.mkdir()
    source = Path(warm.__file__).read_text(encoding="utf-8")
    start, end = source.index("PRELOAD = ("), source.index(")\n", source.index("PRELOAD = ("))
    (package / "warm.py").write_text(source[:start] + 'PRELOAD = ("ready",' + source[end:])
    (package / "__init__.py").touch()
    (package / "probe.py").write_text(PROBE)
    (tmp_path / "ready.py").touch()
    yield tmp_path
    subprocess.run(["pkill", "-f", f"{sys.executable} -m pipeline.warm"], check=False)


def command(place: Path, *words: str, stage: str = "a@b") -> subprocess.Popen[str]:
    environment = {**os.environ, "LAB_WARM": "1", "DVC_STAGE": stage, "TMPDIR": str(place)}
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.probe", *words],
        cwd=place,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def outcome(place: Path, *words: str, stage: str = "a@b") -> tuple[str, str, int]:
    with command(place, *words, stage=stage) as process:
        out, complaint = process.communicate()
    return out, complaint, process.returncode


def warmed(place: Path) -> None:
    deadline = time.monotonic() + 20
    while '"a@b", true' not in outcome(place)[0]:
        assert time.monotonic() < deadline, "no warm server came up"
        time.sleep(0.1)


def test_the_first_command_works_cold_and_later_ones_in_a_fork(place: Path) -> None:
    assert outcome(place, "x")[0].startswith('[["x"], "a@b", false,')
    warmed(place)
    assert outcome(place, "y", "z", stage="c@d")[0].startswith('[["y", "z"], "c@d", true,')


def test_status_and_last_words_come_back(place: Path) -> None:
    warmed(place)
    assert outcome(place, "fail")[2] == 3
    assert outcome(place, "say")[1:] == ("error: one line\n", 1)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_reaches_the_work(place: Path, number: signal.Signals, status: int) -> None:
    warmed(place)
    with command(place, "sleep") as sleeping:
        assert sleeping.stdout is not None
        sleeping.stdout.readline()
        sleeping.send_signal(number)
        assert sleeping.wait(timeout=5) == status


def test_work_ends_with_the_client_that_asked_for_it(place: Path) -> None:
    warmed(place)
    with command(place, "sleep") as sleeping:
        assert sleeping.stdout is not None
        sleeping.stdout.readline()
        sleeping.kill()
        assert sleeping.stdout.read() == ""  # the pipe closes once the fork, its last writer, is gone
    assert '"a@b", true' in outcome(place)[0]


def test_a_folder_that_others_can_enter_is_refused(place: Path) -> None:
    (place / f"scaling-lab-{os.getuid()}").mkdir(mode=0o777)
    (place / f"scaling-lab-{os.getuid()}").chmod(0o777)
    folder = place / f"scaling-lab-{os.getuid()}"
    message = f"error: {folder} is open to other users; remove it, or set LAB_WARM=0\n"
    assert outcome(place)[1:] == (message, 1)


def test_only_one_server_is_started_however_many_commands_come_before_it_is_ready(place: Path) -> None:
    (place / "ready.py").write_text("import time; time.sleep(2)\n")
    for _ in range(3):
        assert '"a@b", false' in outcome(place)[0]
    servers = subprocess.run(
        ["pgrep", "-f", "-c", f"{sys.executable} -m pipeline.warm"], capture_output=True, text=True
    )
    assert servers.stdout == "1\n"
