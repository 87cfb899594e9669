"""SQL for everybody who may read the store: whatever reads the views works, nothing else does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from indexer.errors import IndexerError, NotScannedError, UsageError
from indexer.index.surface import LEDGER_VIEWS, VIEWS
from indexer.reports.sql import query
from indexer.store import Store
from tests.reports.built import DAY, NOW
from tests.reports.stores import media_store, store_of


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a small index, and no ledger yet."""
    return media_store(tmp_path)


def test_columns_and_rows(store: Store) -> None:
    """A query gives its columns and its rows, in order."""
    assert query(store, "SELECT class, files FROM usage_by_class WHERE tier = 'cold' OR class = 'cache'", NOW) == {
        "columns": ["class", "files"],
        "rows": [["cache", 2], ["outputs", 1]],
        "truncated": False,
    }


@pytest.mark.parametrize("view", [*VIEWS, *LEDGER_VIEWS])
def test_every_view_can_be_read(store: Store, view: str) -> None:
    """The authorizer lets every view do what it is made of."""
    assert query(store, f"SELECT * FROM {view}", NOW)["truncated"] is False
    assert query(store, f"SELECT count(*) AS n FROM {view}", NOW)["columns"] == ["n"]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("WITH big AS (SELECT * FROM files WHERE size > 1000000) SELECT count(*) FROM big", [2]),
        ("SELECT extension, count(*) FROM files GROUP BY 1 ORDER BY 2 DESC, 1", ["", 5]),
        ("SELECT f.path FROM files f JOIN expired e ON e.path = f.path ORDER BY f.path", ["cache/read-long-ago"]),
        ("SELECT path, rank() OVER (ORDER BY size DESC) FROM files ORDER BY 2", ["outputs/final.mp4", 1]),
        ("SELECT value FROM json_each('[7]')", [7]),
        ("SELECT datetime(now(), 'unixepoch')", ["2027-01-15 08:00:00"]),
        ("SELECT path_bytes FROM files WHERE path_bytes IS NOT NULL", [b"frames/job-\xff/frame\n.jpg"]),
        ("SELECT count(*) FROM files WHERE path LIKE 'uploads/%' AND name GLOB '*.gz'", [2]),
        (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) SELECT sum(i) FROM n",
            [500500],
        ),
        ("VALUES (1)", [1]),
        ("/* comment */ -- more\n SELECT 1", [1]),
    ],
)
def test_what_reads_is_allowed(store: Store, text: str, first: list[object]) -> None:
    """Joins, windows, recursion, JSON, dates: SQL as people write it."""
    assert query(store, text, NOW)["rows"][0] == first


def test_now_is_the_moment_of_the_question(store: Store) -> None:
    """What is due is due at the given time, not at the machine's."""
    assert query(store, "SELECT count(*) FROM expired", NOW)["rows"] == [[3]]
    assert query(store, "SELECT count(*) FROM expired", NOW + 6 * DAY)["rows"] == [[6]]
    assert query(store, "SELECT now()", 5)["rows"] == [[5]]


ATTACKS = {
    "attach": "ATTACH '{tmp}/new.db' AS x",
    "attach a memory": "ATTACH ':memory:' AS x",
    "detach": "DETACH main",
    "pragma": "PRAGMA query_only = 0",
    "pragma that writes": "PRAGMA user_version = 7",
    "pragma as a table": "SELECT * FROM pragma_table_info('file')",
    "pragma of the files": "SELECT file FROM pragma_database_list",
    "vacuum": "VACUUM",
    "vacuum into a file": "VACUUM INTO '{tmp}/new.db'",
    "temp table": "CREATE TEMP TABLE x (a)",
    "temp view over a view": "CREATE TEMP VIEW usage AS SELECT 1",
    "table": "CREATE TABLE x (a)",
    "drop a view": "DROP VIEW files",
    "insert": "INSERT INTO file DEFAULT VALUES",
    "update": "UPDATE file SET size = 0",
    "update a view": "UPDATE files SET size = 0",
    "delete": "DELETE FROM file",
    "delete in a with": "WITH x AS (SELECT 1) DELETE FROM file",
    "replace": "REPLACE INTO meta VALUES ('complete', '0')",
    "begin": "BEGIN IMMEDIATE",
    "savepoint": "SAVEPOINT x",
    "reindex": "REINDEX",
    "analyze": "ANALYZE",
    "extension": "SELECT load_extension('{tmp}/x.so')",
    "read a file": "SELECT readfile('/etc/passwd')",
    "write a file": "SELECT writefile('{tmp}/new.db', 'x')",
    "edit": "SELECT edit('x')",
    "tokenizer": "SELECT fts3_tokenizer('simple')",
    "schema": "SELECT sql FROM sqlite_schema",
    "schema of the session": "SELECT sql FROM sqlite_temp_schema",
    "private table": "SELECT * FROM file",
    "private table by its schema": "SELECT * FROM main.class",
    "private column of a readable table": "SELECT handle FROM directory",
    "private table in a subquery": "SELECT (SELECT value FROM meta) FROM usage_by_tier",
    "private table in a with": "WITH x AS (SELECT * FROM permission) SELECT * FROM x",
    "private table in a union": "SELECT path FROM files UNION SELECT value FROM meta",
    "private table under a view's name": "WITH files AS (SELECT * FROM main.meta) SELECT * FROM files",
    "private table under a subquery's name": "WITH sums AS (SELECT * FROM main.file) SELECT * FROM sums",
    "private table, name and schema left out": "WITH up(a) AS (SELECT handle FROM directory) SELECT a FROM up",
    "private table in a recursive one": "WITH RECURSIVE down AS (SELECT * FROM file UNION ALL SELECT * FROM down)"
    " SELECT * FROM down",
    "private table joined": "SELECT * FROM files JOIN permission",
    "bytes": "SELECT zeroblob(1000000000)",
    "random bytes": "SELECT randomblob(1000000000)",
    "two statements": "SELECT 1; DELETE FROM file",
    "virtual table": "CREATE VIRTUAL TABLE x USING fts5(a)",
    "page dump": "SELECT * FROM sqlite_dbpage",
    "nothing": "",
    "only a comment": "-- nothing",
    "syntax": "SELEC 1",
    "no such column": "SELECT owner FROM files",
    "nul": "SELECT 1\0; DELETE FROM file",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_what_does_not_read_is_refused(tmp_path: Path, store: Store, attack: str) -> None:
    """It is refused with a remedy, writes nothing anywhere, and leaves the index as it was."""
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UsageError) as caught:
        query(store, attack.format(tmp=tmp_path), NOW)
    assert caught.value.remedy
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if not path.name.endswith(("-wal", "-shm"))}
    assert after == {name: content for name, content in before.items() if not name.endswith(("-wal", "-shm"))}
    assert query(store, "SELECT count(*) FROM files", NOW)["rows"] == [[12]]


def test_a_refusal_names_what_was_asked_for(store: Store) -> None:
    """A person who tried a table is told which views there are."""
    with pytest.raises(UsageError, match="'file' is not allowed here") as caught:
        query(store, "SELECT * FROM file", NOW)
    assert "usage_by_class" in caught.value.remedy


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def test_a_query_ends_when_its_time_is_over(store: Store) -> None:
    """Time is looked at while the query runs, so that an endless one ends; the connection is not needed any more."""
    moments = iter(range(10**9))
    with pytest.raises(IndexerError, match="took longer than 10 s") as caught:
        query(store, ENDLESS, NOW, clock=lambda: float(next(moments)))
    assert caught.value.exit_code == 1


def test_rows_beyond_the_limit_are_left_out_and_said(store: Store) -> None:
    """An endless answer is cut, not gathered."""
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
    assert query(store, endless, NOW, max_rows=2) == {"columns": ["i"], "rows": [[1], [2]], "truncated": True}
    assert query(store, "VALUES (1), (2)", NOW, max_rows=2)["truncated"] is False


@pytest.mark.parametrize(
    ("text", "said", "remedy"),
    [
        ("  ", "the query is empty", "write a SELECT"),
        ("SELECT 1; SELECT 2", "there is more than one statement", "run them one by one"),
    ],
)
def test_what_is_no_query_says_what_it_is(store: Store, text: str, said: str, remedy: str) -> None:
    """SQLite says `incomplete input` of nothing at all, and its manual is no help with two."""
    with pytest.raises(UsageError) as caught:
        query(store, text, NOW)
    assert (caught.value.message, caught.value.remedy) == (said, remedy)


def test_a_long_query_is_refused_unread(store: Store) -> None:
    """A megabyte of SQL is not parsed."""
    with pytest.raises(UsageError, match="more than 1,000,000 characters"):
        query(store, "SELECT " + "1," * 600_000 + "1", NOW)


BOMBS = [
    "SELECT length(printf('%.*c', 900000000, 'x'))",
    "SELECT hex(group_concat(path, printf('%.*c', 90000000, 'x'))) FROM files",
]


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_value_cannot_take_all_memory(tmp_path: Path, bomb: str) -> None:
    """A process that answers only this query gives SQLite a bound of its own; a limit on values may help earlier."""
    media_store(tmp_path)
    program = (
        "import sys; from pathlib import Path\n"
        "from indexer.errors import IndexerError; from indexer.reports.sql import query\n"
        "from tests.reports.stores import store_of\n"
        "try: query(store_of(Path(sys.argv[1])), sys.argv[2], 0, heap=200_000_000)\n"
        "except IndexerError as error: assert error.message == 'the query needs too much memory'\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "print(int(status['VmHWM'].split()[0]) // 1024)\n"  # ru_maxrss would count the test runner's own, before exec
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), bomb], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 400  # MiB; without a bound it is 1,000 and more


def test_without_an_index_it_says_so(tmp_path: Path) -> None:
    """There is nothing to ask before the first scan."""
    with pytest.raises(NotScannedError):
        query(store_of(tmp_path), "SELECT 1", NOW)
