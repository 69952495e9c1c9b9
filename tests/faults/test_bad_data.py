"""Whatever lies in a data folder or a mirror: rows that can be learned from, or one line; no hang, nothing outside."""

from __future__ import annotations

import json
import os
import socket
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import UserError, format_error
from pipeline.data import mirror, split_files
from pipeline.tasks import prepare_task, row_checks
from pipeline.tasks.task_config import Columns, Selection, Task
from tests.faults.strategies import EXAMPLES, NASTY, damaged, fuzzed, numbers, plain, texts, values

PAIRS = Task(
    name="made-up", source={}, columns=Columns(text_a="one", text_b="two", label="same"),
    labels=("no", "yes"), range=None,
    metrics=("accuracy", "f1"), score="f1", report="validation", train_counts=(20, 40),
    selection=Selection(fraction=0.1, seed=0),
    subset_seed=0, max_length=8,
)  # fmt: skip
DEGREES = Task(
    name="made-up", source={}, columns=Columns(text_a="one", label="same"), labels=None, range=(0.0, 5.0),
    metrics=("pearson",),
    score="pearson", report="validation", train_counts=(40,), selection=Selection(fraction=0.1, seed=0), subset_seed=0,
    max_length=8,
)  # fmt: skip
ROWS = [{"one": f"a {i}", "two": f"b {i}", "same": i % 2} for i in range(30)]


def prepared(task: Task, folder: Path, out: Path) -> dict[str, Any]:
    splits = split_files.read(folder)
    return prepare_task.prepare(counted(task, splits), splits, {}, out)


def counted(task: Task, splits: Mapping[str, pa.Table]) -> Task:
    """Return a task that states the rows by class that its train split has."""
    if "train" not in splits:
        return task
    labels = row_checks.check(task, "train", splits["train"])[0]["label"].to_pylist()
    classes = range(len(task.labels or ()))
    return task.model_copy(update={"train_counts": tuple(map(labels.count, classes)) or (len(labels),)})


def one_line(error: UserError) -> bool:
    """See that a refusal is one line that can be shown; return that it is no success."""
    assert format_error(error).isprintable(), error
    return False


def outcome(task: Task, folder: Path, out: Path) -> bool:
    """Say whether a folder's rows can be prepared; where not, see that it is told in one line."""
    out.mkdir(exist_ok=True)
    try:
        content = prepared(task, folder, out)
    except UserError as error:
        return one_line(error)
    assert sum(split["rows"] for split in content["splits"].values()) > 2
    json.dumps(content, allow_nan=False)
    return True


def check(kind: str, given_: st.SearchStrategy[Any], least: int, once: Callable[[Any], bool]) -> None:
    """Try every generated input; see that there were as many as stated, and that some of them work."""
    ran, taken = [0], [0]

    @fuzzed(kind)
    @given(given_)
    def each(content: Any) -> None:
        ran[0] += 1
        taken[0] += once(content)

    each()
    assert ran[0] >= EXAMPLES[kind]
    assert taken[0] >= least


field = plain | values
row = st.fixed_dictionaries({"one": st.text(), "two": st.text(), "same": st.sampled_from((0, 1))})
odd = st.dictionaries(st.sampled_from(("one", "two", "same", "x")), field, max_size=4)
tasks = st.sampled_from((PAIRS, DEGREES))


def test_json_lines_of_anything_are_prepared_or_refused_in_a_line(tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.mkdir()
    dumped = st.lists(row, min_size=9, max_size=20) | st.lists(row | odd, max_size=8)

    def once(content: tuple[Task, list[Any], list[Any]]) -> bool:
        task, train, report = content
        lines = [json.dumps(each) + "\n" for each in train]
        (source / "train.jsonl").write_text("".join(lines))
        (source / "validation.jsonl").write_text("".join(json.dumps(each) + "\n" for each in report or ROWS))
        return outcome(task, source, tmp_path / "out")

    check("jsonl", st.tuples(tasks, dumped, st.just([]) | dumped), 10, once)


def test_tab_separated_text_of_anything_is_prepared_or_refused_in_a_line(tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.mkdir()
    cells = texts | numbers.map(str) | st.sampled_from(("0", "1", "yes", "no", "1\t0"))
    lines = st.lists(st.tuples(cells, cells, st.sampled_from(("0", "1", "yes", "2", ""))), max_size=12)

    def once(content: tuple[Task, str, list[tuple[str, ...]], bool]) -> bool:
        task, ending, rows, sound = content
        head = f"one\ttwo\tsame{ending}"
        good = [f"a {i}\tb\t{i % 2}" for i in range(20 if sound else 0)]
        text = ending.join([head.strip("\r\n"), *good, *("\t".join(each) for each in rows)])
        (source / "train.tsv").write_bytes(text.encode("utf-8", "surrogatepass"))
        (source / "dev.tsv").write_text("one\ttwo\tsame\n" + "".join(f"a {i}\tb\t{i % 2}\n" for i in range(9)))
        return outcome(task, source, tmp_path / "out")

    check("tsv", st.tuples(tasks, st.sampled_from(("\n", "\r\n", "\r")), lines, st.booleans()), 5, once)


LABELS: dict[str, pa.DataType] = {
    "int8": pa.int8(), "int64": pa.int64(), "uint64": pa.uint64(), "float": pa.float32(), "string": pa.string(),
    "bool": pa.bool_(), "date": pa.date32(), "decimal": pa.decimal128(9, 2), "binary": pa.binary(),
    "dictionary": pa.dictionary(pa.int8(), pa.string()), "list": pa.list_(pa.int8()),
    "struct": pa.struct({"a": pa.int8()}), "null": pa.null(),
}  # fmt: skip


def column(kind: str, numbers: list[int]) -> pa.Array:
    """Return numbers as a column of a kind, nulls where it holds none such."""
    made: dict[str, Callable[[int], Any]] = {
        "float": float, "string": str, "bool": bool, "dictionary": str, "binary": lambda n: str(n).encode(),
        "list": lambda n: [n % 100], "struct": lambda n: {"a": n % 100}, "null": lambda n: None,
        "int8": lambda n: n % 100, "uint64": abs, "date": lambda n: n % 100,
    }  # fmt: skip
    return pa.array([made.get(kind, lambda n: n)(each) for each in numbers], LABELS[kind])


def test_parquet_of_any_kind_of_column_is_prepared_or_refused_in_a_line(tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.mkdir()
    kinds = st.sampled_from(sorted(LABELS))
    numbers = st.lists(st.sampled_from((0, 1, 0, 1, 7, -1)), max_size=20) | st.just([0, 1] * 10)

    def once(content: tuple[Task, str, str, list[int], int, bool]) -> bool:
        task, text, label, numbers, shards, twice = content
        table = pa.table({"one": column(text, numbers), "two": column(text, numbers), "same": column(label, numbers)})
        if twice:
            table = table.append_column("same", table["same"])
        for path in source.iterdir():
            path.unlink()
        pq.write_table(table, source / "train-00000-of-00002.parquet", row_group_size=7)
        if shards == 2:
            pq.write_table(table.slice(3), source / "train-00001-of-00002.parquet")
        elif shards == 1:
            pq.write_table(table.select(["one"]), source / "train-00001-of-00002.parquet")
        pq.write_table(pa.Table.from_pylist(ROWS), source / "validation.parquet")
        return outcome(task, source, tmp_path / "out")

    shards = st.sampled_from((2, 2, 2, 1, 0))
    check("tables", st.tuples(tasks, kinds | st.just("string"), kinds, numbers, shards, st.booleans()), 3, once)


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return bytes(sink.getvalue())


def test_damaged_files_are_prepared_or_refused_in_a_line(tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.mkdir()
    (source / "validation.jsonl").write_text("".join(json.dumps(each) + "\n" for each in ROWS))
    whole = parquet()
    snippets = (
        "\0",
        "{",
        "[" * 100_000,
        '{"a":' * 2000,
        '{"same": 1e400}',
        "9" * 5000,
        '{"one": "\\ud800"}',
        "\t",
        "\n",
        *NASTY,
    )
    text = "".join(json.dumps(each) + "\n" for each in ROWS)
    cut = st.tuples(st.just("parquet"), st.integers(0, len(whole)), st.binary(max_size=9)).map(
        lambda given: (given[0], whole[: given[1]] + given[2] + whole[given[1] + len(given[2]) :])
    )
    short = st.integers(0, len(whole)).map(lambda size: ("parquet", whole[:size]))
    kinds = ("jsonl", "json", "csv", "tsv", "parquet", "csv.gz", "json.gz")
    lines = st.tuples(st.sampled_from(kinds), damaged(text, snippets))

    def once(content: tuple[str, bytes]) -> bool:
        kind, written = content
        for path in source.glob("train.*"):
            path.unlink()
        (source / f"train.{kind}").write_bytes(written)
        return outcome(PAIRS, source, tmp_path / "out")

    check("bytes", cut | short | lines, 5, once)


def refused(folder: Path, tmp_path: Path, task: Task = PAIRS) -> str:
    with pytest.raises(UserError) as caught:
        prepared(task, folder, tmp_path)
    return str(caught.value).replace(str(folder), "FOLDER")


def written(folder: Path, rows: list[dict[str, Any]], name: str = "train") -> None:
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "task made-up: train: 3 of 3 columns missing: one, two, same; there are ; name them under columns in "
         "conf/task/made-up.yaml"),
        (ROWS[:1], "task made-up: train: 'no' is the label of all rows (1), of which nothing can be learned or "
         "measured; give rows with others"),
        (ROWS[::2], "task made-up: train: 'no' is the label of all rows (15), of which nothing can be learned or "
         "measured; give rows with others"),
        ([{**each, "same": [1]} for each in ROWS], "task made-up: train: 30 rows with an unknown label, the first is "
         "row 0: [1]; allowed: 0 or no, 1 or yes"),
        ([{**each, "same": 2} for each in ROWS], "task made-up: train: 30 rows with an unknown label, the first is "
         "row 0: 2; allowed: 0 or no, 1 or yes"),
        ([*ROWS, {"one": "a", "two": "b", "same": 10**400}], "FOLDER/train.jsonl: column 'same' does not hold values "
         "of one kind (Python int too large to convert to C long)"),
    ],
)  # fmt: skip
def test_rows_of_which_nothing_can_be_learned_are_refused(tmp_path: Path, rows: list[Any], said: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    written(folder, rows)
    written(folder, ROWS, "validation")
    assert refused(folder, tmp_path) == said


def test_a_class_that_train_has_not_got_is_named(tmp_path: Path) -> None:
    three = PAIRS.model_copy(update={"labels": ("no", "yes", "maybe")})
    written(tmp_path, ROWS)
    written(tmp_path, ROWS, "validation")
    assert refused(tmp_path, tmp_path, three) == (
        "task made-up: train: no rows of maybe; give some of every class, or take it out of labels"
    )


def test_a_sentence_of_a_million_characters_and_twenty_thousand_rows_are_prepared(tmp_path: Path) -> None:
    long = "word " * 200_000
    rows = [{"one": f"a {i}", "two": "x" * 1_000_000 if i == 7 else long if i == 8 else "b", "same": i % 2}
            for i in range(20_000)]  # fmt: skip
    written(tmp_path, rows)
    written(tmp_path, ROWS, "validation")
    out = tmp_path / "out"
    out.mkdir()
    assert prepared(PAIRS, tmp_path, out)["source_train"]["rows"] == 20_000


def test_what_is_neither_file_nor_archive_of_a_split_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").mkdir()
    os.mkfifo(tmp_path / "validation.jsonl")
    os.mkfifo(tmp_path / "dev_ids.tsv")
    (tmp_path / "test.tsv").symlink_to("test.tsv")
    (tmp_path / "dev.tsv").symlink_to("/dev/zero")
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.writestr("../../escaped.jsonl", "{}")
    assert refused(tmp_path, tmp_path) == (
        "FOLDER: no splits; put train and validation there, as .jsonl, .json, .csv, .tsv, .parquet (each also .gz) or "
        "MSR's .txt; not read: dev.tsv, dev_ids.tsv, test.tsv, validation.jsonl (not a regular file); not read: "
        "train.jsonl (a folder); not read: train.zip (not a format that is read)"
    )
    assert not list(tmp_path.parent.parent.glob("escaped*"))
    (tmp_path / "train.jsonl").rmdir()
    (tmp_path / "dev_ids.tsv").unlink()
    (tmp_path / "dev_ids.tsv").mkdir()
    written(tmp_path, ROWS)
    assert refused(tmp_path, tmp_path) == (
        "task made-up: no split 'validation' in the source; allowed: train; not read: dev.tsv, test.tsv, "
        "validation.jsonl (not a regular file); not read: dev_ids.tsv (a folder); not read: train.zip "
        "(not a format that is read)"
    )


def test_ids_that_cut_nothing_are_refused(tmp_path: Path) -> None:
    written(tmp_path, ROWS)
    (tmp_path / "dev_ids.tsv").write_text("1\t2\n")
    assert refused(tmp_path, tmp_path) == (
        "FOLDER/dev_ids.tsv: cuts validation out of a train split by #1 ID and #2 ID, but there is no #1 ID; "
        "put MSR's train file into the same folder, or remove dev_ids.tsv"
    )


@pytest.fixture
def lent(tmp_path: Path) -> Path:
    """Return a mirror that holds one task."""
    folder = tmp_path / "mirror" / "data" / "made-up"
    folder.mkdir(parents=True)
    written(folder, ROWS)
    return tmp_path / "mirror"


def put(folder: Path, kind: str) -> None:
    """Put something into a folder that is no file."""
    if kind == "pipe":
        os.mkfifo(folder / "x")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(folder / "x"))
    elif kind == "folder":
        (folder / "x").mkdir()
    else:
        (folder / "x").symlink_to({"circle": "x", "inside": "train.jsonl"}.get(kind, kind))


@pytest.mark.parametrize("below", ["", "deeper", "deeper/still"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("pipe", " is neither a file nor a folder; remove it"),
        ("circle", " leads to itself; remove it"),
        ("/etc", " leads out of the mirror, to /etc; copy what it leads to into the mirror"),
        ("/dev/zero", " leads out of the mirror, to /dev/zero; copy what it leads to into the mirror"),
        ("nothing", " is neither a file nor a folder; remove it"),
    ],
)
def test_what_leads_out_of_a_mirror_or_is_no_file_is_refused_however_deep(
    lent: Path, kind: str, said: str, below: str
) -> None:
    folder = lent / "data" / "made-up" / below
    folder.mkdir(parents=True, exist_ok=True)
    put(folder, kind)
    with pytest.raises(UserError) as caught:
        mirror.find(str(lent), "data", "made-up")
    assert str(caught.value) == f"mirror {lent}: {(folder / 'x').relative_to(lent)}{said}"


def test_a_mirror_of_any_name_is_found_or_refused_in_a_line(lent: Path) -> None:
    names = texts.map(lambda text: text.replace("\0", "")) | st.sampled_from(("~", "~nobody/x", str(lent), f"{lent}/."))
    kinds = st.sampled_from(("data", "models"))

    def once(content: tuple[str, Any, str]) -> bool:
        place, kind, name = content
        try:
            found = mirror.find(place, kind, name)
        except UserError as error:
            return one_line(error)
        return found is None or found.resolve().is_relative_to(lent)

    check("mirrors", st.tuples(names, kinds, texts | st.just("made-up")), 5, once)
