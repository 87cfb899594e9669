"""The tables: usage, what goes soon, what is large; narrowed, summed, and never more read than shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from indexer.enforce.ledger import Ledger
from indexer.enforce.rows import Ending, Intent
from indexer.errors import UsageError
from indexer.index import questions
from indexer.reports.reading import prefixes
from indexer.reports.tables import REPORTS, report
from indexer.rules import Quota, Rule
from indexer.store import Store
from tests.reports.built import DAY, NOW, RULES, counting, reader
from tests.reports.stores import media_store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with a small index, and no ledger yet."""
    return media_store(tmp_path)


def column(rows: list[dict[str, Any]], name: str) -> list[Any]:
    """Return one column."""
    return [row[name] for row in rows]


def test_usage(store: Store) -> None:
    """One row a class in the order of the configuration, then what is in no class; shares add up to one."""
    rows = report(store, "usage", NOW)
    assert column(rows, "class") == ["uploads", "frames", "cache", "outputs", None]
    assert sum(column(rows, "share")) == pytest.approx(1.0)
    assert rows[0] == {
        "class": "uploads",
        "tier": "hot",
        "files": 5,
        "bytes": 5_003_000,
        "allocated": 5_009_408,
        "oldest": NOW - 8 * DAY,
        "newest": NOW - DAY,
        "quota_high": None,
        "quota_low": None,
        "ttl": 7 * DAY,
        "share": pytest.approx(5_009_408 / 14_032_896),
        "trash": False,
    }


def test_usage_of_a_subtree(store: Store) -> None:
    """Narrowed to a directory it tells what lies in it and below, and every class is still there."""
    rows = report(store, "usage", NOW, under=b"uploads/alice")
    assert [(row["class"], row["files"], row["allocated"]) for row in rows] == [
        ("uploads", 1, 4096),
        ("frames", 0, 0),
        ("cache", 0, 0),
        ("outputs", 0, 0),
    ]
    with pytest.raises(UsageError, match="not a directory"):
        report(store, "usage", NOW, under=b"uploads/nobody")


def test_usage_by_child_and_owner(store: Store) -> None:
    """The largest first."""
    rows = report(store, "usage", NOW, by="child", class_name="uploads")
    assert [(row["child"], row["files"]) for row in rows] == [(None, 3), ("alice", 1), ("bob", 1)]
    assert column(report(store, "usage", NOW, by="owner"), "uid") == [1000, 0, 1001]


def test_the_largest_of_a_kind(store: Store) -> None:
    """`--by` names whoever has most instead of single files."""
    assert column(report(store, "largest", NOW, by="class"), "class") == ["outputs", "uploads", "frames", "cache", None]
    assert column(report(store, "largest", NOW, by="owner", top=1), "uid") == [1000]
    with pytest.raises(UsageError, match="takes no --by"):
        report(store, "runs", NOW, by="class")


def test_what_each_child_may_hold(tmp_path: Path) -> None:
    """A quota for each child is told beside what the child has; files directly in the class's own have none."""
    rule = Rule("uploads", ("uploads/**",), quota=Quota(high=2**30, per="child"))
    rows = report(media_store(tmp_path, rules=(rule, *RULES[1:])), "usage", NOW, by="child")
    quotas = {(row["class"], row["child"]): row["quota_high"] for row in rows}
    assert quotas["uploads", "alice"] == quotas["uploads", "bob"] == 2**30
    assert {quotas[key] for key in quotas if key[0] != "uploads" or key[1] is None} == {None}


def test_the_trash_has_a_row_of_its_own(store: Store) -> None:
    """It is in no class and in no share."""
    with Ledger.open(store.ledger_path, ballast=False) as ledger:
        run = ledger.begin_run("expire", "command", user="alice", mode="enforce", policy="abc", now=NOW)
        facts = (5000, 8192, 1, 1000, 100, 0o100644, 9, 0, (NOW - 8 * DAY) * 10**9)
        ledger.intents(
            run,
            [
                Intent(
                    1, "uploads/x", None, "", "uploads", "trash", "expired", *facts, None, NOW - 8 * DAY, 7 * DAY, "t"
                )
            ],
        )
        ledger.outcomes([Ending("trashed", None, NOW, 1, NOW + DAY, *facts, run, 1)])
    rows = report(store, "usage", NOW)
    assert (rows[-1]["trash"], rows[-1]["class"], rows[-1]["files"], rows[-1]["allocated"]) == (True, None, 1, 8192)
    assert sum(row["share"] or 0 for row in rows) == pytest.approx(1.0)
    assert [(row["id"], row["kind"]) for row in report(store, "runs", NOW)] == [(run, "expire")]


def test_expiring(store: Store) -> None:
    """What is due now or within the given time, the soonest first; true clocks, not stored bounds."""
    rows = report(store, "expiring", NOW, within=2 * DAY + 1)
    assert [(row["path"], row["expires_at"] - NOW) for row in rows] == [
        ("cache/read-long-ago", -6 * DAY),
        ("frames/job-1/café.jpg", -DAY),
        ("uploads/old.MOV", -DAY),
        ("cache/read-yesterday", 2 * DAY),
    ]
    assert rows[2] == {
        "path": "uploads/old.MOV",
        "class": "uploads",
        "expires_at": NOW - DAY,
        "bytes": 5_000_000,
        "allocated": 5_001_216,
        "uid": 1000,
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"by": "class"}, [("uploads", 4), ("cache", 2), ("frames", 1)]),
        ({"by": "class", "class_name": "cache"}, [("cache", 2)]),
        ({"by": "class", "under": b"uploads"}, [("uploads", 4)]),
        ({"by": "child", "under": b"uploads"}, [("uploads", None, 2), ("uploads", "alice", 1), ("uploads", "bob", 1)]),
        ({"by": "owner"}, [(1000, 4), (0, 1), (1001, 2)]),
    ],
)
def test_expiring_in_sums(store: Store, options: dict[str, Any], expected: list[tuple[Any, ...]]) -> None:
    """By class, child or owner, the largest first; a hard link's blocks are counted once."""
    rows = report(store, "expiring", NOW, within=7 * DAY, **options)
    keys = [key for key in rows[0] if key in {"class", "child", "uid"}]
    assert [(*(row[key] for key in keys), row["files"]) for row in rows] == expected


def test_expiring_by_day(store: Store) -> None:
    """A calendar of what goes, in days of UTC."""
    rows = report(store, "expiring", NOW, within=7 * DAY, by="day")
    assert column(rows, "day") == sorted(column(rows, "day"))
    found = [row for row in rows if row["files"]]
    assert all(row["day"] % DAY == 0 and row["day"] <= row["first"] < row["day"] + DAY for row in found)
    ahead = range(NOW // DAY * DAY, NOW + 7 * DAY, DAY)
    assert {row["day"] for row in rows} == {row["day"] for row in found} | set(ahead)
    assert len(found) < len(rows)
    assert all(row["class"] is None and row["first"] is None for row in rows if not row["files"])
    assert report(store, "expiring", NOW, within=7 * DAY, by="day", top=2) == rows[:2]


def test_largest(store: Store) -> None:
    """By allocated bytes; a limit, a class, a subtree."""
    assert column(report(store, "largest", NOW, top=2), "path") == ["outputs/final.mp4", "uploads/old.MOV"]
    assert column(report(store, "largest", NOW, class_name="cache"), "bytes") == [1000, 1000]
    assert column(report(store, "largest", NOW, under=b"uploads/alice"), "path") == ["uploads/alice/a.tar.gz"]


def test_tiers_and_holds(store: Store) -> None:
    """The largest tier first; no ledger, no holds."""
    assert column(report(store, "tiers", NOW), "tier") == ["cold", "hot", "warm", None]
    assert report(store, "holds", NOW) == []


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("growth", {"top": 3}, "takes no --top"),
        ("sizes", {}, "no report 'sizes'"),
        ("largest", {"within": 5}, "takes no --within"),
        ("usage", {"by": "day"}, "cannot be shown by 'day'"),
        ("expiring", {"by": "hour"}, "cannot be shown by 'hour'"),
        ("expiring", {"class_name": "upload"}, "no class 'upload'"),
    ],
)
def test_wrong_questions(store: Store, name: str, options: dict[str, Any], message: str) -> None:
    """A report or option that is not there is an error with a remedy, never an empty table."""
    with pytest.raises(UsageError, match=message) as caught:
        report(store, name, NOW, **options)
    assert caught.value.remedy


def test_paths_are_computed_for_the_rows_that_are_shown(store: Store) -> None:
    """The largest of many files cost as many paths as rows (and the few that were ahead for a moment)."""
    with reader(store.index_path) as index:
        counter = counting(index.connection, "dir_path", 1, lambda _: "")
        assert len(list(questions.largest(index, top=1))) == 1
    assert counter[0] <= 3


def test_prefixes_of_classes() -> None:
    """Only plain directories are a class's own."""
    rules = (Rule("a", ("uploads/**", "in/\\[x]/**")), Rule("b", ("*.tmp", "x*/**")), Rule("c", ("**",)))
    assert prefixes(rules) == {"a": ("uploads", "in/[x]"), "b": (), "c": ()}


def test_every_report_is_documented() -> None:
    """Each has a sentence."""
    assert [name for name, make in REPORTS.items() if not make.__doc__] == []
