"""Joules of a made-up machine: counters that go round, may not be read, or are not there."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from pipeline.evaluation.cost.energy import measured

CPU, GPU = torch.device("cpu"), torch.device("cuda", 1)
RANGE = 262_143_328_850  # of a real Xeon, in microjoules


def zone(powercap: Path, folder: str, name: str, energy: int) -> Path:
    """Write a zone as Linux lays it out and return the file of its counter."""
    at = powercap / folder
    at.mkdir(parents=True)
    (at / "name").write_text(f"{name}\n")
    (at / "max_energy_range_uj").write_text(f"{RANGE}\n")
    (at / "energy_uj").write_text(f"{energy}\n")
    return at / "energy_uj"


def test_joules_are_those_of_all_packages(tmp_path: Path) -> None:
    first = zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    second = zone(tmp_path, "intel-rapl:1", "package-1", 5_000_000)
    with measured(CPU, tmp_path) as meter:
        assert meter.joules is None
        first.write_text("3500000\n")
        second.write_text("5250000\n")
    assert meter.joules == pytest.approx(2.5 + 0.25)


def test_what_lies_in_a_package_or_is_told_twice_is_not_counted_again(tmp_path: Path) -> None:
    zones = [("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core"), ("intel-rapl:0:1", "dram"),
             ("intel-rapl:1", "psys"), ("intel-rapl-mmio:0", "package-0"), ("dtpm:0", "package-0")]  # fmt: skip
    files = [zone(tmp_path, folder, name, 0) for folder, name in zones]
    with measured(CPU, tmp_path) as meter:
        for file in files:
            file.write_text("2000000\n")
    assert meter.joules == pytest.approx(2.0)


def test_a_counter_that_starts_again_has_gone_round(tmp_path: Path) -> None:
    energy = zone(tmp_path, "intel-rapl:0", "package-0", RANGE - 1_000_000)
    with measured(CPU, tmp_path) as meter:
        energy.write_text("500000\n")
    assert meter.joules == pytest.approx(1.5)


def test_joules_are_absent_where_there_is_no_counter(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with measured(CPU, folder) as meter:
            pass
        assert meter.joules is None


def test_joules_are_absent_where_one_counter_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Part of the packages would be too little. Root may read any file, so that permission is refused by hand."""
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    refused = zone(tmp_path, "intel-rapl:1", "package-1", 0)
    opened = Path.read_text

    def guarded(self: Path, *given: object) -> str:
        if self == refused:
            raise PermissionError(13, "Permission denied")
        return opened(self)

    monkeypatch.setattr(Path, "read_text", guarded)
    with measured(CPU, tmp_path) as meter:
        pass
    assert meter.joules is None


@pytest.mark.parametrize("missing", ["name", "max_energy_range_uj", "energy_uj"])
def test_joules_are_absent_where_a_package_is_described_in_part(tmp_path: Path, missing: str) -> None:
    zone(tmp_path, "intel-rapl:0", "package-0", 0)
    zone(tmp_path, "intel-rapl:1", "package-1", 0).with_name(missing).unlink()
    with measured(CPU, tmp_path) as meter:
        pass
    assert meter.joules is None


def test_joules_are_absent_where_a_counter_says_no_number(tmp_path: Path) -> None:
    energy = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    with measured(CPU, tmp_path) as meter:
        energy.write_text("\n")
    assert meter.joules is None


class Nvml:
    """Two GPUs that count millijoules, by the names of NVML."""

    class NVMLError(Exception):
        """What NVML raises."""

    def __init__(self) -> None:
        self.millijoules = {"GPU-aaaa": 10_000, "GPU-bbbb": 70_000}
        self.old = False

    def nvmlInit(self) -> None:
        """Do nothing."""

    def nvmlDeviceGetHandleByUUID(self, identity: str) -> str:
        if identity not in self.millijoules:
            raise self.NVMLError("Not Found")
        return identity

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:
        if self.old:
            raise self.NVMLError("Not Supported")
        return self.millijoules[handle]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    """Be a machine whose second GPU is the one that NVML knows as bbbb."""
    fake = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    identities = {0: "cccc", 1: "bbbb"}
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=identities[device.index])
    )
    return fake


def test_joules_of_a_gpu_are_its_own_and_not_the_processors(nvml: Nvml, tmp_path: Path) -> None:
    package = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    with measured(GPU, tmp_path) as meter:
        package.write_text("9000000\n")
        nvml.millijoules = {"GPU-aaaa": 99_000, "GPU-bbbb": 72_500}
    assert meter.joules == pytest.approx(2.5)


def test_joules_are_absent_where_nvml_does_not_know_the_gpu_or_its_energy(
    nvml: Nvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    with measured(torch.device("cuda", 0)) as meter:
        pass
    assert meter.joules is None
    nvml.old = True
    with measured(GPU) as meter:
        pass
    assert meter.joules is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with measured(GPU) as meter:
        pass
    assert meter.joules is None
