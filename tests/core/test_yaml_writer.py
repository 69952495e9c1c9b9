"""What is written as YAML is read as it was, whoever reads it."""

from io import StringIO
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from ruamel.yaml import YAML

from pipeline.core.yaml_writer import format_yaml

TEXTS = st.text("0123456789eExob_+-.: #'\"{}[]%&*!|>,?~ynYNofalstru=@`\\\n\té中", max_size=8)
PLAIN = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | TEXTS
CONTENT = st.dictionaries(
    st.from_regex("[a-z_]{1,6}", fullmatch=True).map("key_".__add__), PLAIN | st.lists(PLAIN, max_size=3), max_size=4
)
READERS = {
    "PyYAML": yaml.safe_load,
    "ruamel": YAML(typ="safe").load,
    "OmegaConf": lambda text: OmegaConf.to_container(OmegaConf.load(StringIO(text))),
}


@pytest.mark.parametrize("reader", READERS)
@given(content=CONTENT)
def test_every_reader_reads_what_was_written(reader: str, content: dict[str, Any]) -> None:
    found = READERS[reader](format_yaml(content)) or {}
    assert found == content
    assert [type(value) for value in found.values()] == [type(value) for value in content.values()]


def test_keys_keep_their_order_and_what_looks_like_a_number_or_a_word_of_yaml_is_quoted() -> None:
    content = {"task": {"name": "mrpc", "labels": ["no", "yes"]}, "revision": "1e5", "rate": 1e-05, "cell": None}
    assert format_yaml(content) == (
        "task:\n  name: mrpc\n  labels:\n  - 'no'\n  - 'yes'\nrevision: '1e5'\nrate: 1.0e-05\ncell: null\n"
    )
