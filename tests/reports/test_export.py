"""Snapshots for other tools: any client reads them, they agree with the live views, and appear whole or not at all."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from indexer.enforce.ledger import Ledger
from indexer.errors import FilesystemError, NotScannedError, UsageError
from indexer.index.surface import LEDGER_VIEWS, VIEWS
from indexer.reports import atomic
from indexer.reports.export import export
from indexer.reports.reading import open_views
from indexer.store import Store
from tests.reports.built import DAY, NOW, Built
from tests.reports.stores import media_store, store_of

TIMELESS = [name for name in (*VIEWS, *LEDGER_VIEWS) if name not in {"expired", "holds"}]
"""Views that say the same whenever they are read."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a ledger that has holds, a lease and a run."""
    (tmp_path / "state").mkdir()
    found = media_store(tmp_path / "state")
    with Ledger.open(found.ledger_path, ballast=False) as ledger:
        ledger.add_hold(b"uploads/alice", "tree", until=None, reason="court", by="bob", now=NOW)
        ledger.add_hold(b"frames/job-\xff/frame\n.jpg", "file", until=2 * NOW, reason="", by="bob", now=NOW)
        ledger.add_hold(b"cache", "tree", until=1_700_000_000, reason="over", by="bob", now=NOW)
        ledger.add_lease(b"outputs", "job 17", expires=2 * NOW, now=NOW)
        ledger.begin_run("expire", "command", user="alice", mode="enforce", policy="abc", now=NOW)
    return found


def rows(connection: Any, query: str) -> list[tuple[Any, ...]]:
    """Return all rows, in an order of their own."""
    return sorted(connection.execute(query).fetchall(), key=repr)


@pytest.fixture
def copy(store: Store, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """The published copy, read by the interpreter's own SQLite."""
    assert export(store, tmp_path / "media.db", NOW) == 12
    with closing(sqlite3.connect(f"file:{tmp_path / 'media.db'}?mode=ro", uri=True)) as connection:
        yield connection


def test_the_copy_has_every_view_with_its_columns(copy: sqlite3.Connection) -> None:
    """In rollback mode, without any function of ours."""
    for name, view in {**VIEWS, **LEDGER_VIEWS}.items():
        cursor = copy.execute(f"SELECT * FROM {name}")
        cursor.fetchall()
        assert [column[0] for column in cursor.description] == list(view.columns), name
    assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert copy.execute("SELECT at, store, root FROM published").fetchall() == [(NOW, "a-store", "/nowhere")]
    assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("view", TIMELESS)
def test_the_copy_says_what_the_live_view_says(store: Store, copy: sqlite3.Connection, view: str) -> None:
    """Row by row and column by column, undecodable names included; but for holds, which are those of the moment."""
    columns = ", ".join(f'"{column}"' for column in {**VIEWS, **LEDGER_VIEWS}[view].columns if column != "held")
    with open_views(store, NOW) as reader:
        assert rows(copy, f"SELECT {columns} FROM {view}") == rows(reader.connection, f"SELECT {columns} FROM {view}")


def test_what_depends_on_the_moment_asks_the_readers_clock(copy: sqlite3.Connection) -> None:
    """Holds that are over are over, leases protect and are no holds, and what is past its time has expired."""
    assert rows(copy, "SELECT path FROM files WHERE held") == [
        ("frames/job-\\xff/frame\n.jpg",),
        ("outputs/final.mp4",),
        ("uploads/alice/a.tar.gz",),
    ]
    assert rows(copy, "SELECT path, reason FROM holds") == [
        ("frames/job-\\xff/frame\n.jpg", ""),
        ("uploads/alice", "court"),
    ]
    due = "SELECT path FROM expiring WHERE expires_at < CAST(strftime('%s', 'now') AS INTEGER)"
    assert rows(copy, "SELECT path FROM expired") == rows(copy, due)


@pytest.mark.parametrize(
    ("query", "index"),
    [
        ("SELECT path FROM expired", "_file_expires"),
        ("SELECT path FROM expiring LIMIT 10", "_file_expires"),
        ("SELECT path FROM files WHERE class = 'uploads'", "_file_class"),
        ("SELECT count(*) FROM files WHERE class = 'uploads' AND expires_at < 5", "_file_class"),
        ("SELECT path FROM files WHERE directory = 'uploads/alice'", "_file_directory"),
        ("SELECT path FROM files ORDER BY allocated DESC LIMIT 10", "_file_allocated"),
        ("SELECT * FROM tree WHERE path = 'uploads'", "_directory_path"),
        ("SELECT * FROM actions WHERE path = 'uploads/x'", "actions_path"),
    ],
)
def test_questions_find_their_index(tmp_path: Path, query: str, index: str) -> None:
    """And sort nothing: checked on a store large enough for the planner to care."""
    (tmp_path / "state").mkdir()
    built = Built(tmp_path / "state" / "index.db")
    for number in range(2000):
        built.file(f"{'uploads' if number % 9 == 0 else 'outputs'}/{number % 50}/{number}", age=number, blocks=number)
    built.close()
    export(store_of(tmp_path / "state"), tmp_path / "media.db", NOW)
    with closing(sqlite3.connect(tmp_path / "media.db")) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")]
    assert any(f"INDEX {index}" in line for line in plan), plan
    assert not any("TEMP B-TREE" in line for line in plan), plan


def test_csv(store: Store, tmp_path: Path) -> None:
    """NULL is empty, bytes are hexadecimal, a newline in a name stays within its quotes."""
    target = tmp_path / "files.csv"
    assert export(store, target, NOW) == 12
    with target.open(encoding="utf-8", newline="") as file:
        found = {row["path"]: row for row in csv.DictReader(file)}
    odd = found["frames/job-\\xff/frame\n.jpg"]
    assert bytes.fromhex(odd["path_bytes"]) == b"frames/job-\xff/frame\n.jpg"
    assert (found["README"]["class"], found["README"]["path_bytes"], found["README"]["size"]) == ("", "", "1000")
    assert list(odd) == list(VIEWS["files"].columns)


def test_jsonl_of_a_view_of_the_ledger(store: Store, tmp_path: Path) -> None:
    """One object a line, with the columns of the view."""
    target = tmp_path / "runs.jsonl"
    assert export(store, target, NOW, view="runs") == 1
    (line,) = target.read_text(encoding="utf-8").splitlines()
    assert list(json.loads(line)) == list(LEDGER_VIEWS["runs"].columns)
    assert json.loads(line)["mode"] == "enforce"


def test_parquet_is_read_by_duckdb(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows in the same types, in several row groups."""
    duckdb = pytest.importorskip("duckdb")
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("indexer.reports.export.ROWS_AT_ONCE", 5)
    target = tmp_path / "files.parquet"
    assert export(store, target, NOW) == 12
    with open_views(store, NOW) as reader:
        expected = rows(reader.connection, "SELECT * FROM files")
    with duckdb.connect() as connection:
        assert sorted(connection.sql(f"SELECT * FROM '{target}'").fetchall(), key=repr) == expected
        sums = connection.sql(f"SELECT class, sum(size) FROM '{target}' WHERE tier = 'cold' GROUP BY 1").fetchall()
        assert sums == [("outputs", 9_000_000)]


def test_what_was_there_stays_whole_until_the_new_one_is(store: Store, tmp_path: Path) -> None:
    """A reader that has the old file open goes on reading it; a failing export changes nothing and leaves nothing."""
    target = tmp_path / "media.db"
    export(store, target, NOW)
    before = target.stat().st_ino
    with closing(sqlite3.connect(target)) as old:
        assert old.execute("SELECT count(*) FROM files").fetchone() == (12,)
        export(store, target, NOW + DAY)
        assert old.execute("SELECT at FROM published").fetchone() == (NOW,)
    assert target.stat().st_ino != before
    (store.index_path).write_bytes(b"not a database" * 1000)
    now = target.stat().st_ino
    with pytest.raises(Exception, match=r"damaged|cannot be opened|schema"):
        export(store, target, NOW)
    assert target.stat().st_ino == now
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_mode_and_group(store: Store, tmp_path: Path) -> None:
    """As asked for; else what the umask leaves, and the bytes are nobody's until then."""
    group = os.getgroups()[-1] if os.getuid() else 12_345
    export(store, tmp_path / "a.csv", NOW, mode=0o640, group=str(group))
    found = (tmp_path / "a.csv").stat()
    assert (found.st_mode & 0o7777, found.st_gid) == (0o640, group)
    script = "import os, pathlib; from indexer.reports.atomic import replacing\nos.umask(0o027)\n"
    script += f"with replacing(pathlib.Path({str(tmp_path / 'b')!r})) as p: print(oct(p.stat().st_mode & 0o777))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0o600"
    assert (tmp_path / "b").stat().st_mode & 0o7777 == 0o640


def test_what_a_killed_writer_left_is_removed_and_what_another_writes_is_not(tmp_path: Path) -> None:
    """A lock tells them apart."""
    target = tmp_path / "media.db"
    (tmp_path / ".media.db.left.partial").write_bytes(b"half")
    (tmp_path / ".other.db.left.partial").write_bytes(b"of somebody else")
    with atomic.replacing(target) as first, atomic.replacing(target):
        assert first.exists()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".other.db.left.partial", "media.db"]


def test_refusals(store: Store, tmp_path: Path) -> None:
    """Each with a remedy; nothing is written."""
    (tmp_path / "dir.csv").mkdir()
    os.mkfifo(tmp_path / "fifo.csv")
    cases: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("files.xlsx", {}, "does not name a format"),
        ("files.csv", {"view": "file"}, "no view 'file'"),
        ("media.db", {"view": "files"}, "all views"),
        ("files.csv", {"group": "no-such-group"}, "no group"),
        ("dir.csv", {}, "not a regular file"),
        ("fifo.csv", {}, "not a regular file"),
        ("state/index.db", {}, "own state"),
    )
    for name, options, message in cases:
        with pytest.raises(UsageError, match=message) as caught:
            export(store, tmp_path / name, NOW, **options)
        assert caught.value.remedy
    with pytest.raises(FilesystemError, match="cannot be written"):
        export(store, tmp_path / "nowhere" / "files.csv", NOW)
    with pytest.raises(NotScannedError):
        export(store_of(tmp_path / "dir.csv"), tmp_path / "media.db", NOW)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["dir.csv", "fifo.csv", "state"]
