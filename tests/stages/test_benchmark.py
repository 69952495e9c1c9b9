"""The precision that a benchmark uses, records and names in the terminal."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.evaluation.cost import step_scaling
from pipeline.stages.benchmark import benchmark
from tests.conftest import drop_waits

from .conftest import Configure, Told

QUICK = ("task=rte", "model=bert-tiny", "batch=4", "at_most=0.01", "latency.calls=2")
OLD = "avx2 fma"


@pytest.fixture(autouse=True)
def nothing_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the part that takes longest and has other tests."""
    monkeypatch.setattr(step_scaling, "growth", lambda *_: [])


def measured(configured: Configure, tmp_path: Path, *words: str) -> tuple[dict[str, Any], list[str]]:
    """Return the result of a benchmark and the lines that it printed."""
    log = Told()
    return benchmark(configured("benchmark", *QUICK, *words), tmp_path, log), drop_waits(log.lines)


@pytest.mark.parametrize(("flags", "used"), [(OLD, "fp32"), ("avx512_bf16", "bf16")])
def test_without_a_named_precision_the_fastest_one_is_used_and_recorded(
    laboratory: Path, configured: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, used: str
) -> None:
    monkeypatch.setenv("LAB_CPU_FLAGS", flags)
    cfg = configured("benchmark", *QUICK)
    assert cfg.cell == "bert-tiny-1-1-auto-4"
    result, lines = measured(configured, tmp_path)
    assert (result["precision"], result["precision_emulated"], lines) == (used, False, [])
    assert 0 < result.get("train_utilisation", 1) <= 1  # none where the machine was disturbed


def test_a_forced_bf16_without_instructions_is_named_in_the_record_and_the_terminal(
    laboratory: Path, configured: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAB_CPU_FLAGS", OLD)
    result, lines = measured(configured, tmp_path, "precision=bf16")
    assert (result["precision"], result["precision_emulated"]) == ("bf16", True)
    assert lines == ["bf16 is emulated: this cpu has no instructions for it; give precision=auto"]
    assert not [name for name in result if "utilisation" in name]
