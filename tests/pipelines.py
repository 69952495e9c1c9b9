"""The ``dvc.yaml`` files that people write, as tests read them and change them in a copy of the project."""

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from pipeline.core import paths


def written(root: Path) -> list[Path]:
    """Return each of the files, in a copy of the project."""
    return [root / path.relative_to(paths.ROOT) for path in paths.list_source_pipelines()]


def blocks() -> dict[str, Any]:
    """Return the blocks of all of the files, by their names."""
    files = [YAML(typ="safe").load(path) for path in paths.list_source_pipelines()]
    return {name: block for file in files for name, block in file["stages"].items()}
