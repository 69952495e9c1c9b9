"""Any content of params.yaml and conf/ is a plan that DVC runs as written, or it is refused in lines."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dvc.parsing import DataResolver
from dvc.repo import Repo
from dvc.utils.serialize import parse_yaml
from hypothesis import given
from hypothesis import strategies as st

from pipeline import plan
from pipeline.core import paths
from pipeline.core.errors import MAX_LINE_LENGTH, UserError
from pipeline.core.validators import is_name
from pipeline.plan import dependencies, load_plan
from pipeline.runner.scheduler import FIRST
from tests.faults.strategies import EXAMPLES, NASTY, damaged, fuzzed, mistaken

SHIPPED = (paths.ROOT / "params.yaml").read_text(encoding="utf-8")
SOUND: dict[str, Any] = load_plan.read(paths.PARAMS)
SAFE = re.compile(r"[A-Za-z0-9 ._/=+-]*")  # a command in which no shell finds anything but words
SHARES = st.sampled_from((1, 1.0, 0.5, 1e-1, 0.3, 0.1 + 0.2, 2 / 3)) | st.floats(0.02, 1)
COUNTS = st.lists(st.sampled_from((1, 2, 4, 8)), min_size=1, max_size=2, unique=True)
sensible = st.fixed_dictionaries(
    {
        "tasks": st.lists(st.sampled_from(SOUND["tasks"]), min_size=1, unique=True),
        "models": st.lists(st.sampled_from(SOUND["models"]), min_size=1, max_size=3, unique=True),
        "ratios": st.lists(SHARES, min_size=1, max_size=3, unique=True),
        "recipes": st.lists(st.sampled_from(("standard", "equal-steps")), min_size=1, max_size=2, unique=True),
        "seeds": st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3, unique=True),
        "variants": st.just({}),
        "distill": st.just({}),
        "compress": st.just({}),
        "benchmark": st.fixed_dictionaries(
            {
                "task": st.just("starter-swap"),
                "models": st.just([]),
                "processes": COUNTS,
                "threads": COUNTS,
                "precisions": st.just(["bf16", "fp32"]),
                "batches": st.just([8, 64]),
            }
        ),
        "compare": st.just({"budget": {}}),
    }
)
BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
MERGED = "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 40))
SNIPPETS = (
    BOMB, MERGED, "a: &a [*a]", "tasks: [mrpc]", "---", "...", "%YAML 1.1\n---", "%TAG ! tag:x,2000:", "\t", "\0",
    "x: !!python/object/apply:os.system ['touch x']", "x: !!python/name:os.system", "x: !!binary aGk=", "x: !!set {a}",
    "x: !!int abc", "x: !!float abc", "x: !!bool abc", "x: !!timestamp 2001-99-99", "x: !!omap 5", "? [a, b]\n: 1",
    "? {a: b}\n: 1", "[" * 2000, "{a: " * 2000, "- " * 2000, "x: 0x" + "f" * 5000, "x: " + "9" * 5000, "x: *nothing",
    "compress: {}", "<<: *a", "&b", "ratios: [yes]", "seeds: [010, 0o10, 1_0, 1e0]", ":", "!", "x: |\n  a", "é: 名前",
    *NASTY,
)  # fmt: skip


def refused(error: UserError) -> None:
    """See that a refusal is lines that can be read, none of which begins with nothing."""
    lines = str(error).split("\n")
    assert all(line.isprintable() and len(line) <= MAX_LINE_LENGTH + 3 for line in lines), lines
    assert all(re.match(r"(params\.yaml|conf/|mine)", line) for line in lines), lines


def commands(study: plan.Plan) -> Iterator[str]:
    """Yield every word of the plan that DVC puts into a command, as it renders it."""
    for cell in study.cells:
        yield from (cell.name, *(str(each) for each in (cell.task, cell.model, cell.ratio, cell.recipe)))
        yield from (
            str(each).replace("@", "-").replace(":", "-")
            for each in (cell.address, *cell.needs, cell.source, cell.method)
        )
    yield from map(str, (study.benchmark.task, *study.seeds))


@pytest.fixture(scope="module")
def dvc(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    """Return an empty project of DVC, to ask what cells it would make."""
    root = tmp_path_factory.mktemp("dvc")
    return Repo.init(str(root), no_scm=True)


PIPELINE = parse_yaml((paths.ROOT / paths.PIPELINE).read_text(encoding="utf-8"), paths.PIPELINE)


def resolved(dvc: Repo, text: str) -> dict[str, Any]:
    """Return the stages that DVC makes of its file with a text in place of params.yaml, by their addresses."""
    Path(dvc.root_dir, "params.yaml").write_bytes(text.encode())
    resolver = DataResolver(dvc, dvc.root_dir, PIPELINE)
    return {key: value for name in resolver.get_keys() for key, value in resolver.resolve_one(name).items()}


def same_as_dvc(dvc: Repo, text: str, study: plan.Plan) -> None:
    stages = resolved(dvc, text)
    assert sorted(stages) == sorted([*FIRST, "compare", *(cell.address for cell in study.cells)])
    for cell in study.cells:
        stage = stages[cell.address]
        assert SAFE.fullmatch(stage["cmd"]), stage["cmd"]
        (metrics,) = (next(iter(each)) for each in stage["metrics"])
        assert metrics == f"metrics/{cell.stage}/{cell.name}.json"
        assert "task" not in stage["cmd"] or cell.task in stage["cmd"]


def test_a_plan_with_any_value_anywhere_is_refused_in_lines_or_is_what_dvc_would_run(dvc: Repo, tmp_path: Path) -> None:
    file, ran, taken = tmp_path / "params.yaml", [0], [0]

    @fuzzed("plans")
    @given(mistaken(SOUND) | mistaken(SOUND) | sensible)
    def once(content: Any) -> None:
        ran[0] += 1
        text = json.dumps(content)
        file.write_text(text)
        try:
            study = plan.load(file)
        except UserError as error:
            return refused(error)
        assert all(SAFE.fullmatch(word) for word in commands(study))
        taken[0] += 1
        if taken[0] % 5 == 0:
            same_as_dvc(dvc, text, study)

    once()
    assert ran[0] >= EXAMPLES["plans"]
    assert taken[0] > 20


def test_a_damaged_plan_is_refused_in_lines_or_read_as_dvc_reads_it(dvc: Repo, tmp_path: Path) -> None:
    file, ran = tmp_path / "params.yaml", [0]

    @fuzzed("plan texts")
    @given(damaged(SHIPPED, SNIPPETS))
    def once(content: bytes) -> None:
        ran[0] += 1
        file.write_bytes(content)
        try:
            study = plan.load(file)
        except UserError as error:
            return refused(error)
        assert all(SAFE.fullmatch(word) for word in commands(study))
        assert load_plan.read(file) == parse_yaml(content.decode(), "params.yaml")

    once()
    assert ran[0] >= EXAMPLES["plan texts"]
    assert not (tmp_path / "x").exists()


GROUPS = {
    "task": ("starter-swap", "mrpc", "stsb"),
    "model": ("starter-2x64", "starter-2x64-fresh", "bert-tiny"),
    "recipe": ("standard", "equal-steps"),
    "distillation": ("logits", "states", "every-second"),
    "compression": ("svd-budget", "heads", "two-four", "share-all", "int8-dynamic", "layers", "magnitude", "width"),
}
FILES = {
    (group, name): load_plan.read(paths.CONF / group / f"{name}.yaml")
    for group, names in GROUPS.items()
    for name in names
}


@pytest.fixture
def forgetting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a conf/ of which nothing that was read is remembered."""
    shutil.copytree(paths.CONF, tmp_path / "conf")
    monkeypatch.setattr(paths, "CONF", tmp_path / "conf")
    yield tmp_path / "conf"
    forget()


def forget() -> None:
    for kept in (
        load_plan.list_names,
        plan.check.__globals__["find_file_mistakes"],
        plan.check.__globals__["_count_rows"],
        dependencies._read_file,
        dependencies._find_shape,
    ):
        kept.cache_clear()


def using(group: str) -> dict[str, Any]:
    """Return a plan that names the file ``mine`` of a group."""
    names = {"task": "starter-swap", "model": "starter-2x64", "recipe": "standard", "distillation": "logits"}
    names |= {"compression": "heads", group: "mine"}
    grid = f"finetune/{names['task']}-{names['model']}-1.0-standard"
    point = {"task": names["task"], "ratio": 1.0, "recipe": names["recipe"]}
    student = {**point, "student": names["model"], "teacher": grid, "distillation": names["distillation"]}
    return {
        **SOUND,
        "tasks": [names["task"]],
        "models": [names["model"]],
        "variants": {"one": {**point, "model": names["model"]}},
        "distill": {"two": student},
        "compress": {"three": {"source": grid, "compression": names["compression"]}},
        "benchmark": {**SOUND["benchmark"], "task": names["task"], "models": []},
    }


def test_a_file_of_conf_with_any_value_anywhere_is_refused_in_lines_or_is_sound(
    forgetting: Path, tmp_path: Path
) -> None:
    file, ran, taken = tmp_path / "params.yaml", [0], [0]
    groups = list(GROUPS)
    plans = {group: json.dumps(using(group)) for group in groups}

    @fuzzed("conf files")
    @given(st.sampled_from(sorted(FILES)).flatmap(lambda key: st.tuples(st.just(key), mistaken(FILES[key], 2))))
    def once(given: tuple[tuple[str, str], Any]) -> None:
        ran[0] += 1
        (group, name), content = given
        if isinstance(content, dict) and content.get("name") == name:
            content["name"] = "mine"
        place = forgetting / group / "mine.yaml"
        place.write_text(json.dumps(content))
        file.write_text(plans[group])
        forget()
        try:
            plan.load(file)
        except UserError as error:
            refused(error)
        else:
            taken[0] += 1
        place.unlink()

    once()
    assert ran[0] >= EXAMPLES["conf files"]
    assert taken[0] > 20


def find_messages(tmp_path: Path, text: str | bytes) -> str:
    """Return what is message of a params.yaml that is refused."""
    file = tmp_path / "params.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError) as caught:
        plan.load(file)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "line 10 goes beyond 50,000 values, aliases counted as what they stand for"),
        (MERGED, "line 10 goes beyond 50,000 values, aliases counted as what they stand for"),
        ("a: &a [*a]", "line 1 holds itself, by *a"),
        ("a: " + "[" * 100_000, "line 1 is nested deeper than 30 levels"),
        ("a:\n  " + "- " * 100_000, "line 2 is nested deeper than 30 levels"),
        ("a: " + "x" * 1001, "line 1 holds a value of 1,001 characters; at most 1,000"),
        ("#" * 2**18 + "\n", "262,145 bytes; at most 262,144 are read"),
        ("a: 1\n---\nb: 2\n", "line 2: not YAML that can be read: but found another document"),
        (
            "a: !!python/object/apply:os.system ['touch x']",
            "line 1: not YAML that can be read: could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/object/apply:os.system'",
        ),
        (
            "a: !!int a",
            "not YAML that can be read: a value does not match its tag: invalid literal for int() with base 10: 'a'",
        ),
        ("- a\n", "got list; write keys and their values: tasks, models, ratios, recipes, seeds"),
        (
            "a: 1".encode("utf-16"),
            "not YAML that can be read: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
        ),
    ],
)
def test_a_file_beyond_bounds_or_of_another_kind_is_told_at_once(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    assert find_messages(tmp_path, text) == f"params.yaml: {message}"


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    place = tmp_path / "params.yaml"
    place.mkdir()
    with pytest.raises(UserError, match=r"^params.yaml: not a file; put one there$"):
        plan.load(place)
    place.rmdir()
    os.mkfifo(place)
    with pytest.raises(UserError, match=r"^params.yaml: not a file; put one there$"):
        plan.load(place)


def test_millions_of_cells_are_refused_before_any_is_made(tmp_path: Path) -> None:
    ratios = [index / 10_000 for index in range(1, 10_001)]
    assert find_messages(tmp_path, json.dumps({**SOUND, "ratios": ratios, "tasks": ["starter-swap"] * 50})) == (
        "params.yaml: 5,000,079 cells; DVC can bear some thousand, at most 5,000 are taken: make an axis shorter"
    )
    counts = list(range(1, 5001))
    timed = {**SOUND["benchmark"], "processes": counts, "threads": counts, "batches": counts}
    assert find_messages(tmp_path, json.dumps({**SOUND, "benchmark": timed})) == (
        "params.yaml: 125,000,000,089 cells; DVC can bear some thousand, at most 5,000 are taken: make an axis shorter"
    )


@pytest.mark.parametrize("name", ["a b", "x;y", "$(touch x)", "-x", "true", "a\nb", "x" * 81, "1e5"])
def test_a_file_of_conf_whose_name_no_command_can_hold_is_refused_by_its_name(
    forgetting: Path, tmp_path: Path, name: str
) -> None:
    shutil.copy(forgetting / "recipe/standard.yaml", forgetting / f"recipe/{name}.yaml")
    forget()
    entry = {"task": "starter-swap", "model": "starter-2x64", "ratio": 1.0, "recipe": name}
    shown = name.replace("\n", "\\n")
    assert find_messages(tmp_path, json.dumps({**SOUND, "variants": {"one": entry}})) == (
        f"params.yaml: variants.one.recipe: conf/recipe/{shown}.yaml: cannot be named in a command; a name starts with "
        "a letter and holds letters, digits, '.', '-' and '_', 80 at most, and is none of false, inf, nan, null, true"
    )


@fuzzed("plans")
@given(st.from_regex(r"[A-Za-z][A-Za-z0-9._-]{0,30}", fullmatch=True))
def test_a_name_that_is_safe_is_the_same_name_to_hydra(name: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    if is_name(name):
        (override,) = OverridesParser.create().parse_overrides([f"model={name}"])
        assert override.value() == name


def test_a_name_that_dvc_or_hydra_would_read_as_a_value_names_no_entry(tmp_path: Path) -> None:
    entry = SOUND["variants"]["equal-steps"]
    for word in ("true", "Null", "nan"):
        assert find_messages(tmp_path, json.dumps({**SOUND, "variants": {word: entry}})) == (
            f"params.yaml: variants.{word}: Hydra reads false, inf, nan, null, true as values; choose another name"
        )
    assert find_messages(tmp_path, json.dumps({**SOUND, "variants": {"x" * 81: entry}})) == (
        f"params.yaml: variants.{'x' * 81}: a name has at most 80 characters, this has 81"
    )


def test_ratios_are_written_by_dvc_as_they_are_here(dvc: Repo, tmp_path: Path) -> None:
    for ratios in ("[1, 0.5]", "[1.0, 1e-1]", "[0.30000000000000004, 5e-01]", "[+0.5, 1.]", "[0.1_5]"):
        text = json.dumps({**SOUND, "ratios": [], "variants": {}, "distill": {}, "compress": {}})
        text = text.replace('"ratios": []', f'"ratios": {ratios}')
        (tmp_path / "params.yaml").write_text(text)
        same_as_dvc(dvc, text, plan.load(tmp_path / "params.yaml"))


def test_the_generated_inputs_of_all_tests_are_two_thousand_and_more() -> None:
    assert sum(EXAMPLES.values()) >= 2000
