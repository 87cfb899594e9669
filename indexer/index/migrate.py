"""Bring a database to this version's schema with peewee's migration runner, and only when it has to be."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from indexer.errors import IndexDatabaseError

if TYPE_CHECKING:
    from peewee import SqliteDatabase

VERSION = 2
"""PRAGMA user_version of an index that this program reads and writes."""


def scripts(kind: str) -> Path:
    """Return the directory of the migration scripts: inside the wheel, or at the source tree's top level."""
    package = Path(__file__).resolve().parent.parent
    shipped = package / "_migrations" / kind
    return shipped if shipped.is_dir() else package.parent / "migrations" / kind


def check_version(version: int, path: str) -> None:
    """Raise IndexDatabaseError for an index that a newer program wrote."""
    if version > VERSION:
        raise IndexDatabaseError(
            f"{path}: the index has schema {version}, this program knows schema {VERSION}",
            remedy="upgrade indexer, or run `indexer db rebuild` to make a new index from the tree",
        )


def migrate(database: SqliteDatabase, path: str) -> list[str]:
    """Apply what is missing; return the names of the migrations that were applied. Raises IndexDatabaseError."""
    version: Any = database.pragma("user_version")
    check_version(version, path)
    if version == VERSION:
        return []
    from playhouse.migrations import Runner

    applied: list[str] = Runner(database, str(scripts("index"))).up()
    return applied
