"""Wording of sources, docs and YAML: words that hide a noun, verbs in function names, unique names, flat modules."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pipeline"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if path.stat().st_size)
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}

BANNED = re.compile(
    r"\b(told|tells?|beside|stands|anew|begun|heeds?|reckon\w*|commonest|so many|of its own|but for|at work|goes on|"
    r"la(?:y|id) by|bears|asked|says|hears|nowhere|whatever|whichever)\b",
    re.IGNORECASE,
)
PARTICIPLES = frozenset(
    "told said made kept found known begun taken given asked shown seen drawn written stated named joined opened closed"
    " masked sealed settled parsed judged changed cut laid brought put sent heard arrived left gone done ended grouped"
    " spread narrowed restored emitted served connected forked picked chosen measured timed taught tried".split()
)
NOUNS_IN_ED = frozenset(("speed", "need", "embed", "feed", "seed", "shared"))
VERBS = frozenset(
    "is has can should get set load save read write run parse check build make create compute add remove update register"
    " resolve print show find list open close start stop init apply call to from with as validate prepare train eval"
    " evaluate fit predict sample log end fail finish begin restore format convert count collect merge split draw plot"
    " render encode decode tokenize collate select rank fetch copy link verify sync export import freeze tie prune".split()
)
MAX_BANNED = 20
MAX_ONE_WORD, MAX_PARTICIPLE, MIN_VERB = 0.40, 0.03, 0.35  # shares of the functions
MAX_FLAT_MODULES = 3


def list_function_names() -> list[list[str]]:
    """Return the words of the name of each function and method, dunder methods left out."""
    return [
        node.name.strip("_").split("_")
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("__")
    ]


def is_participle(word: str) -> bool:
    return word in PARTICIPLES or (word.endswith("ed") and len(word) > 4 and word not in NOUNS_IN_ED)


def list_texts() -> Iterator[Path]:
    yield from SOURCES
    yield from ROOT.glob("*.md")
    yield from (ROOT / "docs").rglob("*.md")
    yield from (ROOT / "conf").rglob("*.yaml")
    yield from PACKAGE.rglob("*.jinja")
    yield from (ROOT / "params.yaml", ROOT / "dvc.yaml")


def test_few_words_hide_a_noun() -> None:
    places = [
        f"{path.relative_to(ROOT)}:{number}: {word}"
        for path in list_texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for word in BANNED.findall(line)
    ]
    assert len(places) <= MAX_BANNED, "\n".join(places)


def test_function_names_have_several_words_and_begin_with_a_verb() -> None:
    names = list_function_names()
    one_word = sum(len(words) == 1 for words in names) / len(names)
    participle = sum(is_participle(words[0]) for words in names) / len(names)
    verb = sum(words[0] in VERBS for words in names) / len(names)
    assert one_word <= MAX_ONE_WORD
    assert participle <= MAX_PARTICIPLE
    assert verb >= MIN_VERB


@pytest.mark.parametrize("kind", ["class", "module"])
def test_a_name_is_used_once(kind: str) -> None:
    if kind == "class":
        names = Counter(n.name for tree in TREES.values() for n in ast.walk(tree) if isinstance(n, ast.ClassDef))
    else:
        modules = (path for path in SOURCES if path.parent.name not in ("stages", "cli"))
        names = Counter(path.stem for path in modules if not path.stem.startswith("__"))
    assert [name for name, count in names.items() if count > 1] == []


def test_few_modules_are_flat_in_the_package() -> None:
    assert sum(path.name != "__init__.py" for path in PACKAGE.glob("*.py")) <= MAX_FLAT_MODULES
