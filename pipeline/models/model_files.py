"""Files that every checkpoint has, and loading of its JSON files without custom code."""

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
    """Return the content of a JSON file of a checkpoint, empty if the file is missing.

    Raises UserError if it is not a JSON object or requires custom code.
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
            f"{where}: {path.name} requires custom code (auto_map), which is never run here; "
            "name a checkpoint of an architecture that transformers has itself"
        )
    return content
