"""The files of a checkpoint that are always there, and how they are opened: no code of theirs is ever run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError

CONFIG, WEIGHTS, TOKENIZER, TOKENIZER_CONFIG = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)


def load_json(path: Path, where: str) -> dict[str, Any]:
    """Return the content of a JSON file of a checkpoint, empty where there is none.

    Raises UserError when it is no JSON object or points to code that would have to be run.
    """
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{where}: {path.name} is not JSON ({error}); fetch the file again") from None
    if not isinstance(content, dict):
        raise UserError(f"{where}: {path.name} holds {type(content).__name__}, no JSON object; fetch the file again")
    if "auto_map" in content:
        raise UserError(
            f"{where}: {path.name} asks to run code of its own (auto_map), which is never run here; "
            "name a checkpoint of an architecture that transformers has itself"
        )
    return content
