"""Explain a path: in the index, a directory, not there, and removed."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.cli.explaining_text import explain_lines
from indexer.enforce.ledger import Ledger
from indexer.enforce.rows import Ending, Intent, path_columns
from indexer.reports.explain import explain
from indexer.store import Store
from tests.reports.built import DAY, NOW
from tests.reports.stores import media_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that removes, with a small index and no ledger yet."""
    return media_store(tmp_path, mode="enforce")


def test_a_file_by_access(store: Store) -> None:
    """Class, the clocks that count, the date by the true clock, the rule, what stands in the way, the times."""
    found = explain(store, b"cache/read-yesterday", NOW)
    at = NOW - 9 * DAY
    assert found == {
        "path": "cache/read-yesterday",
        "kind": "file",
        "class": "cache",
        "tier": "hot",
        "clocks": {"mtime": at, "atime": NOW - DAY, "first_seen": at},
        "clock_at": NOW - DAY,
        "expires_at": NOW + 2 * DAY,
        "goes_at": NOW + 2 * DAY,
        "notice": None,
        "rule": {
            "class": "cache",
            "match": ["cache/**"],
            "exclude": [],
            "ttl": 3 * DAY,
            "clock": ["mtime", "atime"],
            "arrival_floor": True,
            "unit": "file",
            "min_age": 0,
            "action": "delete",
            "trash_ttl": None,
            "warn_before": None,
        },
        "blockers": ["not_due"],
        "bytes": 1000,
        "allocated": 4096,
        "links": 1,
        "uid": 1000,
        "times": {"mtime": at, "atime": at, "used_at": NOW - DAY, "ctime": at, "btime": at, "first_seen": at},
        "holds": [],
        "removed": None,
    }


@pytest.mark.parametrize(
    ("path", "kind", "class_name", "blockers"),
    [
        (b"uploads/old.MOV", "file", "uploads", []),
        (b"uploads/.keep", "file", "uploads", ["excluded"]),
        (b"outputs/final.mp4", "file", "outputs", ["kept_forever"]),
        (b"README", "file", None, ["unclassified"]),
        (b"frames/job-1/link", "symlink", "frames", ["not_due"]),
        (b"frames/job-\xff/frame\n.jpg", "file", "frames", ["not_due"]),
        (b"frames", "directory", "frames", []),
        (b"", "directory", None, []),
        (b"uploads/never", None, "uploads", ["not_indexed"]),
        (b"uploads/no/.keep", None, "uploads", ["not_indexed", "excluded"]),
        (b"never", None, None, ["not_indexed", "unclassified"]),
    ],
)
def test_any_path(store: Store, path: bytes, kind: str | None, class_name: str | None, blockers: list[str]) -> None:
    """Files, links, directories, names that the index does not know: each has its class and what stands in its way."""
    found = explain(store, path, NOW)
    assert (found["kind"], found["class"], found["blockers"]) == (kind, class_name, blockers)
    assert {"path", "class", "tier", "clocks", "expires_at", "rule", "blockers", "removed"} <= found.keys()


def test_a_directory_sums_what_lies_below(store: Store) -> None:
    """Its class is that of the names in it, its figures are those of the whole tree."""
    found = explain(store, b"uploads", NOW)
    assert (found["files"], found["bytes"], found["allocated"]) == (5, 5_003_000, 5_009_408)


def test_a_store_in_report_mode_removes_nothing(tmp_path: Path) -> None:
    """Of a file that is due it is said what keeps it: the mode."""
    assert explain(media_store(tmp_path), b"uploads/old.MOV", NOW)["blockers"] == ["mode"]


def test_an_ignored_path(tmp_path: Path) -> None:
    """What the store does not index is told from what is merely not there."""
    store = media_store(tmp_path, ignore=("*.swp",))
    assert explain(store, b"uploads/x.swp", NOW)["blockers"] == ["ignored"]


def test_holds_and_leases_come_first(store: Store) -> None:
    """A hold on a tree covers the file; whose each is, why and until when is told, leases and globs too."""
    with Ledger.open(store.ledger_path, ballast=False) as ledger:
        ledger.add_hold(b"uploads", "tree", until=None, reason="review", by="alice", now=NOW)
        ledger.add_hold(b"*.MOV", "glob", until=NOW + 9, reason="", by="bob", now=NOW)
        ledger.add_hold(b"uploads/old.MOV", "file", until=NOW - 1, reason="over", by="eve", now=NOW - 9)
        ledger.add_hold(b"frames", "tree", until=None, reason="other", by="eve", now=NOW)
        ledger.add_lease(b"uploads/old.MOV", "job 7", expires=NOW + 60, now=NOW)
    review = {"kind": "tree", "path": "uploads", "by": "alice", "reason": "review", "until": None}
    movies = {"kind": "glob", "path": "*.MOV", "by": "bob", "reason": "", "until": NOW + 9}
    lease = {"kind": "lease", "path": "uploads/old.MOV", "by": "job 7", "reason": "", "until": NOW + 60}
    found = explain(store, b"uploads/old.MOV", NOW)
    assert found["blockers"] == ["held"]
    assert found["holds"] == [movies, review, lease]
    said = [line.strip() for line in explain_lines(found, NOW)]
    assert "hold of alice on uploads, until it is released: review" in said
    assert any(line.startswith("lease of job 7 on uploads/old.MOV, until ") for line in said)
    found = explain(store, b"uploads", NOW)
    assert (found["blockers"], found["holds"]) == (["held"], [review, lease])
    assert explain(store, b"outputs/final.mp4", NOW)["holds"] == []


@pytest.mark.parametrize("path", [b"uploads/gone.mov", b"uploads/gone\xff\n.mov"])
def test_a_removed_path(store: Store, path: bytes) -> None:
    """When, why, by which rule, policy and run, and how long it can be restored."""
    clock = NOW - 8 * DAY
    with Ledger.open(store.ledger_path, ballast=False) as ledger:
        run = ledger.begin_run("expire", "command", user="alice", mode="enforce", policy="abc", now=NOW - 60)
        facts = (5000, 8192, 1, 1000, 100, 0o100644, 9, 0, clock * 10**9)
        columns = path_columns(path)
        ledger.intents(
            run, [Intent(1, *columns, "", "uploads", "trash", "expired", *facts, None, clock, 7 * DAY, "name")]
        )
        ledger.outcomes([Ending("trashed", None, NOW - 60, 1, NOW + DAY, *facts, run, 1)])
    assert explain(store, path, NOW)["removed"] == {
        "run": run,
        "at": NOW - 60,
        "action": "trash",
        "outcome": "trashed",
        "reason": "expired",
        "rule": {"class": "uploads", "ttl": 7 * DAY, "clock_at": clock, "expires_at": clock + 7 * DAY},
        "policy": "abc",
        "kind": "expire",
        "trigger": "command",
        "user": "alice",
        "bytes": 5000,
        "allocated": 8192,
        "restorable_until": NOW + DAY,
        "restored_to": None,
    }
