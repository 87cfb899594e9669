"""What people read: tables that fit, names that cannot upset a terminal, figures with units."""

from __future__ import annotations

from typing import Any

import pytest

from indexer.cli.explaining_text import explain_lines
from indexer.cli.output import Cell, Column
from indexer.cli.removal_text import error_lines, exit_code, plan_lines, plan_table, refusal_lines, result_lines
from indexer.cli.report_tables import report_table
from indexer.cli.watching import pass_row
from indexer.cli.words import bar, columns_of, gauge, span, when
from indexer.policy.explain import explain
from indexer.policy.plan import plan
from indexer.rules import Guards
from indexer.units import user_name
from tests.policy.declared import candidates, indexed
from tests.policy.test_plan import CLASSIFIER, DAY, NOW, RULES


def titles(drawn: tuple[Any, Any]) -> list[str]:
    """Return the titles of a table's columns."""
    return [column.title if isinstance(column, Column) else column for column in drawn[0]]


NO_USAGE = dict.fromkeys(("class", "tier", "oldest", "newest", "quota_high", "quota_low", "ttl", "share"))
UPLOADS = {
    "class": "uploads",
    "tier": "hot",
    "files": 1234567,
    "bytes": 5 * 2**30,
    "allocated": 6 * 2**30,
    "share": 0.75,
}
USAGE: list[dict[str, Any]] = [
    {**NO_USAGE, **UPLOADS, "oldest": NOW - 90_000, "newest": NOW, "ttl": 7 * DAY, "trash": False},
    {**NO_USAGE, "files": 1, "bytes": 1, "allocated": 4096, "share": 0.0001, "trash": False},
    {**NO_USAGE, "files": 2, "bytes": None, "allocated": 8192, "trash": True},
]


def cells(drawn: tuple[Any, Any]) -> list[list[str]]:
    """Return what a table's cells say, without their colours."""
    return [["" if cell is None else str(cell) for cell in row] for row in drawn[1]]


def test_usage_as_a_table() -> None:
    """Classes, then what is in none, then the trash; a bar only for those who can see it."""
    assert cells(report_table("usage", USAGE, NOW, width=None)) == [
        ["uploads", "hot", "1,234,567", "5.0 GiB", "6.0 GiB", "75.0%", "7d", "1d1h"],
        ["(no class)", "", "1", "1 Byte", "4.0 KiB", "0.0%", "", ""],
        ["(trash)", "", "2", "", "8.0 KiB", "", "", ""],
    ]
    assert titles(report_table("usage", USAGE, NOW, width=200))[6:] == ["", "ttl", "oldest"]
    quota = [{**USAGE[0], "quota_high": 2**40}]
    assert cells(report_table("usage", quota, NOW, width=None))[0][-1] == "1.0 TiB"


@pytest.mark.parametrize(
    ("share", "drawn"),
    [(0.0, ""), (0.0001, "▏"), (0.5, "█████"), (0.55, "█████▌"), (1.0, "█" * 10), (1.7, "█" * 10)],
)
def test_bars(share: float, drawn: str) -> None:
    """A bar is full at all of it, and never empty for something."""
    assert bar(share) == drawn


def test_a_limit_warns_before_it_is_reached() -> None:
    """Green, yellow from nine tenths on, red beyond."""
    assert [gauge(share).style for share in (0.5, 0.9, 0.99, 1.0, 3.0)] == ["green", "yellow", "yellow", "red", "red"]


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (120, ["class", "tier", "files", "size", "on disk", "share", "", "ttl", "oldest"]),
        (75, ["class", "tier", "files", "size", "on disk", "share", "", "ttl"]),
        (40, ["class", "files", "on disk", "share"]),
        (5, ["class", "files", "on disk"]),
    ],
)
def test_narrow_terminals_get_fewer_columns(width: int, expected: list[str]) -> None:
    """The columns that matter least go first; the class and its size stay, however narrow it is."""
    assert titles(report_table("usage", USAGE, NOW, width=width)) == expected


QUOTA: dict[str, Any] = {
    "class": "uploads", "child": "uploads/ann", "files": 12, "allocated": 3 * 2**30, "quota_high": 2 * 2**30,
    "quota_low": 2**30, "quota_files": None, "used": 1.5, "over": True, "evicts": True,
}  # fmt: skip


def test_quotas_as_a_table() -> None:
    """How full, what is done about it, and a bar that says it at a glance."""
    drawn = report_table(
        "quotas", [QUOTA, {**QUOTA, "evicts": False}, {**QUOTA, "used": 0.95, "over": False}], 0, width=200
    )
    assert cells(drawn)[0] == [
        *("uploads", "uploads/ann", "12", "3.0 GiB", "2.0 GiB", "1.0 GiB", "", "150.0%", "█" * 10, "over, evicts"),
    ]
    assert [row[-1] for row in drawn[1][1:]] == [Cell("over, only warns", "red"), Cell("nearly full", "yellow")]


GROWTH: dict[str, Any] = {
    "what": "class", "class": "frames", "allocated": 2**30, "in_per_day": 3 * 2**20, "out_per_day": 5 * 2**20,
    "net_per_day": -2 * 2**20, "limit": 2 * 2**30, "full_at": None,
}  # fmt: skip


def test_growth_as_a_table() -> None:
    """The name stays on the narrowest terminal; less than before is a negative rate; what fills up is dated."""
    disk = {**GROWTH, "what": "disk", "class": None, "net_per_day": 1, "full_at": NOW + 3 * DAY}
    wide = cells(report_table("growth", [GROWTH, disk], NOW, width=200))
    assert wide[0] == ["frames", "1.0 GiB", "3.0 MiB", "5.0 MiB", "-2.0 MiB", "2.0 GiB", "█████", ""]
    assert (wide[1][0], wide[1][-1]) == ("(disk)", "2027-01-18 (in 3d)")
    assert titles(report_table("growth", [GROWTH], NOW, width=10)) == ["of", "on disk", "net a day", "full"]


def test_files_as_a_table() -> None:
    """Who owns them by name where there is one, how long ago they were used, when they go."""
    row: dict[str, Any] = {
        "path": "a/b", "class": None, "bytes": 1000, "allocated": 4096, "uid": 0, "mtime": NOW - DAY,
        "used_at": NOW - 60, "expires_at": NOW + DAY,
    }  # fmt: skip
    expected = ["a/b", "(no class)", "1000 Bytes", "4.0 KiB", "root", "1d ago", "1m ago", "in 1d"]
    assert cells(report_table("largest", [row], NOW, width=None)) == [expected]
    assert titles(report_table("largest", [row], NOW, width=5)) == ["path", "on disk"]
    assert user_name(4_000_000_000) == "4000000000"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0, "0s"), (59, "59s"), (90, "1m30s"), (3_661, "1h1m"), (90_061, "1d1h"), (400 * DAY + 59, "400d")],
)
def test_spans(seconds: int, expected: str) -> None:
    """Two units are enough."""
    assert span(seconds) == expected


def test_moments() -> None:
    """With their distance, before and after."""
    assert when(NOW + 3 * DAY, NOW) == "2027-01-18T08:00:00Z (in 3d)"
    assert when(NOW - 60, NOW) == "2027-01-15T07:59:00Z (1m ago)"


def test_any_sums_as_a_table() -> None:
    """Sizes, counts and times as people read them, a missing class said, and each against the largest."""
    rows: list[dict[str, Any]] = [
        {"class": None, "files": 1000, "allocated": 2048, "first": NOW},
        {"class": "a", "files": 1, "allocated": 512, "first": None},
    ]
    drawn = report_table("expiring", rows, NOW, width=None)
    assert titles(drawn) == ["class", "files", "on disk", "share", "first expires"]
    assert cells(drawn)[0] == ["(no class)", "1,000", "2.0 KiB", "80.0%", "2027-01-15T08:00:00Z (now)"]
    assert [line[4] for line in cells(report_table("expiring", rows, NOW, width=200))] == ["█" * 10, "██▌"]
    assert report_table("expiring", [], NOW, width=None)[1] == []


def test_figures_of_a_query_stand_to_the_right() -> None:
    """By what is in them, not by their names."""
    found = columns_of(["path", "n"], [["a", 1], ["b", None]])
    assert [(column.title, column.right) for column in found] == [("path", False), ("n", True)]


def planned(guards: Guards, *ages: int) -> dict[str, Any]:
    """Return the document of a plan for uploads of these ages, in days."""
    files = [indexed(f"uploads/{age}\n", CLASSIFIER, mtime=NOW - age * DAY) for age in ages]
    found = plan(candidates(files, RULES), guards=guards, live_files=len(files), now=NOW, rules=RULES)
    return found.as_json()


def test_a_plan_in_words() -> None:
    """How much of which class, what stays, and whether it is all of it."""
    assert list(plan_lines(planned(Guards(max_files=1), 8, 9, 1))) == [
        "1 file, 4.0 KiB on disk would go:",
        "  uploads: 1 file, 4.0 KiB",
        "Kept: 1 postponed",
        "Only the oldest part of 2 files that are due; the next run goes on.",
    ]
    assert list(plan_lines(planned(Guards(), 1))) == ["Nothing is due."]
    assert plan_table(planned(Guards(), 8)["actions"], NOW)[1] == [
        ["trash", "uploads/8\n", "uploads", "4.0 KiB", "expired", "2027-01-14T08:00:00Z (1d ago)"]
    ]


def test_a_refusal_in_words() -> None:
    """Which guard, why, and what to do."""
    lines = list(refusal_lines(planned(Guards(max_fraction=0.1, min_files=0), 8)))
    assert lines[0] == "Refused (max_fraction): 1 of 1 files would go, 100 % of the store: more than max_fraction = 0.1"
    assert lines[1].startswith("  look at `indexer plan`;")
    assert list(refusal_lines(planned(Guards(), 8))) == []


RESULT: dict[str, Any] = {
    "run": 7, "dry_run": False, "files_removed": 3, "bytes_freed": 4096, "bytes_trashed": 8192,
    "directories_removed": 1, "truncated": True, "kept": {"in_use": 2}, "errors": [], "refused": None,
    "interrupted": False,
    "purged_files": 1, "purged_bytes": 4096,
    "classes": {"a": {"files_removed": 2, "bytes_freed": 0, "bytes_trashed": 8192},
                "b": {"files_removed": 1, "bytes_freed": 4096, "bytes_trashed": 0}},
}  # fmt: skip


def test_a_result_in_words() -> None:
    """What went where, what stayed and why, and how to undo it."""
    assert list(result_lines(RESULT)) == [
        "Removed 3 files: 8.0 KiB to the trash, 4.0 KiB freed (run 7)",
        "  a: 2 files, 8.0 KiB",
        "  b: 1 file, 4.0 KiB",
        "From the trash: 1 file, 4.0 KiB",
        "Empty directories removed: 1",
        "Kept: 2 in_use",
        "Only the oldest part of what is due; the next run goes on.",
        "Undo with: indexer restore --run 7",
    ]


def test_the_runs_of_watermarks_are_named_too() -> None:
    """Each is one of its own in the ledger."""
    assert next(iter(result_lines({**RESULT, "runs": [7, 8]}))).endswith("(runs 7 and 8)")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"errors": [{"path": "a", "error": "EPERM"}]}, 1),
        ({"refused": "mode", "errors": [{"path": "a", "error": "EPERM"}]}, 3),
        ({"interrupted": True}, 130),
    ],
)
def test_exit_codes(changes: dict[str, Any], code: int) -> None:
    """Refused before interrupted before some failed."""
    assert exit_code({**RESULT, **changes}) == code


def test_errors_name_the_item_in_one_line() -> None:
    """A newline in a name does not break the line; an error of the whole has no path."""
    errors = [{"path": "a\nb\x1b[2J", "error": "EPERM"}, {"path": "", "error": "nothing"}]
    assert list(error_lines(errors)) == ["a\\nb\\x1b[2J: EPERM", "nothing"]


def test_an_explanation_in_words() -> None:
    """The path on one line, the class and its rule, the clock, the date, and what stands in the way."""
    file = indexed("cache/a\nb", CLASSIFIER, mtime=NOW - 9 * DAY, atime=NOW - DAY)
    found = explain(file, RULES[1], aged=True, now=NOW).as_json()
    facts = {"path": "cache/a\nb", "kind": "file", "bytes": 10, "allocated": 4096, "uid": 4_000_000, "removed": None}
    first_seen = "first_seen 2027-01-06T08:00:00Z"
    clocks = f"mtime 2027-01-06T08:00:00Z, atime 2027-01-14T08:00:00Z, {first_seen}"
    assert list(explain_lines({**facts, **found}, NOW)) == [
        "cache/a\\nb",
        "  file       10 Bytes, 4.0 KiB on disk, owner 4000000",
        "  class      cache (tier hot): cache/**, trash 3d after mtime and atime, not before its arrival",
        f"  clock      2027-01-14T08:00:00Z, 1d ago; youngest of {clocks}",
        "  expires    2027-01-17T08:00:00Z (in 2d)",
        "  stays      not_due: younger than its class's ttl",
    ]


def test_a_removed_path_in_words() -> None:
    """When, why, by which run and policy, and how long it can be brought back."""
    removed = {
        "run": 3, "at": NOW - 60, "action": "trash", "outcome": "trashed", "reason": "expired",
        "policy": "abcdef0123456789",
        "rule": {"class": "uploads", "ttl": 7 * DAY, "clock_at": NOW - 8 * DAY, "expires_at": NOW - DAY},
        "kind": "expire", "trigger": "schedule", "user": "media", "bytes": 2048, "allocated": 4096,
        "restorable_until": NOW + DAY, "restored_to": None,
    }  # fmt: skip
    facts = {"path": "uploads/a", "kind": None, "rule": None, "clock_at": None, "expires_at": None, "notice": None}
    assert list(explain_lines({**facts, "blockers": ["not_indexed"], "removed": removed}, NOW))[2:] == [
        "  removed    trashed 2027-01-15T07:59:00Z (1m ago), 2.0 KiB, by run 3",
        "  why        class uploads, expired since 2027-01-14T08:00:00Z (ttl 7d)",
        "  policy     abcdef012345, expire by media (schedule)",
        "  restorable until 2027-01-16T08:00:00Z (in 1d)",
    ]
    removed |= {"reason": "quota", "rule": {**removed["rule"], "expires_at": NOW + DAY}}  # type: ignore[dict-item]
    lines = list(explain_lines({**facts, "blockers": ["not_indexed"], "removed": removed}, NOW))
    assert lines[3] == "  why        class uploads, quota; its ttl of 7d ends 2027-01-16T08:00:00Z"


def test_a_pass_over_the_tree_says_how_far_it_is() -> None:
    """Nothing without one; a first scan has no end that is known; changes meanwhile do not make it more than all."""
    quiet = {"pass_reason": None, "pass_directories": 0, "directories": 4}
    assert pass_row(quiet) == ()
    assert pass_row({**quiet, "pass_reason": "first", "pass_directories": 1}) == (("first scan", "1 directory so far"),)
    for listed, shown in (
        (1_000, "1,000 of 4,000 directories, 25 % (verify)"),
        (5_000, "4,000 of 4,000 directories, 100 % (verify)"),
    ):
        document = {"pass_reason": "verify", "pass_directories": listed, "directories": 4_000}
        assert pass_row(document) == (("verifying", shown),)
