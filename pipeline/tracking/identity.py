"""Name, coordinates and inputs of a cell, as the tracking store shows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# Keys of a record that become params of its run.
PARAMS = (
    "task", "model", "ratio", "recipe", "source", "teacher", "distillation", "compression", "processes", "threads",
    "precision", "batch",
)  # fmt: skip
FOLDERS = {"data": "data", "model": "models"}


@dataclass(frozen=True)
class Input:
    """An input of a cell: its role (``data``, ``model``), the SHA-256 of its content, and its name."""

    name: str
    digest: str
    source: str

    @property
    def folder(self) -> str:
        """Return its folder in the project."""
        return f"{FOLDERS.get(self.name, self.name)}/{self.source}"


@dataclass(frozen=True)
class Identity:
    """Name, params, tags and inputs of a cell."""

    stage: str
    cell: str
    exploration: bool = False
    params: dict[str, str | float | int] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    inputs: list[Input] = field(default_factory=list)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Identity:
        """Return the identity that ``dataclasses.asdict`` converted to a dict."""
        return cls(**{**content, "inputs": [Input(**item) for item in content["inputs"]]})

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Identity:
        """Return the identity of the cell that wrote ``record``."""
        sources = {"data": record.get("task", ""), "model": record.get("model", "")}
        return cls(
            stage=record["stage"],
            cell=record["cell"],
            exploration=record.get("exploration", False),
            params={name: record[name] for name in PARAMS if record.get(name) is not None},
            tags=record.get("tags", {}),
            inputs=[Input(name, digest, sources.get(name, "")) for name, digest in record.get("inputs", {}).items()],
        )
