"""A database as a tracking store: made whole or not at all, and never upgraded unasked."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.core.redaction import redact

SQLITE = "sqlite:///"
KINDS = ("sqlite", "postgresql", "mysql", "mssql")  # that MLflow knows
ANEW = "move it away, and `lab sync` fills a new one from the files"
PATIENCE_SECONDS = 20.0  # for the lock under which a database is made


class Unfit(Exception):
    """A database that cannot be used as it is; the text says why and what to do."""


def is_one(uri: str) -> bool:
    """Say whether ``uri`` names a database, not a server or a folder."""
    return uri.partition(":")[0].partition("+")[0] in KINDS


def prepare(uri: str) -> str | None:
    """Make the database where it is a file that does not exist yet; return where its artifacts go, if beside it.

    A file is made under another name and a lock: several processes that make one at the same time break it for good,
    and so does one that is killed meanwhile. Raises Unfit for a database that is damaged or of another version of
    MLflow, and whatever the driver raises.
    """
    file = _file(uri)
    if file is not None:
        from filelock import FileLock

        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock", timeout=PATIENCE_SECONDS):
            if not file.exists() or (file.is_file() and file.stat().st_size == 0):
                _make(file)
        _set(file, "PRAGMA schema_version")  # seen at once: MLflow would try again for minutes
    _check(uri)
    return (file.parent / "mlruns").as_uri() if file else None


def sketch(uri: str) -> None:
    """Make a database to be thrown away: today's tables alone, not what 67 migrations lead to.

    That takes a tenth of a second, the migrations take one.
    """
    from sqlalchemy import text
    from sqlalchemy.schema import CreateTable

    utils = _tools()
    engine = utils.create_sqlalchemy_engine(uri)
    with engine.begin() as connection:
        for table in utils.Base.metadata.sorted_tables:
            connection.execute(CreateTable(table, include_foreign_key_constraints=()))
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        head = {"head": utils._get_latest_schema_revision()}
        connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), head)
    engine.dispose()


def share(uri: str) -> None:
    """Let readers and writers of a file no longer wait for each other."""
    if file := _file(uri):
        _set(file, "PRAGMA journal_mode=WAL")


def _file(uri: str) -> Path | None:
    from sqlalchemy import make_url

    return Path(make_url(uri).database or "").absolute() if uri.startswith(SQLITE) else None


def _make(file: Path) -> None:
    utils = _tools()
    fresh = file.with_name(f"{file.name}.new")
    fresh.unlink(missing_ok=True)  # of a process that was killed
    engine = utils.create_sqlalchemy_engine(f"{SQLITE}{fresh}")
    utils._initialize_tables(engine)
    engine.dispose()
    fresh.replace(file)


def _tools() -> Any:
    """Return what ``mlflow db`` works with, which has no types."""
    return import_module("mlflow.store.db.utils")


def _set(file: Path, pragma: str) -> None:
    try:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute(pragma)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise Unfit(f"{error}; {ANEW}") from None


def _check(uri: str) -> None:
    """Refuse a database of another version; MLflow would upgrade some of them by itself, and fail late on others."""
    utils = _tools()
    engine = utils.create_sqlalchemy_engine(uri)
    try:
        found, head = utils._get_schema_version(engine), utils._get_latest_schema_revision()
        whole = utils._all_tables_exist(engine)
        if (found == head and whole) or (found is None and utils._is_empty_database(engine)):
            return
    finally:
        engine.dispose()
    if found in (None, head):
        raise Unfit(f"some of its tables are missing; {ANEW}")
    raise Unfit(f"its tables are of version {found}, not {head}; {_remedy(uri, found)}")


def _remedy(uri: str, found: str) -> str:
    import mlflow
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    try:
        ScriptDirectory(str(Path(mlflow.__file__).parent / "store/db_migrations")).get_revision(found)
    except CommandError:
        return "a newer MLflow made them: update this project's, or name another store"
    return f"make a copy of it and run `mlflow db upgrade {redact(uri)}`"
