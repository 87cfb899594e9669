"""Orders of eviction and sums per child: through indexes and counters, never by a pass over the file table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from indexer.index import derived
from indexer.index.queries import Reader
from indexer.policy.classes import Classifier
from indexer.reports.holdings import holdings
from indexer.rules import Quota, Rule
from tests.reports.built import DAY, Built, plans

RULES = (
    Rule("users", ("users/**",), exclude=("**/.keep",), ttl=7 * DAY, quota=Quota(high=5000, per="child")),
    Rule("cache", ("cache/**",), ttl=7 * DAY, quota=Quota(high=5000, order="size")),
)


@pytest.fixture
def index(tmp_path: Path) -> Reader:
    """A small index with an index for each order."""
    built = Built(tmp_path / "index.db", RULES)
    for number, user in enumerate(("alice", "alice/deep", "bob", "")):
        for name in ("a", "b", ".keep"):
            built.file("/".join(filter(None, ("users", user, name))), age=number * DAY, blocks=8)
    for number, blocks in enumerate((8, 32, 0, 16, 32)):
        built.file(f"cache/{number}", age=(5 - number) * DAY, blocks=blocks, first_seen=number)
    derived.keep_orders(built.connection, {("size", 2), ("first_seen", 2)})
    return Reader.open(built.close())


def names(files: Any) -> list[str]:
    """Return the names in the order in which they come."""
    return [file.name.decode() for file in files]


def test_each_order(index: Reader) -> None:
    """Oldest clock, most blocks (the older first), earliest arrival; excluded files are not there at all."""
    assert names(index.in_order("cache", "clock")) == ["0", "1", "2", "3", "4"]
    assert names(index.in_order("cache", "size")) == ["1", "4", "3", "0", "2"]
    assert names(index.in_order("cache", "first_seen")) == ["0", "1", "2", "3", "4"]
    assert ".keep" not in names(index.in_order("users", "clock"))
    assert names(index.in_order("nobody", "clock")) == []


@pytest.mark.parametrize(
    ("order", "found"), [("clock", "file_clock"), ("size", "file_by_size_2"), ("first_seen", "file_by_first_seen_2")]
)
def test_no_order_sorts_or_scans(index: Reader, order: str, found: str) -> None:
    """Each is served by its index as far as it is read, and no further."""
    (line,) = plans(index.connection, index.order_query(2, order))
    assert f"USING INDEX {found}" in line


def test_indexes_follow_the_policy(tmp_path: Path) -> None:
    """They are made where a quota wants them and go with it, and other orders sort the class alone."""
    built = Built(tmp_path / "index.db", RULES)
    built.file("cache/small", blocks=8)
    built.file("cache/large", blocks=80)
    connection = built.connection
    listed = "SELECT name FROM sqlite_master WHERE name LIKE 'file_by_%' ORDER BY 1"
    derived.keep_orders(connection, {("size", 2), ("first_seen", 1)})
    assert [row[0] for row in connection.execute(listed)] == ["file_by_first_seen_1", "file_by_size_2"]
    derived.keep_orders(connection, {("size", 2)})
    assert [row[0] for row in connection.execute(listed)] == ["file_by_size_2"]
    derived.keep_orders(connection, set())
    assert list(connection.execute(listed)) == []
    with Reader.open(built.close()) as reader:
        assert names(reader.in_order("cache", "size")) == ["large", "small"]


def test_a_child_holds_all_that_lies_below_it(index: Reader) -> None:
    """Files directly in the class's own directory are in no child; the rows name each child by its path."""
    found = {path: (used.files, used.allocated) for path, used in index.children_usage("users", b"users").items()}
    assert found == {b"users/alice": (6, 6 * 4096), b"users/bob": (3, 3 * 4096)}
    alice = index.directory_id(b"users/alice")
    assert alice is not None
    assert sorted(names(index.files_below(alice, "users"))) == ["a", "a", "b", "b"]
    assert [(one.child, one.used.files, one.over() is not None) for one in holdings(index, RULES)] == [
        (None, 5, True),
        (b"users/alice", 6, True),
        (b"users/bob", 3, True),
    ]


def test_sums_per_child_never_read_the_file_table(index: Reader) -> None:
    """Only directories and counters."""
    seen: list[str] = []
    index.connection.set_trace_callback(seen.append)
    holdings(index, RULES)
    index.connection.set_trace_callback(None)
    for statement in seen:
        lines = [line.split() for line in plans(index.connection, statement)]
        assert not [line for line in lines if line[0] in {"SCAN", "SEARCH"} and line[1] in {"file", "f"}], statement


def test_a_child_is_found_by_the_class_s_own_directory() -> None:
    """`directory/**` says which directory is the class's own; other globs have none."""
    rule = Rule("c", ("up\\[1\\]/in/**", "*.jpg", "/top/**"))
    assert rule.own_directories == (b"up[1]/in", b"top")
    assert [rule.child_of(path) for path in (b"up[1]/in", b"up[1]/in/a/b", b"top/x", b"other/x", b"topper/x")] == [
        None, b"up[1]/in/a", b"top/x", None, None]  # fmt: skip
    whole = Rule("w", ("**",))
    assert (whole.own_directories, whole.child_of(b""), whole.child_of(b"a/b")) == ((b"",), None, b"a")
    assert Classifier((rule,)).of(b"up[1]/in/a/b") == (0, True)
