"""Sources of pre-trained weights: functions that `source._target_` of a conf/model file can name.

A source receives ``out`` (and ``log`` if it has such a parameter) and writes a Hugging Face directory there:
``config.json``, ``model.safetensors`` and tokenizer files. It returns ``kind``, ``id`` and ``revision`` of the
checkpoint, and optional numbers. ``pipeline.training.pretrain_model.train_from_scratch`` is another. A mirror is tried
before any source. Only safetensors are read, because loading a pickle can run code.
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

# Files from which a fast tokenizer is converted if the checkpoint has no tokenizer.json.
VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt", "spiece.model", "special_tokens_map.json", "added_tokens.json")
FILES = (CONFIG, WEIGHTS, TOKENIZER, TOKENIZER_CONFIG, *VOCABULARIES)
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".ot")


def hub(repo: str, revision: str, out: Path) -> Origin:
    """Fetch a checkpoint from the Hub at a commit, branch or `refs/pr/1`; the result contains the commit.

    Raises hub.Away when the Hub does not answer, UserError when there are no safetensors at that commit.
    """
    if not remote.offline():
        _check_safetensors(remote.names(repo, revision, "model"), f"{repo} at {revision[:12]}")
    fetched = remote.ask(f"{repo} at {revision[:12]}", lambda: _fetch_snapshot(repo, revision))
    _copy_checkpoint(fetched, out, f"{repo} at {revision[:12]}")
    return {"kind": "hub", "id": repo, "revision": fetched.name}


def _fetch_snapshot(repo: str, revision: str) -> Path:
    """Return the folder of the client's cache with the files of a commit; its name is the commit."""
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(repo, revision=revision, allow_patterns=list(FILES)))


def directory(path: str, out: Path, sha256: str | None = None) -> Origin:
    """Copy a checkpoint from a folder of the project, such as ``inputs/my-encoder``.

    DVC runs `pretrain` again after a file changes. ``sha256`` is the expected digest of the weights.

    Raises UserError if the folder or its safetensors are missing, the digest differs, or a file links out of the
    folder.
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
    if sha256 is not None and (digest := _compute_sha256(out / WEIGHTS)) != sha256:
        raise UserError(
            f"conf/model: source.sha256: got {sha256}, but {WEIGHTS} of {path} has {digest}; "
            "put the weights back that were there, or write the new digest if they are meant to be others"
        )
    return {"kind": "directory", "id": path, "revision": None}


def _check_file(folder: Path, name: str, where: str) -> None:
    file = folder / name
    own = file.is_file() and file.resolve().is_relative_to(folder.resolve())
    if not own and (file.exists() or file.is_symlink()):
        raise UserError(f"{where}: {name} leads out of its folder or is no plain file; put the file itself there")


def fetch_checkpoint(name: str, place: str | None, out: Path, source: Callable[[], Origin]) -> Origin:
    """Write the checkpoint of a model to ``out``, from the mirror at ``place`` or else from its source.

    Raises UserError if neither has a usable checkpoint.
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
    """Copy the files of a checkpoint, and convert the tokenizer if only its vocabulary is there.

    Raises UserError without safetensors, or if the checkpoint requires custom code.
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
    """Write tokenizer.json and tokenizer_config.json, converted from a vocabulary."""
    from transformers.models.auto.tokenization_auto import AutoTokenizer

    try:
        AutoTokenizer.from_pretrained(out, local_files_only=True).save_pretrained(out)
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"{where}: no tokenizer can be made of its files ({str(error).splitlines()[0]})") from None


def read_weights(out: Path) -> dict[str, Any]:
    """Return SHA-256, bytes, number of parameters, types, and tensors per module of the weights in ``out``.

    Only the header is read: a safetensors file starts with the length of a JSON object of names, types and shapes.
    Integer tensors are buffers of old checkpoints, not parameters.

    Raises UserError if the file is not in safetensors format or truncated.
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
    """Return the number of parameters in a file of weights, from its header."""
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
    """Count tensors by module, such as embeddings, encoder, pooler, cls, without the prefix of the encoder."""
    encoder = {name.partition("embeddings.")[0] for name in names if ".embeddings." in f".{name}"}
    prefix = min(encoder, default="", key=len)
    return Counter(name.removeprefix(prefix).partition(".")[0] for name in names)


def list_remarks(drawn: Sequence[str], unused: Sequence[str]) -> list[str]:
    """Return a line for each difference between a checkpoint and the classifier that fine-tuning starts from.

    ``drawn`` and ``unused`` are the modules that loading initialised at random or left out.
    """
    lines = []
    if any(name.endswith(".pooler") for name in drawn):
        lines.append("no pooler among the weights: fine-tuning starts one from its seed")
    if heads := sorted({name.partition(".")[0] for name in unused if "pooler" not in name.split(".")}):
        lines.append(f"heads of other tasks among the weights, left out by fine-tuning: {', '.join(heads)}")
    return lines
