"""A whole cell on two nodes by torchrun: two hosts with a cable between them, where the kernel grants such."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.system import hardware
from tests.conftest import ROOT
from tests.training import together

from .conftest import CELL, SEEDS, edit, free_port

REAL = '''"""finetune: the real training of a small BERT on few examples."""
from safetensors.torch import save_file
from pipeline.execution import entry
from pipeline.system import distributed, hardware
from tests.training import together

def finetune(cfg, out, log):
    hardware.get_fastest_precision = lambda at: "fp32"
    told = together.plain()
    save_file({name: weight.clone() for name, weight in told.model.state_dict().items()}, out / "model.safetensors")
    return {"score": told.result["selection_loss"], "processes": distributed.get_group().size}

if __name__ == "__main__":
    entry.run_stage(finetune)
'''
NAMES = (f"lab{os.getpid() % 10000}a", f"lab{os.getpid() % 10000}b")


def ip(*words: str) -> bool:
    return subprocess.run(["ip", *words], capture_output=True, check=False).returncode == 0


@pytest.fixture
def hosts() -> Iterator[tuple[str, list[list[str]]]]:
    """Return the first node's address, and what a command begins with that runs on each of the two."""
    one, other = NAMES
    try:
        granted = all(
            (
                *(ip("netns", "add", name) for name in NAMES),
                ip("link", "add", one, "netns", one, "type", "veth", "peer", "name", other, "netns", other),
                *(ip("-n", name, "addr", "add", f"10.77.0.{n}/24", "dev", name) for n, name in enumerate(NAMES, 1)),
                *(ip("-n", name, "link", "set", device, "up") for name in NAMES for device in (name, "lo")),
            )
        )
    except FileNotFoundError:  # no iproute2 here
        granted = False
    if granted:
        yield "10.77.0.1", [["ip", "netns", "exec", n, "env", f"GLOO_SOCKET_IFNAME={n}"] for n in NAMES]
    else:
        yield "127.0.0.1", [["env", "GLOO_SOCKET_IFNAME=lo"]] * 2
    for name in NAMES:
        if Path("/run/netns", name).exists():
            ip("netns", "del", name)


def test_two_nodes_train_what_one_process_trains(
    laboratory: Path, hosts: tuple[str, list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (laboratory / "pipeline/stages/finetune.py").write_text(REAL)
    edit(laboratory / "params.yaml", lambda plan: plan.update(seeds=[0]))
    address, begins = hosts
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    place = [f"--master-addr={address}", f"--master-port={free_port()}"]
    nodes = [
        subprocess.Popen(
            [*begin, *torchrun, f"--node-rank={rank}", *place, "-m", "pipeline.stages.finetune", *SEEDS],
            cwd=laboratory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "LAB_LAUNCHER": "cores"},  # which is for cells that DVC runs
        )
        for rank, begin in enumerate(begins)
    ]  # fmt: skip
    first, second = (node.communicate(timeout=300) for node in nodes)
    assert [node.returncode for node in nodes] == [0, 0], first[1] + second[1]
    assert first[0].startswith(f"finetune {CELL}: 1 seed in ")
    assert second[0] == ""  # the first node tells
    (trial,) = json.loads((laboratory / f"metrics/finetune/{CELL}.json").read_text())["trials"]
    assert trial["processes"] == 2
    monkeypatch.setattr(hardware, "get_fastest_precision", lambda at: "fp32")
    alone = together.plain().model.state_dict()
    made = load_file(laboratory / f"runs/finetune/{CELL}/seed-0/model.safetensors")
    assert made.keys() == alone.keys()
    for name, weight in alone.items():
        if not name.endswith("key.bias"):  # it shifts all scores of a query alike: its gradient is a rounding error
            torch.testing.assert_close(made[name], weight, rtol=1e-4, atol=1e-5)
