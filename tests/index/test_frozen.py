"""The index as it is, where there is no room to open it as usual."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from indexer.errors import IndexDatabaseError, NotScannedError
from indexer.index.frozen import open_frozen


@pytest.mark.parametrize(
    ("version", "kind", "said"),
    [(0, NotScannedError, "the index is empty"), (999, IndexDatabaseError, "the index has another schema")],
)
def test_a_full_disk_is_told_from_an_old_index(tmp_path: Path, version: int, kind: type[Exception], said: str) -> None:
    """A first scan that found no room leaves an empty file: an upgrade would not fill it, room would."""
    path = tmp_path / "index.db"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {version}")
    connection.close()
    path.touch()
    with pytest.raises(kind, match=said):
        open_frozen(path)
