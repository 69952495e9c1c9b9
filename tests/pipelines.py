"""The project's ``dvc.yaml``, as tests read it."""

from typing import Any

from ruamel.yaml import YAML

from pipeline.core import paths


def read_blocks() -> dict[str, Any]:
    """Return the blocks of ``dvc.yaml`` by name."""
    blocks: dict[str, Any] = YAML(typ="safe").load(paths.ROOT / paths.PIPELINE)["stages"]
    return blocks
