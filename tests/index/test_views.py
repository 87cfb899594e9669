"""The SQL views: exactly the contract's columns, true values, and plans that read no more than they must."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer.enforce.ledger import Ledger
from indexer.index.queries import Reader
from indexer.index.surface import LEDGER_VIEWS, VIEWS
from tests.reports.built import DAY, NOW, RULES, Built, counting, media, plans, reader

CONTRACT = {
    "files": "path path_bytes directory name extension kind size allocated links uid gid mode dev inode mtime atime"
    " used_at ctime btime first_seen clock_at class tier expires_at held",
    "directories": "path files bytes allocated mtime",
    "tree": "path depth files bytes allocated",
    "usage_by_class": "class tier files bytes allocated oldest newest quota_high quota_low",
    "usage_by_tier": "tier files bytes allocated",
    "usage_by_owner": "uid files bytes allocated",
    "usage_by_child": "class child files bytes allocated quota_high",
    "usage_history": "at class files bytes allocated",
    "expired": "path class expires_at allocated",
    "expiring": "path class expires_at allocated",
    "holds": "path until reason by",
    "runs": "id started finished kind trigger user mode policy files_removed bytes_freed bytes_trashed refused",
    "actions": "run path class action reason size allocated uid mtime used_at clock_at ttl outcome error at"
    " restorable_until child",
}
OURS = {"notices": "path class published goes_at clock_at reason"}
"""Views beyond the contract, which may be extended and not bent."""


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Reader]:
    """A small index with the views on it."""
    with reader(media(tmp_path / "index.db"), prefixes={rule.name: (rule.name,) for rule in RULES}) as found:
        yield found


def rows(index: Reader, query: str) -> list[Any]:
    """Return all rows of a query."""
    found: list[Any] = index.connection.execute(query).fetchall()
    return found


@pytest.mark.parametrize("ledger", [False, True])
def test_the_views_have_the_columns_of_the_contract(tmp_path: Path, ledger: bool) -> None:
    """Names and order are fixed, with a ledger and before there is one, and each column is documented."""
    path = tmp_path / "ledger.db"
    if ledger:
        Ledger.open(path, ballast=False).close()
    with reader(media(tmp_path / "index.db"), ledger=path) as index:
        actual = {
            name: [column[0] for column in index.connection.execute(f"SELECT * FROM {name}").description]
            for name in {**CONTRACT, **OURS}
        }
    assert actual == {name: columns.split() for name, columns in {**CONTRACT, **OURS}.items()}
    assert {name: list(view.columns) for name, view in {**VIEWS, **LEDGER_VIEWS}.items()} == actual


def test_a_file_as_the_view_shows_it(index: Reader) -> None:
    """Whole seconds, bytes of blocks, permission bits, the class and its date."""
    names = CONTRACT["files"].split()
    row = dict(zip(names, rows(index, "SELECT * FROM files WHERE name = 'old.MOV'")[0], strict=True))
    at = NOW - 8 * DAY
    assert row == {
        "path": "uploads/old.MOV",
        "path_bytes": None,
        "directory": "uploads",
        "name": "old.MOV",
        "extension": "mov",
        "kind": "file",
        "size": 5_000_000,
        "allocated": 9768 * 512,
        "links": 1,
        "uid": 1000,
        "gid": 100,
        "mode": 0o644,
        "dev": 2049,
        "inode": 77,
        "mtime": at,
        "atime": at,
        "used_at": at,
        "ctime": at,
        "btime": at - 1,  # born a nanosecond before the second
        "first_seen": at,
        "clock_at": at,
        "class": "uploads",
        "tier": "hot",
        "expires_at": at + 7 * DAY,
        "held": 0,
    }


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("README", (None, None, None, None)),
        ("uploads/.keep", ("uploads", "hot", None, None)),
        ("outputs/final.mp4", ("outputs", "cold", NOW - 900 * DAY, None)),
        ("cache/read-yesterday", ("cache", "hot", NOW - DAY, NOW + 2 * DAY)),
    ],
)
def test_class_clock_and_date(index: Reader, path: str, expected: tuple[Any, ...]) -> None:
    """No class, excluded, without a ttl, and by access: the clock shown is the true one, not the stored bound."""
    assert rows(index, f"SELECT class, tier, clock_at, expires_at FROM files WHERE path = '{path}'") == [expected]


def test_names_that_are_not_utf8_are_text_and_exact_bytes(index: Reader) -> None:
    """The path is always valid text; the exact bytes are there when it is not exact."""
    assert rows(index, "SELECT path, path_bytes, directory, name FROM files WHERE path_bytes IS NOT NULL") == [
        ("frames/job-\\xff/frame\n.jpg", b"frames/job-\xff/frame\n.jpg", "frames/job-\\xff", "frame\n.jpg")
    ]
    assert rows(index, "SELECT path FROM files WHERE name LIKE 'caf%'") == [("frames/job-1/café.jpg",)]


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("a.tar.GZ", "gz"),
        ("Makefile", ""),
        (".keep", ""),
        ("a.", ""),
        (".a.b", "b"),
        ("x.É", "é"),
        (b"\xff.\xfe", "\\xfe"),
    ],
)
def test_extensions(tmp_path: Path, name: str | bytes, extension: str) -> None:
    """Lower case, without the dot, empty where there is none; a leading dot begins a name, not an extension."""
    built = Built(tmp_path / "index.db")
    built.file(name if isinstance(name, bytes) else name.encode())
    with reader(built.close()) as index:
        assert rows(index, "SELECT extension FROM files") == [(extension,)]


def test_kinds_and_births(index: Reader) -> None:
    """Symlinks are symlinks; a filesystem without birth times gives NULL, not another time."""
    assert rows(index, "SELECT kind, mode FROM files WHERE name = 'link'") == [("symlink", 0o777)]
    assert rows(index, "SELECT btime FROM files WHERE name = 'café.jpg'") == [(None,)]


def test_usage_by_class_and_tier(index: Reader) -> None:
    """Hard links are charged once, excluded files count, files in no class have a row of their own."""
    at = NOW - 2 * DAY
    assert sorted(rows(index, "SELECT * FROM usage_by_class"), key=lambda row: row[0] or "") == [
        (None, None, 1, 1000, 4096, None, None, None, None),
        ("cache", "hot", 2, 2000, 8192, NOW - 9 * DAY, NOW - 9 * DAY, None, None),
        ("frames", "warm", 3, 2005, 8192, NOW - 31 * DAY, NOW - 3 * DAY, None, None),
        ("outputs", "cold", 1, 9_000_000, 9_003_008, NOW - 900 * DAY, NOW - 900 * DAY, None, None),
        ("uploads", "hot", 5, 5_003_000, 5_009_408, NOW - 8 * DAY, at + DAY, None, None),
    ]
    assert sorted(rows(index, "SELECT * FROM usage_by_tier"), key=lambda row: row[0] or "") == [
        (None, 1, 1000, 4096),
        ("cold", 1, 9_000_000, 9_003_008),
        ("hot", 7, 5_005_000, 5_017_600),
        ("warm", 3, 2005, 8192),
    ]


def test_usage_by_owner_and_child(index: Reader) -> None:
    """By uid, and by the first directory below the class's own."""
    assert rows(index, "SELECT * FROM usage_by_owner ORDER BY uid") == [
        (0, 1, 1000, 4096),
        (1000, 9, 14_005_005, 14_024_704),
        (1001, 2, 2000, 4096),
    ]
    assert rows(index, "SELECT * FROM usage_by_child WHERE class IN ('uploads', 'frames') ORDER BY class, child") == [
        ("frames", "job-1", 2, 1005, 4096, None),
        ("frames", "job-\\xff", 1, 1000, 4096, None),
        ("uploads", None, 3, 5_001_000, 5_005_312, None),
        ("uploads", "alice", 1, 1000, 4096, None),
        ("uploads", "bob", 1, 1000, 0, None),
    ]


def test_directories_and_tree(index: Reader) -> None:
    """What lies directly in a directory, and what lies in it and below."""
    assert rows(index, "SELECT * FROM directories ORDER BY path")[:3] == [
        ("", 1, 1000, 4096, -2),  # -1.5 s, rounded down
        ("cache", 2, 2000, 8192, NOW - DAY),
        ("frames", 0, 0, 0, NOW - DAY),
    ]
    assert rows(index, "SELECT * FROM tree WHERE path IN ('', 'frames', 'uploads', 'uploads/bob') ORDER BY path") == [
        ("", 0, 12, 14_008_005, 14_032_896),
        ("frames", 1, 3, 2005, 8192),
        ("uploads", 1, 5, 5_003_000, 5_009_408),
        ("uploads/bob", 2, 1, 1000, 0),
    ]


def test_expired_and_expiring(index: Reader) -> None:
    """Due by the true clock; what is coming is ordered by time."""
    assert sorted(rows(index, "SELECT * FROM expired")) == [
        ("cache/read-long-ago", "cache", NOW - 6 * DAY, 4096),
        ("frames/job-1/café.jpg", "frames", NOW - DAY, 4096),
        ("uploads/old.MOV", "uploads", NOW - DAY, 9768 * 512),
    ]
    coming = rows(index, "SELECT path, expires_at FROM expiring")
    assert [at for _, at in coming] == sorted(at for _, at in coming)
    assert coming[0] == ("cache/read-long-ago", NOW - 6 * DAY)
    assert len(coming) == 9


def test_a_directory_in_limbo_and_its_files_have_no_path(tmp_path: Path) -> None:
    """A displaced directory is nowhere until it is found again; it is not shown at a place where it is not."""
    built = Built(tmp_path / "index.db")
    built.file("uploads/below/a", age=9 * DAY)
    built.connection.execute("UPDATE directory SET parent_id = NULL WHERE name = 'uploads'")
    with reader(built.close()) as index:
        assert rows(index, "SELECT path, directory, name FROM files") == [(None, None, "a")]
        assert rows(index, "SELECT path FROM tree") == [("",)]


def test_held(tmp_path: Path) -> None:
    """A file that a hold or lease covers says so."""
    path = media(tmp_path / "index.db")
    with reader(path, protection=lambda path: "held" if path.startswith(b"frames/job-\xff/") else None) as index:
        assert rows(index, "SELECT name FROM files WHERE held") == [("frame\n.jpg",)]


def test_the_ledger_through_the_views(tmp_path: Path) -> None:
    """Runs, actions, holds in force and samples of usage, from the attached ledger."""
    path = tmp_path / "ledger.db"
    with Ledger.open(path, ballast=False) as ledger:
        ledger.add_hold(b"frames/job-1", "tree", until=NOW + 60, reason="review", by="alice", now=NOW)
        ledger.add_hold(b"frames/job-2", "tree", until=NOW - 60, reason="over", by="bob", now=NOW)
        run = ledger.begin_run("expire", "command", user="alice", mode="enforce", policy="abc", now=NOW)
    with reader(media(tmp_path / "index.db"), ledger=path) as index:
        assert rows(index, "SELECT * FROM holds") == [("frames/job-1", NOW + 60, "review", "alice")]
        assert rows(index, 'SELECT id, started, finished, kind, "trigger", user, mode, policy, refused FROM runs') == [
            (run, NOW, None, "expire", "command", "alice", "enforce", "abc", None)
        ]
        assert rows(index, "SELECT * FROM actions") == rows(index, "SELECT * FROM usage_history") == []


# ---------------------------------------------------------------------------------------------- query plans


def tables(index: Reader, query: str) -> set[str]:
    """Return the tables (by their aliases) that a query reads."""
    steps = [line.split() for line in plans(index.connection, query)]
    return {step[1] for step in steps if step[0] in {"SCAN", "SEARCH"}}


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM usage_by_tier",
        "SELECT * FROM usage_by_child",
        "SELECT * FROM directories",
        "SELECT * FROM tree",
    ],
)
def test_sums_never_read_the_file_table(index: Reader, query: str) -> None:
    """Counting or summing a class, a tier or a directory reads counters."""
    assert tables(index, query).isdisjoint({"f", "file"})


def test_the_oldest_file_of_a_class_is_one_step_in_the_clock_index(index: Reader) -> None:
    """Even oldest and newest do not read the file table, only the ends of the index."""
    found = [line for line in plans(index.connection, "SELECT * FROM usage_by_class") if line.split()[1] == "f"]
    assert found == ["SEARCH f USING COVERING INDEX file_clock (class_id=? AND clock<?)"] * 2


@pytest.mark.parametrize("view", ["expired", "expiring"])
def test_what_expires_is_found_by_the_clock_index(index: Reader, view: str) -> None:
    """Classes and their own directories first, then the clock indexes: the cost is what is due, not what there is."""
    found = [
        line for line in plans(index.connection, f"SELECT path FROM {view}") if line.startswith(("SCAN", "SEARCH"))
    ]
    files = [line for line in found if line.split()[1] == "f"]
    assert any(line.startswith("SEARCH f USING INDEX file_clock (class_id=? AND clock") for line in files)
    assert not [line for line in found if line.split()[0] == "SCAN" and line.split()[1] in {"f", "file", "u", "unit"}]
    assert "SEARCH u USING INDEX unit_clock (class_id=? AND clock<?)" in found


@pytest.mark.parametrize(
    ("query", "calls"),
    [
        ("SELECT count(*), sum(size) FROM files", 0),
        ("SELECT name, class, uid, expires_at FROM files WHERE size > 1", 0),
        ("SELECT class, sum(allocated) FROM expired GROUP BY class", 0),
        ("SELECT class, expires_at FROM expiring", 0),
        ("SELECT path FROM files WHERE name = 'old.MOV'", 1),
        ("SELECT path FROM expired", 3),
    ],
)
def test_paths_are_computed_only_where_they_are_asked_for(index: Reader, query: str, calls: int) -> None:
    """A query that does not show paths does not pay for them; one that shows few pays for few."""
    counter = counting(index.connection, "dir_path", 1, lambda _: "x/")
    rows(index, query)
    assert counter[0] == calls


def test_an_aggregate_pays_for_no_unused_column(index: Reader) -> None:
    """Summing up sizes reads files and nothing of their directories, permissions or filesystems."""
    assert tables(index, "SELECT count(*), sum(size) FROM files") == {"f", "c"}
