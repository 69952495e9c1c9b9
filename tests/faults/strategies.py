"""Everything that a user may give, generated: names, numbers, values, texts, and mistakes put into what is sound."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = {  # how many inputs each test generates; test_bad_plans.py holds their sum
    "plans": 500,
    "plan texts": 250,
    "conf files": 300,
    "words": 400,
    "configs": 60,
    "arguments": 200,
    "jsonl": 250,
    "tsv": 150,
    "tables": 150,
    "bytes": 150,
    "mirrors": 100,
}
NASTY = (  # what shells, paths, YAML, Hydra and databases read as something else
    "", " ", "../x", "../../etc/passwd", "/etc/passwd", "~root", ".", "..", "a/../b", "a b", "$(touch x)", "`touch x`",
    "; touch x", "x;y", "a&&b", "a|b", "a>b", "a\nb", "a\r\nb", "a\tb", "a\0b", "\x1b[31mred", "\u202eabc", "\u2028",
    "\ufeff", "\ud800", "é", "名前", "🙂", "null", "true", "nan", "inf", "1e5", "0x10", "1_000", "???", "${ratio}",
    "${oc.env:HOME}", "${", "a=b", "a,b", "[a", "{a: b}", "*", "a*", "--help", "-x", "'", '"', "\\", "%s", "{}", "#x",
    "!!python/object/apply:os.system [touch x]", "&a", "*a", "<<", "con", "a.b", "x" * 300, "x" * 5000, "os.system",
    "pipeline.core.paths.rmtree", "finetune/../../x", "compress/a b", "A" * 81,
)  # fmt: skip
LARGE = (0, -1, 1, 2, 7, 2**31, 2**32, 2**63, 2**64, 10**18, 10**30, 10**400, -(10**30))
FLOATS = (float("nan"), float("inf"), float("-inf"), 0.0, -0.0, 1e-320, 1e308, 0.1 + 0.2, 1e-05, 0.5)

texts = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=()), max_size=20)
numbers = st.sampled_from(LARGE) | st.sampled_from(FLOATS) | st.integers() | st.floats()
plain = st.none() | st.booleans() | numbers | texts
values = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def fuzzed(kind: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Generate the inputs of a test: always the same ones, as many as ``EXAMPLES`` says."""
    return settings(
        max_examples=EXAMPLES[kind],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def places(content: object, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return where there is something in nested mappings and lists: keys and indices from the outside in."""
    found: list[tuple[Any, ...]] = []
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        found += [(*place, key), *places(value, (*place, key))]
    return found


@st.composite
def mistaken(draw: st.DrawFn, sound: dict[str, Any], most: int = 3, given: st.SearchStrategy[Any] = values) -> Any:
    """Return a copy of what is sound with up to ``most`` mistakes: another value, none, one more, another name."""
    content = copy.deepcopy(sound)
    for _ in range(draw(st.integers(0, most))):
        if not (known := places(content)):
            break
        *way, last = draw(st.sampled_from(known))
        inside: Any = content
        for key in way:
            inside = inside[key]
        change = draw(st.sampled_from(("replace", "replace", "remove", "add", "rename", "repeat")))
        if change == "remove":
            del inside[last]
        elif change == "add" and isinstance(inside, dict):
            inside[draw(texts)] = draw(given)
        elif change == "rename" and isinstance(inside, dict):
            inside[draw(texts)] = inside.pop(last)
        elif change == "repeat" and isinstance(inside, list):
            inside.insert(last, copy.deepcopy(inside[last]))
        else:
            inside[last] = draw(given)
    return content


@st.composite
def damaged(draw: st.DrawFn, sound: str, snippets: tuple[str, ...]) -> bytes:
    """Return a text with pieces put in, cut out, doubled, or turned into bytes that are none."""
    text = sound
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        end = min(len(text), at + draw(st.integers(0, 60)))
        change = draw(st.sampled_from(("insert", "cut", "double", "line")))
        if change == "insert":
            text = text[:at] + draw(st.sampled_from(snippets)) + text[at:]
        elif change == "line":
            lines = text.splitlines(keepends=True)
            lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(snippets)) + "\n")
            text = "".join(lines)
        elif change == "cut":
            text = text[:at] + text[end:]
        else:
            text = text[:end] + text[at:end] + text[end:]
    content = text.encode("utf-8", "surrogatepass")
    turned = draw(st.sampled_from(("", "", "", "", "bom", "utf-16", "half", "binary", "empty")))
    if turned == "bom":
        return b"\xef\xbb\xbf" + content
    if turned == "utf-16":
        return text.encode("utf-16", "surrogatepass")
    if turned == "half":
        return content[: len(content) // 2]
    if turned == "binary":
        return draw(st.binary(max_size=200))
    return b"" if turned == "empty" else content
