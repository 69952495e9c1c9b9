"""What a trial is made of is looked at before any work: what is not whole is named, with the command that mends it."""

import hashlib
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from pipeline import plan
from pipeline.core import checksums, paths, records
from pipeline.core.errors import UserError
from pipeline.execution import provenance
from tests import fakes

SOURCE = "finetune/mrpc-bert-tiny-0.5-standard"
PLAN = plan.Plan(("mrpc",), ("bert-tiny",), (0.5,), ("standard",), (0,), fakes.NO_BENCHMARK)


@pytest.fixture
def cfg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DictConfig:
    """Return the config of an evaluation in a root that holds its data, its model and its source, all whole."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(plan, "load", lambda: PLAN)
    made = {"data/mrpc": ("summary.json", "{}"), f"runs/{SOURCE}/seed-0": ("config.yaml", "seed: 0\n")}
    made["models/bert-tiny"] = ("source.json", '{"kind": "hub", "id": "a/b", "revision": null}')
    for folder, (name, content) in made.items():
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / name).write_text(content)
        (tmp_path / folder / "big").write_bytes(b"rows or weights")
        checksums.write_checksums(tmp_path / folder)
    record = {"schema": records.SCHEMA, "tags": {"inputs_sha256": "1"}, "trials": []}
    paths.write_json(tmp_path / "metrics" / f"{SOURCE}.json", records.sign(record))
    known = {"task": {"name": "mrpc"}, "model": {"name": "bert-tiny"}, "cell": "mrpc-bert-tiny-0.5-standard", "seed": 0}
    return OmegaConf.create({**known, "exploration": False, "source": SOURCE})


def begin(cfg: DictConfig) -> None:
    provenance.make_identity("evaluate", provenance.merge_source_config(cfg))


def test_a_trial_of_whole_things_begins(cfg: DictConfig, tmp_path: Path) -> None:
    begin(cfg)
    identity = provenance.make_identity("evaluate", cfg)
    assert identity.tags["source_sha256"] == records.read_record(tmp_path / "metrics" / f"{SOURCE}.json")["sha256"]


@pytest.mark.parametrize(
    ("folder", "remedy"),
    [
        ("data/mrpc", "run `dvc repro -s -f prepare@mrpc`"),
        ("models/bert-tiny", "run `dvc repro -s -f pretrain@bert-tiny`"),
        (
            f"runs/{SOURCE}/seed-0",
            "run `dvc repro -s -f finetune@mrpc-bert-tiny-0.5-standard`",
        ),
    ],
)
def test_what_is_not_whole_is_named_before_any_work(cfg: DictConfig, tmp_path: Path, folder: str, remedy: str) -> None:
    (tmp_path / folder / "big").write_bytes(b"rows or weighty")
    with pytest.raises(UserError) as error:
        begin(cfg)
    got, expected = (hashlib.sha256(word).hexdigest()[:12] for word in (b"rows or weighty", b"rows or weights"))
    assert str(error.value) == (
        f"{folder}/big: modified or truncated: its 15 bytes have the SHA-256 {got}..., not {expected}...; {remedy}"
    )


def test_a_source_outside_the_plan_is_to_be_run_again(cfg: DictConfig, tmp_path: Path) -> None:
    (tmp_path / "runs" / SOURCE).rename(tmp_path / "runs" / "finetune" / "other")
    (tmp_path / "runs" / "exploration").mkdir()
    (tmp_path / "runs" / "finetune").rename(tmp_path / "runs" / "exploration" / "finetune")
    (tmp_path / "runs/exploration/finetune/other/seed-0/config.yaml").unlink()
    with pytest.raises(UserError) as error:
        provenance.find_source_dir("exploration/finetune/other", 0)
    assert str(error.value) == (
        "runs/exploration/finetune/other/seed-0/config.yaml: missing, but listed in sha256.txt; "
        "run finetune with this seed again"
    )


def test_the_record_of_a_source_is_looked_at_as_well(cfg: DictConfig, tmp_path: Path) -> None:
    path = tmp_path / "metrics" / f"{SOURCE}.json"
    path.write_text(path.read_text().replace('"1"', '"2"'))
    with pytest.raises(UserError) as error:
        begin(cfg)
    assert str(error.value) == (
        f"metrics/{SOURCE}.json: changed: its sha256 does not match its content; remove it, then run `dvc repro`"
    )
