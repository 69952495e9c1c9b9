"""Reading a folder of splits: ``train`` and ``validation`` as JSON, JSON lines, CSV, TSV or parquet, also as .gz."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.core.errors import UserError
from pipeline.data import file_formats

FILE = re.compile(
    r"(?P<split>[a-z][a-z0-9_-]*?)(-(?P<number>\d{5})-of-(?P<of>\d{5}))?"
    rf"\.(?P<kind>{'|'.join(file_formats.KINDS)})(\.gz)?"
    r"|(?P<msr>msr_paraphrase_[a-z]+)\.txt",
    re.IGNORECASE | re.ASCII,
)
NAMES = {  # other names of the same splits: common ones, GLUE's and MSR's
    "val": "validation",
    "valid": "validation",
    "dev": "validation",
    "dev_matched": "validation_matched",
    "dev_mismatched": "validation_mismatched",
    "msr_paraphrase_train": "train",
    "msr_paraphrase_test": "test",
}
DEV_IDS = "dev_ids.tsv"  # the sentence ids by which GLUE cuts its validation split out of MSR's train file
IDS = ("#1 ID", "#2 ID")  # the columns of MSR's files that hold them
READABLE = f"{', '.join(f'.{kind}' for kind in file_formats.KINDS)} (each also .gz)"
NO_FORMAT = "not a format that is read"
NO_NAME = "the name of a split starts with a letter and holds letters, digits, '_' and '-'"


class Splits(Mapping[str, pa.Table]):
    """The splits of a folder; the files of a split are read when it is first used.

    ``unread`` holds the files of the folder that belong to no split, with the reason. ``notes`` and ``warnings`` are
    sentences about the splits that were read so far: how, and what may be wrong.
    """

    def __init__(self, folder: Path, files: Mapping[str, list[Path]], unread: Mapping[str, str]) -> None:
        self._folder = folder
        self._files = files
        self._tables: dict[str, pa.Table] = {}
        self.unread = unread
        self.notes: list[str] = []
        self.warnings: list[str] = []

    def __getitem__(self, split: str) -> pa.Table:
        """Return the rows of a split. Raises KeyError where there is none, UserError where it cannot be read."""
        if split not in self._tables:
            self._tables[split] = self._read(split)
        return self._tables[split]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys([*self._files, *(["validation"] if self._is_cut() else [])]))

    def __len__(self) -> int:
        return len([*iter(self)])

    def __contains__(self, split: object) -> bool:
        """Return whether there is a split, without reading it."""
        return split in [*iter(self)]

    def _is_cut(self) -> bool:
        """Return whether the validation split is cut out of MSR's train file."""
        return "validation" not in self._files and (self._folder / DEV_IDS).is_file()

    def _read(self, split: str) -> pa.Table:
        if self._is_cut() and split in ("train", "validation"):
            rows = self._read_files("train") if "train" in self._files else pa.table({})
            self._tables |= _cut(rows, self._folder / DEV_IDS)
            return self._tables[split]
        return self._read_files(split)

    def _read_files(self, split: str) -> pa.Table:
        parsed = [file_formats.read_table(path) for path in self._files[split]]
        self.notes += [note for each in parsed for note in each.notes]
        self.warnings += [warning for each in parsed for warning in each.warnings]
        return _join(self._folder, split, [each.table for each in parsed])


def read(folder: Path) -> Splits:
    """Return every split of a folder, its columns under the names of the source (the Hub's, for GLUE).

    A split is one file, or all shards of one (``train-00000-of-00002.parquet``). Where a folder holds the files of MSR
    and those that GLUE made of them, GLUE's are read.

    Raises UserError when there are no splits, or two files claim one.
    """
    files, unread = _find(folder)
    if not files:
        raise UserError(
            f"{folder}: no splits; put train and validation there, as {READABLE} or MSR's .txt{format_unread(unread)}"
        )
    return Splits(folder, files, unread)


def name_split(name: str) -> str:
    """Return the project's name of a split that a source may name otherwise: ``Val`` and ``dev`` are validation."""
    return NAMES.get(name.lower(), name.lower())


def format_unread(unread: Mapping[str, str]) -> str:
    """Return the files of a folder that are not read, with the reasons, as the end of a message."""
    reasons: dict[str, list[str]] = {}
    for name, reason in unread.items():
        reasons.setdefault(reason, []).append(name)
    return "".join(f"; not read: {', '.join(names)} ({reason})" for reason, names in reasons.items())


def _find(folder: Path) -> tuple[dict[str, list[Path]], dict[str, str]]:
    """Return the files of each split, and the files that belong to none with the reason; hidden files are neither."""
    matches: dict[str, list[re.Match[str]]] = {}
    unread: dict[str, str] = {}
    for path in _list(folder):
        if path.name.startswith(".") or (path.name == DEV_IDS and path.is_file()):
            continue
        match = FILE.fullmatch(path.name)
        if match is None or not path.is_file():
            unread[path.name] = _explain_unread(path)
        else:
            matches.setdefault(name_split(match["split"] or match["msr"]), []).append(match)
    files = {}
    for split, found in matches.items():
        chosen = _choose(folder, split, found)
        files[split] = [folder / match[0] for match in chosen]
        unread |= {match[0]: "GLUE's own file of the split is read" for match in found if match not in chosen}
    if "validation" in files and (folder / DEV_IDS).is_file():
        unread[DEV_IDS] = "there is a validation split"
    return files, unread


def _explain_unread(path: Path) -> str:
    """Return why a file is no split."""
    if path.is_dir():
        return "a folder"
    if not path.is_file():
        return "not a regular file"
    kinds = tuple(f".{kind}{end}" for kind in file_formats.KINDS for end in ("", ".gz"))
    return NO_NAME if path.name.lower().endswith(kinds) else NO_FORMAT


def _list(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}; give yourself the right to") from None


def _choose(folder: Path, split: str, files: list[re.Match[str]]) -> list[re.Match[str]]:
    """Return the file of a split, or its shards."""
    files = [match for match in files if not match["msr"]] or files
    names = ", ".join(match[0] for match in files)
    wanted = [f"{number:05d}" for number in range(int(files[0]["of"] or 0))]
    if len(files) > 1 and (not wanted or len({(match["kind"], match["of"]) for match in files}) > 1):
        raise UserError(f"{folder}: {split} is in several files: {names}; leave one of them, or all shards of one")
    if wanted and [match["number"] for match in files] != wanted:
        raise UserError(f"{folder}: {split} has {len(files)} of {len(wanted)} shards: {names}; add the missing ones")
    return files


def _join(folder: Path, split: str, shards: list[pa.Table]) -> pa.Table:
    """Return the rows of all shards of a split."""
    try:
        return pa.concat_tables(shards, promote_options="default")
    except pa.ArrowException as error:
        raise UserError(
            f"{folder}: {split}: its shards hold other columns or kinds of values ({file_formats.first_line(error)}); "
            "make them alike"
        ) from None


def _cut(rows: pa.Table, ids: Path) -> dict[str, pa.Table]:
    """Cut MSR's train file into GLUE's train and validation splits by the ids of both sentences."""
    wanted = {tuple(line.split("\t")) for line in file_formats.read_lines(ids)}
    if lacking := [name for name in IDS if rows.column_names.count(name) != 1]:
        raise UserError(
            f"{ids}: cuts validation out of a train split by {' and '.join(IDS)}, but there is no {lacking[0]}; "
            f"put MSR's train file into the same folder, or remove {DEV_IDS}"
        )
    pairs = zip(*(rows[name].to_pylist() for name in IDS), strict=True)
    held = pa.array([pair in wanted for pair in pairs])
    return {"train": rows.filter(pc.invert(held)), "validation": rows.filter(held)}
