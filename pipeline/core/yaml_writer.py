"""A configuration as text that readers of YAML 1.1 and 1.2 take for the same."""

from __future__ import annotations

from typing import Any

import yaml

NUMBERS = tuple("+-.0123456789")


class _Emitter(yaml.CSafeDumper):  # type: ignore[misc]  # which has no stubs
    """libyaml's, in a tenth of the time of OmegaConf's: a cell writes a configuration for each of its seeds."""


def _text(emitter: _Emitter, text: str) -> yaml.ScalarNode:
    """Quote what begins as a number does: readers differ in what they take for one."""
    return emitter.represent_scalar("tag:yaml.org,2002:str", text, style="'" if text.startswith(NUMBERS) else None)


_Emitter.add_representer(str, _text)


def format_yaml(content: dict[str, Any]) -> str:
    """Return plain values as YAML, keys in their order."""
    text: str = yaml.dump(content, Dumper=_Emitter, sort_keys=False, allow_unicode=True)
    return text
