"""What a cell is called, what it is made of, and what went in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# What a record says of its cell besides stage and name.
NAMED = (
    "task", "model", "ratio", "recipe", "source", "teacher", "distillation", "compression", "processes", "threads",
    "precision", "batch",
)  # fmt: skip
FOLDERS = {"data": "data", "model": "models"}


@dataclass(frozen=True)
class Input:
    """Something that went in: its role (``data``, ``model``), the digest of its content and its own name."""

    name: str
    digest: str
    source: str

    @property
    def folder(self) -> str:
        """Return where it lies in the project."""
        return f"{FOLDERS.get(self.name, self.name)}/{self.source}"


@dataclass(frozen=True)
class Identity:
    """A cell as the tracking store knows it."""

    stage: str
    cell: str
    exploration: bool = False
    params: dict[str, str | float | int] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    inputs: list[Input] = field(default_factory=list)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Identity:
        """Return the identity that ``dataclasses.asdict`` took apart."""
        return cls(**{**content, "inputs": [Input(**item) for item in content["inputs"]]})

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Identity:
        """Return the identity of the cell whose numbers ``record`` holds."""
        sources = {"data": record.get("task", ""), "model": record.get("model", "")}
        return cls(
            stage=record["stage"],
            cell=record["cell"],
            exploration=record.get("exploration", False),
            params={name: record[name] for name in NAMED if record.get(name) is not None},
            tags=record.get("tags", {}),
            inputs=[Input(name, digest, sources.get(name, "")) for name, digest in record.get("inputs", {}).items()],
        )
