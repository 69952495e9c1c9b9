import sqlite3
from contextlib import closing
from pathlib import Path

from pipeline.tracking.mlflow import database, rehearsal, store


def columns(file: Path) -> dict[str, set[str]]:
    with closing(sqlite3.connect(file)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: {row[1] for row in connection.execute(f"PRAGMA table_info({name})")} for name in tables}


def test_a_sketch_has_the_columns_that_the_migrations_lead_to(tmp_path: Path) -> None:
    sketched, migrated = (tmp_path / name for name in ("sketched.db", "migrated.db"))
    store.load(f"{database.SQLITE}{migrated}")
    database.sketch(f"{database.SQLITE}{sketched}")
    database.prepare(f"{database.SQLITE}{sketched}")  # which raises where MLflow would not take it
    database.prepare(f"{database.SQLITE}{migrated}")
    assert columns(sketched) == columns(migrated)


def test_a_rehearsal_tells_a_whole_cell() -> None:
    rehearsal.rehearse()  # the warm parent goes on without it where it fails, only more slowly
