"""Splits are read from JSON lines, parquet and tab-separated files, and nothing in a sentence ends a field or a row."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.core.errors import UserError
from pipeline.data import split_files

NASTY = "He said \"no' \u2028 and \x85 \\t went"


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        dict(split_files.read(folder))
    return str(error.value)


def test_json_lines_are_read_as_they_are(tmp_path: Path) -> None:
    rows = [{"sentence": NASTY, "label": 1}, {"sentence": "2003-01-01", "label": 0}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    assert split_files.read(tmp_path)["train"].to_pylist() == rows


def test_the_shards_of_a_parquet_split_are_one_table(tmp_path: Path) -> None:
    for shard in range(2):
        pq.write_table(pa.table({"sentence": [f"s{shard}"]}), tmp_path / f"train-{shard:05d}-of-00002.parquet")
    pq.write_table(pa.table({"sentence": ["v"]}), tmp_path / "validation_matched.parquet")
    splits = split_files.read(tmp_path)
    assert splits["train"]["sentence"].to_pylist() == ["s0", "s1"]
    assert splits["validation_matched"]["sentence"].to_pylist() == ["v"]


# The header and a row of each of GLUE's own files, and what the Hub's GLUE calls the same fields.
GLUE = [
    ("Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n1\t70\t71\tA\tB\n",
     {"label": "1", "sentence1": "A", "sentence2": "B"}),
    ("gj04\t1\t\tA\ngj04\t0\t*\tB\n", {"sentence": "A", "label": "1"}),
    ("sentence\tlabel\nA \t0\n", {"sentence": "A ", "label": "0"}),
    ("index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
     "0\tmain\tMSRvid\t2012\t1\tnone\tnone\tA\tB\t5.000\n", {"sentence1": "A", "sentence2": "B", "label": "5.000"}),
    ("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n1\t2\t3\tA\tB\t0\n",
     {"question1": "A", "question2": "B", "label": "0"}),
    ("index\tpromptID\tpairID\tgenre\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\t"
     "sentence2_parse\tsentence1\tsentence2\tlabel1\tgold_label\n0\t1\t1n\tfiction\t(a)\t(b)\t(a)\t(b)\tA\tB\tneutral\t"
     "neutral\n", {"premise": "A", "hypothesis": "B", "label": "neutral"}),
    ("index\tquestion\tsentence\tlabel\n0\tA\tB\tnot_entailment\n",
     {"question": "A", "sentence": "B", "label": "not_entailment"}),
    ("index\tsentence1\tsentence2\tlabel\n0\tA\tB\tentailment\n",
     {"sentence1": "A", "sentence2": "B", "label": "entailment"}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "row"), GLUE, ids=["mrpc", "cola", "sst2", "stsb", "qqp", "mnli", "qnli", "rte"])
def test_a_tab_separated_file_of_glue_has_the_columns_of_the_hub(
    tmp_path: Path, text: str, row: dict[str, str]
) -> None:
    (tmp_path / "train.tsv").write_text(text)
    first = split_files.read(tmp_path)["train"].to_pylist()[0]
    assert {name: first[name] for name in row} == row


def test_quotation_marks_and_odd_breaks_are_letters_in_tab_separated_files(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_bytes(f'sentence\tlabel\r\n"{NASTY}\t1\r\n"end" \t0\r\n'.encode())
    assert split_files.read(tmp_path)["train"].to_pylist() == [
        {"sentence": f'"{NASTY}', "label": "1"},
        {"sentence": '"end" ', "label": "0"},
    ]


def test_a_row_with_a_field_too_few_or_too_many_is_kept_as_nulls(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("sentence\tlabel\nA\t0\nB\nC\t1\t1\n")
    assert split_files.read(tmp_path)["train"].to_pylist() == [
        {"sentence": "A", "label": "0"},
        {"sentence": None, "label": None},
        {"sentence": None, "label": None},
    ]


MSR = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n1\t70\t71\tA\tB\r\n0\t80\t81\tC\tD\r\n"


def test_the_files_of_the_msr_corpus_are_train_and_test(tmp_path: Path) -> None:
    (tmp_path / "msr_paraphrase_train.txt").write_text(MSR)
    (tmp_path / "msr_paraphrase_test.txt").write_text(MSR)
    (tmp_path / "readme.txt").write_text("not a split")
    splits = split_files.read(tmp_path)
    assert sorted(splits) == ["test", "train"]
    assert splits["train"].select(["label", "sentence1", "sentence2"]).to_pylist() == [
        {"label": "1", "sentence1": "A", "sentence2": "B"},
        {"label": "0", "sentence1": "C", "sentence2": "D"},
    ]


def test_the_ids_of_glue_cut_the_validation_split_out_of_msr(tmp_path: Path) -> None:
    (tmp_path / "msr_paraphrase_train.txt").write_text(MSR)
    (tmp_path / "dev_ids.tsv").write_text("80\t81\n")
    splits = split_files.read(tmp_path)
    assert splits["train"]["sentence1"].to_pylist() == ["A"]
    assert splits["validation"]["sentence1"].to_pylist() == ["C"]


def test_of_glues_mrpc_folder_the_files_of_glue_are_read_and_not_those_of_msr(tmp_path: Path) -> None:
    for name, text in (("train", "A"), ("dev", "C")):
        (tmp_path / f"{name}.tsv").write_text(f"Quality\t#1 String\t#2 String\n1\t{text}\tB\n")
    (tmp_path / "test.tsv").write_text("index\t#1 String\t#2 String\n0\tE\tF\n")
    (tmp_path / "msr_paraphrase_train.txt").write_text(MSR)
    (tmp_path / "msr_paraphrase_test.txt").write_text(MSR)
    (tmp_path / "dev_ids.tsv").write_text("80\t81\n")
    (tmp_path / "original").mkdir()
    read = {split: rows["sentence1"].to_pylist() for split, rows in split_files.read(tmp_path).items()}
    assert read == {"train": ["A"], "validation": ["C"], "test": ["E"]}


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["train.jsonl", "train.tsv"],
         "train is in several files: train.jsonl, train.tsv; leave one of them, or all shards of one"),
        (["dev.tsv", "validation.tsv"],
         "validation is in several files: dev.tsv, validation.tsv; leave one of them, or all shards of one"),
        (["train-00000-of-00003.tsv", "train-00002-of-00003.tsv"],
         "train has 2 of 3 shards: train-00000-of-00003.tsv, train-00002-of-00003.tsv; add the missing ones"),
    ],
)  # fmt: skip
def test_a_split_in_several_files_or_in_part_is_told(tmp_path: Path, names: list[str], reason: str) -> None:
    for name in names:
        (tmp_path / name).write_text("sentence\tlabel\nA\t0\n")
    assert refusal(tmp_path) == f"{tmp_path}: {reason}"


def test_a_column_that_would_take_the_name_of_another_keeps_its_own(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("sentence\tlabel\tscore\nA\t1\t0.5\n")
    assert split_files.read(tmp_path)["train"].to_pylist() == [{"sentence": "A", "label": "1", "score": "0.5"}]


def test_glues_own_names_of_splits_are_understood(tmp_path: Path) -> None:
    for name in ("train", "dev_matched", "dev_mismatched", "test_matched"):
        (tmp_path / f"{name}.tsv").write_text("sentence\tlabel\nA\t0\n")
    assert sorted(split_files.read(tmp_path)) == [
        "test_matched",
        "train",
        "validation_matched",
        "validation_mismatched",
    ]


def test_a_folder_without_splits_is_told(tmp_path: Path) -> None:
    assert refusal(tmp_path) == (
        f"{tmp_path}: no splits; put train and validation there, as .jsonl, .json, .csv, .tsv, .parquet "
        "(each also .gz) or MSR's .txt"
    )


def test_lines_that_are_not_utf8_are_counted_and_the_first_is_shown(tmp_path: Path) -> None:
    file = tmp_path / "train.tsv"
    file.write_bytes(b"sentence\tlabel\nfine\t0\n" + "café\t1\n".encode("latin-1") * 2)
    assert refusal(tmp_path) == (
        f"{file}: 2 lines are not UTF-8, the first is line 3: b'caf\\xe9\\t1'; convert the file"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1}\n{"a": \n', "line 2 is not JSON (Expecting value); write one object a line"),
        ("[1]\n", "line 1 holds list; write one object a line"),
        ('{"a": 1}\n{"a": "x"}\n', "column 'a' does not hold values of one kind (Could not convert 'x' with type str: "
         "tried to convert to int64)"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_row_is_told_with_its_number(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "train.jsonl").write_text(text)
    assert refusal(tmp_path) == f"{tmp_path / 'train.jsonl'}: {reason}"


def test_a_file_that_is_no_parquet_is_told(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_text("no parquet at all")
    assert refusal(tmp_path).startswith(f"{tmp_path / 'train.parquet'}: not parquet that can be read (")


def test_an_empty_tab_separated_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("")
    assert refusal(tmp_path) == f"{tmp_path / 'train.tsv'}: empty; write a header and one row a line"


def written(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(gzip.compress(content) if name.endswith((".gz", ".GZ")) else content)


ROWS = [{"text": "a", "label": "0"}, {"text": 'b, "c"', "label": "1"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(ROWS), sink)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("end", ["", ".gz", ".GZ"])
@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("jsonl", LINES),
        ("json", LINES),
        ("json", json.dumps(ROWS, indent=2).encode()),
        ("csv", b'\xef\xbb\xbftext,label\r\na,0\r\n"b, ""c""",1\r\n'),
        ("tsv", b'text\tlabel\na\t0\nb, "c"\t1\n'),
        ("parquet", parquet()),
    ],
)
def test_a_split_is_read_from_every_format_and_from_gzip(tmp_path: Path, kind: str, content: bytes, end: str) -> None:
    written(tmp_path, f"train.{kind}{end}", content)
    assert split_files.read(tmp_path)["train"].to_pylist() == ROWS


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("Train.jsonl", "train"), ("TRAIN.JSONL", "train"), ("val.jsonl", "validation"), ("Valid.json", "validation"),
        ("DEV.jsonl", "validation"), ("validation_2024.jsonl", "validation_2024"), ("test-2.jsonl", "test-2"),
        ("Dev_Matched.jsonl", "validation_matched"),
    ],
)  # fmt: skip
def test_a_split_has_one_name_however_its_file_is_called(tmp_path: Path, name: str, split: str) -> None:
    written(tmp_path, name, LINES)
    assert list(split_files.read(tmp_path)) == [split]


@pytest.mark.parametrize("names", [("val.jsonl", "Validation.csv"), ("dev.json", "valid.jsonl"),
                                   ("validation.json", "validation.json.gz")])  # fmt: skip
def test_two_files_for_one_split_are_refused_whatever_they_are_called(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        written(tmp_path, name, LINES)
    listed = ", ".join(sorted(names))
    assert refusal(tmp_path) == (
        f"{tmp_path}: validation is in several files: {listed}; leave one of them, or all shards of one"
    )


def test_every_file_that_is_not_read_is_named_with_the_reason(tmp_path: Path) -> None:
    for name in ("train.jsonl", "train.xlsx", "my data.csv", "2024.jsonl", "notes.txt", ".hidden"):
        written(tmp_path, name, LINES)
    (tmp_path / "old").mkdir()
    rule = "the name of a split starts with a letter and holds letters, digits, '_' and '-'"
    assert split_files.read(tmp_path).unread == {
        "2024.jsonl": rule,
        "my data.csv": rule,
        "notes.txt": "not a format that is read",
        "old": "a folder",
        "train.xlsx": "not a format that is read",
    }
    (tmp_path / "train.jsonl").unlink()
    assert refusal(tmp_path) == (
        f"{tmp_path}: no splits; put train and validation there, as .jsonl, .json, .csv, .tsv, .parquet "
        f"(each also .gz) or MSR's .txt; not read: 2024.jsonl, my data.csv ({rule}); not read: notes.txt, train.xlsx "
        "(not a format that is read); not read: old (a folder)"
    )


def test_a_split_that_is_not_used_is_not_read(tmp_path: Path) -> None:
    written(tmp_path, "train.jsonl", LINES)
    written(tmp_path, "dataset_info.json", b'{\n  "features": {}\n}\n')
    splits = split_files.read(tmp_path)
    assert "dataset_info" in splits
    assert splits["train"].num_rows == 2


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("train.json", b'[{"a": 1}, 2]', ": entry 2 of the array is int; write an array of objects"),
        ("train.json", b'[{"a": 1}', " is not JSON (Expecting ',' delimiter); write an array of objects, or one object "
         "a line"),
        ("train.jsonl", b'{"a": 1, "a": 2}', ": line 1 holds the key 'a' twice; keep one"),
        ("train.jsonl", b'{"a": 1.5}\n{"a": true}', ": column 'a' does not hold values of one kind (booleans and "
         "others)"),
        ("train.csv", "text,label\ncafé,0\n".encode("latin-1"),
         ": 1 lines are not UTF-8, the first is line 2: b'caf\\xe9,0'; convert the file"),
    ],
)  # fmt: skip
def test_content_that_could_be_misread_is_refused(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    written(tmp_path, name, content)
    assert refusal(tmp_path) == f"{tmp_path / name}{reason}"


def test_a_damaged_gzip_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.csv.gz").write_bytes(gzip.compress(b"text,label\na,0\n")[:-9])
    assert refusal(tmp_path).startswith(f"{tmp_path / 'train.csv.gz'}: not gzip that can be read (")


def test_how_quotation_marks_were_read_is_noted_with_the_file(tmp_path: Path) -> None:
    written(tmp_path, "train.tsv", b'text\tlabel\n"a\tb"\t0\n')
    written(tmp_path, "validation.tsv", b'text\tlabel\n"a\t0\n')
    splits = split_files.read(tmp_path)
    dict(splits)
    assert splits.notes == ["train.tsv: quotation marks enclose fields and are no part of them, as in files of pandas"]
    assert splits.warnings == [
        "validation.tsv: quotation marks are read as letters, because a quotation mark that opens a field is never "
        "closed (the row at line 2)"
    ]
