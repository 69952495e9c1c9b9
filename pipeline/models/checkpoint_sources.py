"""Where pre-trained weights come from: the functions that `source._target_` of a conf/model file can name.

A source is a plain function that is given ``out`` (and ``log`` where it takes one), leaves a Hugging Face directory
there (``config.json``, ``model.safetensors``, tokenizer files) and returns what it is: ``kind``, ``id`` and
``revision``, and whatever numbers it has to tell. ``pipeline.training.pretrain_model.scratch`` is one more of them.
A mirror is asked before any of them. Only safetensors are read: a pickle may run code when it is opened.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.data import hub as remote
from pipeline.data import mirror
from pipeline.models.model_files import CONFIG, TOKENIZER, TOKENIZER_CONFIG, WEIGHTS, load_json

Origin = Mapping[str, Any]

# What a fast tokenizer can be made of where the checkpoint has no tokenizer.json.
VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt", "spiece.model", "special_tokens_map.json", "added_tokens.json")
FILES = (CONFIG, WEIGHTS, TOKENIZER, TOKENIZER_CONFIG, *VOCABULARIES)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".ot")


def hub(repo: str, revision: str, out: Path) -> Origin:
    """Fetch a checkpoint of the Hub at a commit (or a branch or `refs/pr/1`, of which the commit is told).

    Raises hub.Away when the Hub does not answer, UserError when there are no safetensors at that commit.
    """
    if not remote.offline():
        _check_safetensors(remote.names(repo, revision, "model"), f"{repo} at {revision[:12]}")
    fetched = remote.ask(f"{repo} at {revision[:12]}", lambda: _fetch_snapshot(repo, revision))
    _copy_checkpoint(fetched, out, f"{repo} at {revision[:12]}")
    return {"kind": "hub", "id": repo, "revision": fetched.name}


def _fetch_snapshot(repo: str, revision: str) -> Path:
    """Return the folder of the client's cache that holds the files of a commit; it bears the commit's name."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(repo, revision=revision, allow_patterns=list(FILES)))


def directory(path: str, out: Path, sha256: str | None = None) -> Origin:
    """Copy a checkpoint from a folder, such as ``inputs/my-encoder`` of the project.

    A changed file makes `pretrain` run again by itself. ``sha256`` is that of the weights, to be sure which ones they
    are: others are refused.

    Raises UserError when it is not there, holds no safetensors, or holds others than ``sha256`` says, and where a file
    leads out of the folder: what a checkpoint from elsewhere links to is not its own.
    """
    folder = paths.ROOT / path
    if not folder.is_dir():
        raise UserError(
            f"conf/model: source.path: got {path!r}, but the project has no such folder; give one, such as "
            f"inputs/<name>, that holds {CONFIG}, {WEIGHTS} and a tokenizer"
        )
    for name in FILES:
        _check_file(folder, name, path)
    _copy_checkpoint(folder, out, path)
    if sha256 is not None and (found := _compute_sha256(out / WEIGHTS)) != sha256:
        raise UserError(
            f"conf/model: source.sha256: got {sha256}, but {WEIGHTS} of {path} has {found}; "
            "put the weights back that were there, or write the new digest if they are meant to be others"
        )
    return {"kind": "directory", "id": path, "revision": None}


def _check_file(folder: Path, name: str, where: str) -> None:
    file = folder / name
    own = file.is_file() and file.resolve().is_relative_to(folder.resolve())
    if not own and (file.exists() or file.is_symlink()):
        raise UserError(f"{where}: {name} leads out of its folder or is no plain file; put the file itself there")


def fetch_checkpoint(name: str, place: str | None, out: Path, source: Callable[[], Origin]) -> Origin:
    """Fill ``out`` with the checkpoint of a model from the mirror at ``place``, or else from its source.

    Raises UserError when neither has it, or what they have cannot be used.
    """
    folder = mirror.find(place, "models", name)
    if folder:
        _copy_checkpoint(folder, out, f"mirror {place}: models/{name}")
        return {"kind": "mirror", "id": f"models/{name}", "revision": None}
    try:
        return source()
    except remote.Away as away:
        raise UserError(f"{away}; {mirror.advice(place, 'models', name)}") from None


def _copy_checkpoint(folder: Path, out: Path, where: str) -> None:
    """Copy what belongs to a checkpoint, and make the tokenizer's fast form where there is only its vocabulary.

    Raises UserError without safetensors, or where the checkpoint would have code of its own run.
    """
    _check_safetensors([path.name for path in folder.iterdir()], where)
    for name in FILES:
        if (folder / name).exists():
            shutil.copyfile(folder / name, out / name)
    for name in (CONFIG, TOKENIZER_CONFIG):
        load_json(out / name, where)
    if not (out / TOKENIZER).exists() or not (out / TOKENIZER_CONFIG).exists():
        _create_tokenizer(out, where)
    for name in VOCABULARIES:
        (out / name).unlink(missing_ok=True)


def _check_safetensors(names: Sequence[str], where: str) -> None:
    if CONFIG not in names:
        raise UserError(f"{where}: no {CONFIG} among {', '.join(sorted(names)) or 'no files'}; a checkpoint has one")
    if WEIGHTS in names:
        return
    if f"{WEIGHTS}.index.json" in names:
        raise UserError(f"{where}: weights in several files; save them as one {WEIGHTS}, in a mirror or a folder")
    pickles = [name for name in names if name.endswith(PICKLES)]
    raise UserError(
        f"{where}: no {WEIGHTS}, only {', '.join(sorted(pickles)) or 'no weights at all'}; pickles are not opened: "
        f"name a revision that holds safetensors (such as a conversion's refs/pr/1), or put {WEIGHTS} into a mirror"
    )


def _create_tokenizer(out: Path, where: str) -> None:
    """Make tokenizer.json and tokenizer_config.json of a vocabulary."""
    from transformers.models.auto.tokenization_auto import AutoTokenizer

    try:
        AutoTokenizer.from_pretrained(out, local_files_only=True).save_pretrained(out)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"{where}: no tokenizer can be made of its files ({str(error).splitlines()[0]})") from None


def read_weights(out: Path) -> dict[str, Any]:
    """Return what lies in ``out``: SHA-256 and bytes of the weights, parameters, types, and tensors by module.

    Read from the file's header alone: safetensors begins with the length of a JSON object of names, types and shapes.
    Whole numbers are buffers of old checkpoints and no parameters.

    Raises UserError when the file is no safetensors, or has been cut short.
    """
    tensors = _read_header(out / WEIGHTS)
    return {
        "sha256": _compute_sha256(out / WEIGHTS),
        "bytes": (out / WEIGHTS).stat().st_size,
        "parameters": _count_parameters(tensors),
        "types": sorted({tensor["dtype"] for tensor in tensors.values()}),
        "modules": dict(sorted(_count_modules(list(tensors)).items())),
    }


def count_parameters(path: Path) -> int:
    """Return how many parameters a file of weights holds, read as ``weights`` does."""
    return _count_parameters(_read_header(path))


def _count_parameters(tensors: Mapping[str, Mapping[str, Any]]) -> int:
    return sum(prod(tensor["shape"]) for tensor in tensors.values() if "F" in tensor["dtype"])


def _compute_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_header(path: Path) -> dict[str, dict[str, Any]]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        text = file.read(min(length, size))
    try:
        tensors = {name: tensor for name, tensor in json.loads(text).items() if name != "__metadata__"}
    except ValueError:
        raise UserError(
            f"{WEIGHTS}: {size} bytes that are no safetensors; fetch the file itself, not a pointer to it"
        ) from None
    end = 8 + length + max(tensor["data_offsets"][1] for tensor in tensors.values())
    if size < end:
        raise UserError(f"{WEIGHTS}: {size} bytes of {end}; the file was cut short, fetch it again")
    return tensors


def _count_modules(names: Sequence[str]) -> Counter[str]:
    """Count tensors by module, such as embeddings, encoder, pooler, cls; the encoder's own name is taken off."""
    encoder = {name.partition("embeddings.")[0] for name in names if ".embeddings." in f".{name}"}
    prefix = min(encoder, default="", key=len)
    return Counter(name.removeprefix(prefix).partition(".")[0] for name in names)


def list_remarks(drawn: Sequence[str], unused: Sequence[str]) -> list[str]:
    """Return a line for each way in which fine-tuning departs from a checkpoint.

    ``drawn`` and ``unused`` are the modules that opening it as a classifier drew at random or left out.
    """
    lines = []
    if any(name.endswith(".pooler") for name in drawn):
        lines.append("no pooler among the weights: fine-tuning starts one from its seed")
    if heads := sorted({name.partition(".")[0] for name in unused if "pooler" not in name.split(".")}):
        lines.append(f"heads of other tasks among the weights, left out by fine-tuning: {', '.join(heads)}")
    return lines
