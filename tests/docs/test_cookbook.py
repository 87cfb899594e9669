"""The SQL cookbook: every query runs as it stands, live and on the published copy, and finds what it is for."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from indexer.manager import StorageManager
from indexer.store import initialise_store

BOOK = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "sql-cookbook.md"
ENTRY = re.compile(r"^### (.+?)\n.*?```sql\n(.+?)\n```", re.DOTALL | re.MULTILINE)
QUERIES = dict(ENTRY.findall(BOOK.read_text(encoding="utf-8")))
DAY = 86_400
CONFIG = """
[store]
mode = "enforce"
[[class]]
name = "uploads"
match = ["uploads/**"]
ttl = "7d"
quota = "1GiB"
arrival_floor = false
min_age = "0s"
[[class]]
name = "frames"
match = ["frames/**"]
ttl = "60d"
tier = "hot"
arrival_floor = false
"""


def plant(root: Path) -> None:
    """Make a tree in which every query has something to find."""
    now = time.time()

    def file(path: str | bytes, age: float, size: int = 5000, used: float | None = None) -> None:
        place = os.path.join(os.fsencode(root), os.fsencode(path))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        Path(os.fsdecode(place)).write_bytes(b"x" * size)
        os.utime(place, (now - (age if used is None else used) * DAY, now - age * DAY))

    file("README.md", 400, 0)
    file("uploads/alice/old.mov", 8)
    file("uploads/alice/removed.mov", 9)
    file("uploads/bob/soon.mov", 5)
    file("uploads/bob/soon.jpg", 6, used=1)
    file("frames/job-1/cover.jpg", 40, 70_000)
    file("frames/job-2/cover.jpg", 40, 70_000)
    file(b"frames/job-2/caf\xe9.jpg", 1)
    file("frames/job-2/from-the-future.jpg", -400)
    (root / "README.md").chmod(0o666)
    (root / "frames" / "empty").mkdir()
    with (root / "frames" / "sparse.raw").open("wb") as sparse:
        sparse.truncate(5_000_000)


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> StorageManager:
    """A store with a run, a hold, samples of usage and a published copy beside it."""
    place = tmp_path_factory.mktemp("cookbook")
    root = place / "store"
    root.mkdir()
    plant(root)
    initialise_store(root, profile="empty")
    (root / "indexer.toml").write_text(CONFIG, encoding="utf-8")
    manager = StorageManager(root)
    manager.scan()
    manager.hold("uploads/alice/old.mov", reason="court")
    assert manager.expire()["files_removed"] == 1
    with closing(sqlite3.connect(manager.store.ledger_path)) as ledger, ledger:
        samples = [(int(time.time()) - ago * DAY, name, 10 - ago) for ago in range(3) for name in ("uploads", "frames")]
        insert = "INSERT OR REPLACE INTO usage_history (at, class, files, bytes, allocated) VALUES (?, ?, 1, 1, ?)"
        ledger.executemany(insert, samples)
    manager.export(place / "media.db")
    return manager


def test_there_are_enough_of_them() -> None:
    """Twenty were promised."""
    assert len(QUERIES) >= 20


@pytest.mark.parametrize("title", QUERIES)
def test_a_query_of_the_cookbook(manager: StorageManager, title: str) -> None:
    """It is allowed by `indexer sql`, any SQLite understands it, both find the same, and it is not nothing."""
    live = manager.sql(QUERIES[title])
    with closing(sqlite3.connect(f"file:{manager.store.root.parent / 'media.db'}?mode=ro", uri=True)) as copy:
        cursor = copy.execute(QUERIES[title])
        columns = [column[0] for column in cursor.description]
        published = [list(row) for row in cursor]
        plan = " ".join(row[3] for row in copy.execute(f"EXPLAIN QUERY PLAN {QUERIES[title]}"))
    assert (live["columns"], ordered(live["rows"])) == (columns, ordered(published))
    assert published
    assert "AUTOMATIC" not in plan


def ordered(rows: list[list[Any]]) -> list[list[Any]]:
    """Return rows in an order of their own: equal figures may come in any."""
    return sorted(rows, key=repr)
