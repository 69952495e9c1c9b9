"""A database as a tracking store: created as a whole, checked, and never upgraded without the user's request."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.core.redaction import redact

SQLITE = "sqlite:///"
DIALECTS = ("sqlite", "postgresql", "mysql", "mssql")  # that MLflow supports
RECREATE = "move it away, and `lab sync` creates a new one from the files"
LOCK_SECONDS = 20.0  # to wait for the lock under which a database is created


class DatabaseError(Exception):
    """A database or URI that cannot be used; the text gives the reason and what to do."""


def is_database(uri: str) -> bool:
    """Return whether ``uri`` names a database, not a server or a folder."""
    return uri.partition(":")[0].partition("+")[0] in DIALECTS


def prepare_database(uri: str) -> str | None:
    """Create the database if it is a file that does not exist yet; return the URI of its artifacts for a file.

    A file is created under another name and a lock: several processes that create one at the same time break it for
    good, and so does one that is killed meanwhile. Raises DatabaseError for a database that is damaged or of another
    version of MLflow, and any error of the driver.
    """
    file = _get_file(uri)
    if file is not None:
        from filelock import FileLock

        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{file}.lock", timeout=LOCK_SECONDS):
            if not file.exists() or (file.is_file() and file.stat().st_size == 0):
                _create_file(file)
        _run_pragma(file, "PRAGMA schema_version")  # fails at once; MLflow would try again for minutes
    _check_version(uri)
    return (file.parent / "mlruns").as_uri() if file else None


def set_concurrent_reads(uri: str) -> None:
    """Let readers and writers of a file no longer wait for each other."""
    if file := _get_file(uri):
        _run_pragma(file, "PRAGMA journal_mode=WAL")


def _get_file(uri: str) -> Path | None:
    from sqlalchemy import make_url

    return Path(make_url(uri).database or "").absolute() if uri.startswith(SQLITE) else None


def _create_file(file: Path) -> None:
    utils = _import_utils()
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)  # of a process that was killed
    engine = utils.create_sqlalchemy_engine(f"{SQLITE}{new}")
    utils._initialize_tables(engine)
    engine.dispose()
    new.replace(file)


def _import_utils() -> Any:
    """Return the module behind ``mlflow db``, which has no types."""
    return import_module("mlflow.store.db.utils")


def _run_pragma(file: Path, pragma: str) -> None:
    try:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute(pragma)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise DatabaseError(f"{error}; {RECREATE}") from None


def _check_version(uri: str) -> None:
    """Reject a database of another version; MLflow would upgrade some without asking, and fail late on others."""
    utils = _import_utils()
    engine = utils.create_sqlalchemy_engine(uri)
    try:
        version, latest = utils._get_schema_version(engine), utils._get_latest_schema_revision()
        is_complete = utils._all_tables_exist(engine)
        if (version == latest and is_complete) or (version is None and utils._is_empty_database(engine)):
            return
    finally:
        engine.dispose()
    if version in (None, latest):
        raise DatabaseError(f"some of its tables are missing; {RECREATE}")
    raise DatabaseError(f"its tables are of version {version}, not {latest}; {_format_remedy(uri, version)}")


def _format_remedy(uri: str, version: str) -> str:
    import mlflow
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    try:
        ScriptDirectory(str(Path(mlflow.__file__).parent / "store/db_migrations")).get_revision(version)
    except CommandError:
        return "a newer MLflow created them: update this project's, or name another store"
    return f"make a copy of it and run `mlflow db upgrade {redact(uri)}`"
