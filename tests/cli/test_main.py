"""The command `lab`: help of one screen, a light start, and one line for a mistake."""

import subprocess
import sys

import pytest

from pipeline.cli import main
from pipeline.core import paths

COMMANDS = ("check", "status", "run", "recommend", "flops", "export", "ui", "sync", "split", "clean")


def run_lab(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli.main", *words]
    return subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False)


def call_lab(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    """Run `lab` in this process and return what it exits with: a status or a message."""
    monkeypatch.setattr(sys, "argv", ["lab", *words])
    with pytest.raises(SystemExit) as end:
        main.main()
    return end.value.code


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_lists_every_command(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not call_lab(monkeypatch, *words)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    listed = [line.split()[0] for line in lines[lines.index("Commands:") + 1 :]]
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_fits_one_screen_and_shows_an_example(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not call_lab(monkeypatch, command, "--help")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("  Example: ") and f"lab {command}" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["chek"], "No such command 'chek'. Did you mean 'check'?; `lab --help` lists what is allowed"),
        (["check", "now"], "Got unexpected extra argument(s) (now); `lab check --help` lists what is allowed"),
        (["flops"], "Missing argument 'model'; `lab flops --help` lists what is allowed"),
        (["run", "--jobs", "0"], "--jobs: got '0'; give a whole number from 1 to 1024"),
        (["run", "--jobs", "two"], "--jobs: got 'two'; give a whole number from 1 to 1024"),
        (["run", "--jobs", "-1"], "--jobs: got '-1'; give a whole number from 1 to 1024"),
        (["run", "--jobs", "1025"], "--jobs: got '1025'; give a whole number from 1 to 1024"),
        (["run", "--jobs", "²"], "--jobs: got '²'; give a whole number from 1 to 1024"),
        (["flops", "bert-tiny", "--batch", "1.5"], "--batch: got '1.5'; give a whole number from 1 to 9999"),
        (["flops", "bert-tiny", "--lenght", "3"],
         "No such option: --lenght (Possible options: --length); `lab flops --help` lists what is allowed"),
        (["ui", "--port", "80"], "--port: got '80'; give a whole number from 1024 to 65535"),
        (["export", "a", "--seed", "x"], "--seed: got 'x'; give a whole number from 0 to 4294967295"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_mistake_is_one_line(words: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call_lab(monkeypatch, *words) == f"error: {message}"


def test_a_mistake_ends_the_process_with_a_status_and_no_traceback() -> None:
    done = run_lab("run", "--jobs", "2\n3")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == r"error: --jobs: got '2\n3'; give a whole number from 1 to 1024" + "\n"


@pytest.mark.parametrize("words", [["--help"], ["check"], ["run", "--help"]])
def test_a_short_command_imports_no_torch(words: list[str]) -> None:
    program = (
        "import sys\nfrom pipeline.cli import main\n"
        f"sys.argv = ['lab', *{words!r}]\n"
        "try:\n    main.main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'torch', 'transformers', 'mlflow', 'dvc', 'pandas'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], cwd=paths.ROOT, check=True, capture_output=True)
