"""Wherever weights come from, the folder has one shape; what is not safetensors or would run code is refused."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers.models.auto.configuration_auto import AutoConfig
from transformers.models.auto.modeling_auto import AutoModel

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.data import hub as remote
from pipeline.models import checkpoint_sources, load_model

COMMIT = "30b0a37ccaaa32f332884b96992754e246e48c5f"
SHAPE = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


class Hub:
    """A Hub that holds one checkpoint at one commit, in place of the client's questions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder = folder
        self.downloads: list[dict[str, Any]] = []
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setattr("huggingface_hub.HfApi.model_info", self.info)
        monkeypatch.setattr("huggingface_hub.snapshot_download", self.download)

    def info(self, repo: str, *, revision: str, timeout: float) -> Any:
        file = type("File", (), {})
        files = []
        for path in sorted(self.folder.iterdir()):
            files.append(file())
            files[-1].rfilename = path.name
        return type("Info", (), {"siblings": files})()

    def download(self, repo: str, **options: Any) -> str:
        self.downloads.append({"repo": repo, **options})
        snapshot = self.folder.parent / "snapshots" / COMMIT
        shutil.copytree(self.folder, snapshot)
        return str(snapshot)


def unasked() -> dict[str, Any]:
    raise AssertionError("the source was called although the mirror has the model")


def away() -> dict[str, Any]:
    raise remote.Away("some/repository at 0123: nothing came from the Hub (ConnectError: no network)")


def shape(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refusal(folder: Path, out: Path) -> str:
    with pytest.raises(UserError) as error:
        checkpoint_sources.directory(str(folder), out)
    return str(error.value)


def test_a_checkpoint_of_the_hub_is_fetched_at_its_commit(
    checkpoint: Any, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoint()
    (folder / "pytorch_model.bin").write_text("a pickle")
    hub = Hub(monkeypatch, folder)
    assert checkpoint_sources.hub("google/tiny", COMMIT, out) == {
        "kind": "hub",
        "id": "google/tiny",
        "revision": COMMIT,
    }
    assert [(each["repo"], each["revision"]) for each in hub.downloads] == [("google/tiny", COMMIT)]
    assert not any(name.endswith(".bin") for name in hub.downloads[0]["allow_patterns"])
    assert shape(out) == SHAPE


def test_a_branch_of_the_hub_is_told_as_the_commit_it_was(
    checkpoint: Any, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Hub(monkeypatch, checkpoint())
    assert checkpoint_sources.hub("google/tiny", "main", out)["revision"] == COMMIT


def test_a_repository_without_safetensors_is_refused_before_anything_is_fetched(
    checkpoint: Any, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoint()
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    hub = Hub(monkeypatch, folder)
    with pytest.raises(UserError) as error:
        checkpoint_sources.hub("google/tiny", COMMIT, out)
    assert str(error.value) == (
        "google/tiny at 30b0a37ccaaa: no model.safetensors, only pytorch_model.bin; pickles are not opened: name a "
        "revision that holds safetensors (such as a conversion's refs/pr/1), or put model.safetensors into a mirror"
    )
    assert hub.downloads == []


def test_a_hub_out_of_reach_is_told_after_one_question(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: pytest.fail("tried again"))
    with pytest.raises(remote.Away) as error:
        checkpoint_sources.hub("google/tiny", COMMIT, out)
    assert str(error.value) == (
        "google/tiny at 30b0a37ccaaa: nothing came from the Hub (OSError: Name or service not known)"
    )


def test_kept_offline_only_the_cache_of_the_client_is_asked(
    checkpoint: Any, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(monkeypatch, checkpoint())
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: pytest.fail("the Hub was called"))
    assert checkpoint_sources.hub("google/tiny", COMMIT, out)["revision"] == COMMIT
    assert len(hub.downloads) == 1


def test_the_mirror_is_asked_before_the_source(checkpoint: Any, out: Path, tmp_path: Path) -> None:
    checkpoint("mirror/models/mine")
    origin = checkpoint_sources.fetch_checkpoint("mine", str(tmp_path / "mirror"), out, unasked)
    assert origin == {"kind": "mirror", "id": "models/mine", "revision": None}
    assert shape(out) == SHAPE


def test_a_model_that_neither_mirror_nor_hub_has_is_told_with_what_to_do(out: Path, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    with pytest.raises(UserError) as error:
        checkpoint_sources.fetch_checkpoint("mine", str(mirror), out, away)
    assert str(error.value) == (
        "some/repository at 0123: nothing came from the Hub (ConnectError: no network); "
        f"the mirror {mirror} has no models/mine/ either; put it there, or go online"
    )


def test_a_folder_of_the_project_is_copied_byte_by_byte(
    checkpoint: Any, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoint("starter/tiny", half=True)
    (folder / "curves.jsonl").write_text("{}")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    origin = checkpoint_sources.directory("starter/tiny", out)
    assert origin == {"kind": "directory", "id": "starter/tiny", "revision": None}
    assert shape(out) == SHAPE
    assert (out / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


def test_a_tokenizer_is_made_where_there_is_only_a_vocabulary(checkpoint: Any, out: Path) -> None:
    folder = checkpoint()
    pieces = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in sorted(pieces, key=pieces.get)))
    expected = load_model.load_pretrained(folder).tokenizer("A b", "c")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    checkpoint_sources.directory(str(folder), out)
    assert shape(out) == SHAPE
    assert dict(load_model.load_pretrained(out).tokenizer("A b", "c")) == dict(expected)


@pytest.mark.parametrize(
    ("removed", "reason"),
    [
        ("config.json",
         "no config.json among model.safetensors, tokenizer.json, tokenizer_config.json; a checkpoint has one"),
        ("model.safetensors", "no model.safetensors, only no weights at all; pickles are not opened: name a revision "
         "that holds safetensors (such as a conversion's refs/pr/1), or put model.safetensors into a mirror"),
    ],
)  # fmt: skip
def test_an_incomplete_checkpoint_is_refused(checkpoint: Any, out: Path, removed: str, reason: str) -> None:
    folder = checkpoint()
    (folder / removed).unlink()
    assert refusal(folder, out) == f"{folder}: {reason}"


def test_weights_in_several_files_are_refused(checkpoint: Any, out: Path) -> None:
    folder = checkpoint()
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    (folder / "model.safetensors.index.json").write_text("{}")
    assert refusal(folder, out) == (
        f"{folder}: weights in several files; save them as one model.safetensors, in a mirror or a folder"
    )


def test_a_checkpoint_that_brings_code_is_refused(checkpoint: Any, out: Path) -> None:
    folder = checkpoint()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "theirs.Model"}}))
    assert refusal(folder, out) == (
        f"{folder}: config.json requires custom code (auto_map), which is never run here; "
        "name a checkpoint of an architecture that transformers has itself"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"),
        ("[]", "holds list, no JSON object"),
    ],
)
def test_a_config_that_is_no_object_is_refused(checkpoint: Any, out: Path, text: str, reason: str) -> None:
    folder = checkpoint()
    (folder / "config.json").write_text(text)
    assert refusal(folder, out) == f"{folder}: config.json {reason}; fetch the file again"


def test_a_folder_that_is_not_there_is_told(out: Path) -> None:
    with pytest.raises(UserError) as error:
        checkpoint_sources.directory("starter/absent", out)
    assert str(error.value) == (
        "conf/model: source.path: got 'starter/absent', but the project has no such folder; give one, such as "
        "inputs/<name>, that holds config.json, model.safetensors and a tokenizer"
    )


def test_weights_are_those_of_the_digest_or_refused(checkpoint: Any, out: Path) -> None:
    folder = checkpoint()
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert checkpoint_sources.directory(str(folder), out, sha256=digest)["kind"] == "directory"
    with pytest.raises(UserError) as error:
        checkpoint_sources.directory(str(folder), out, sha256="0123")
    assert str(error.value) == (
        f"conf/model: source.sha256: got 0123, but model.safetensors of {folder} has {digest}; "
        "put the weights back that were there, or write the new digest if they are meant to be others"
    )


def test_the_weights_are_described_by_their_header(checkpoint: Any) -> None:
    folder = checkpoint(kind="pretraining", half=True)
    tensors = load_file(folder / "model.safetensors")
    described = checkpoint_sources.read_weights(folder)
    assert described["sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert described["bytes"] == (folder / "model.safetensors").stat().st_size
    assert described["parameters"] == sum(tensor.numel() for tensor in tensors.values())
    assert described["types"] == ["F16"]
    assert described["modules"] == {"cls": 7, "embeddings": 5, "encoder": 32, "pooler": 2}


def test_a_pointer_in_place_of_the_weights_is_told(out: Path) -> None:
    (out / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    with pytest.raises(UserError) as error:
        checkpoint_sources.read_weights(out)
    assert str(error.value) == (
        "model.safetensors: 57 bytes that are no safetensors; fetch the file itself, not a pointer to it"
    )


def test_weights_that_were_cut_short_are_told(checkpoint: Any) -> None:
    file = checkpoint() / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    with pytest.raises(UserError) as error:
        checkpoint_sources.read_weights(file.parent)
    assert str(error.value) == (
        f"model.safetensors: {len(whole) - 10} bytes of {len(whole)}; the file was cut short, fetch it again"
    )


def test_buffers_of_whole_numbers_are_no_parameters(checkpoint: Any) -> None:
    folder = checkpoint()
    before = checkpoint_sources.read_weights(folder)["parameters"]
    tensors = load_file(folder / "model.safetensors") | {"embeddings.position_ids": torch.arange(32)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert checkpoint_sources.read_weights(folder)["parameters"] == before


def remarks(folder: Path) -> list[str]:
    notes = load_model.load_pretrained(folder).notes
    return checkpoint_sources.list_remarks(notes.initialised, notes.unused)


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("plain", []),
        ("without pooler", ["no pooler among the weights: fine-tuning starts one from its seed"]),
        ("pretraining", ["heads of other tasks among the weights, left out by fine-tuning: cls"]),
    ],
)
def test_what_fine_tuning_will_make_of_a_checkpoint_is_said(checkpoint: Any, kind: str, lines: list[str]) -> None:
    assert remarks(checkpoint(kind=kind)) == lines


WIDTH = {"vocab_size": 31, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
FAMILIES = {
    "distilbert": {"vocab_size": 31, "dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 8},
    "albert": WIDTH | {"embedding_size": 4},
    "roberta": WIDTH,
    "electra": WIDTH | {"embedding_size": 4},
    "deberta-v2": WIDTH | {"relative_attention": True},
    "modernbert": WIDTH | {f"{kind}_token_id": 0 for kind in ("pad", "bos", "eos", "cls", "sep")},
    "mpnet": WIDTH,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_no_part_of_an_encoder_is_reported_as_missing_or_as_a_head(checkpoint: Any, family: str) -> None:
    folder = checkpoint()
    AutoModel.from_config(AutoConfig.for_model(family, **FAMILIES[family])).save_pretrained(folder)
    assert remarks(folder) == []


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "parameters", "lines"),
    [
        ("all-MiniLM-L6-v2", 22_713_216, []),
        ("paraphrase-MiniLM-L3-v2", 17_241_984, ["no pooler among the weights: fine-tuning starts one from its seed"]),
        ("bert-tiny-splade", 4_416_698, [
            "no pooler among the weights: fine-tuning starts one from its seed",
            "heads of other tasks among the weights, left out by fine-tuning: cls",
        ]),
    ],
)  # fmt: skip
def test_real_checkpoints_take_the_shape(shared: Path, out: Path, name: str, parameters: int, lines: list[str]) -> None:
    checkpoint_sources.fetch_checkpoint(name, str(shared), out, unasked)
    assert shape(out) == SHAPE
    described = checkpoint_sources.read_weights(out)
    assert described["parameters"] == parameters
    assert remarks(out) == lines
