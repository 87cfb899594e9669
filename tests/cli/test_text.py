"""What people read: tables that fit, names that cannot upset a terminal, figures with units."""

from __future__ import annotations

from typing import Any

import pytest

from indexer.cli.output import Column
from indexer.cli.removal_text import error_lines, exit_code, plan_lines, plan_table, refusal_lines, result_lines
from indexer.cli.reporting_text import (
    USAGE_DROPS,
    bar,
    columns_of,
    explain_lines,
    fit,
    span,
    table,
    usage_table,
    when,
)
from indexer.policy.explain import explain
from indexer.policy.plan import plan
from indexer.rules import Guards
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


def test_usage_as_a_table() -> None:
    """Classes, then what is in none, then the trash; a bar only for those who can see it."""
    assert usage_table(USAGE, NOW, bars=False)[1] == [
        ["uploads", "hot", "1,234,567", "5.0 GiB", "6.0 GiB", "75.0%", "7d", "1d1h"],
        ["(no class)", None, "1", "1 Byte", "4.0 KiB", "0.0%", "", ""],
        ["(trash)", None, "2", "", "8.0 KiB", "", "", ""],
    ]
    assert titles(usage_table(USAGE, NOW, bars=True))[6:] == ["", "ttl", "oldest"]
    quota = [{**USAGE[0], "quota_high": 2**40}]
    assert usage_table(quota, NOW, bars=False)[1][0][-1] == "1.0 TiB"


@pytest.mark.parametrize(("share", "blocks"), [(0.0, 0), (0.0001, 1), (0.5, 4), (1.0, 8), (1.7, 8)])
def test_bars(share: float, blocks: int) -> None:
    """A bar is full at all of it, and never empty for something."""
    assert bar(share) == "█" * blocks


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (120, ["class", "tier", "files", "size", "on disk", "share", "", "ttl", "oldest"]),
        (75, ["class", "tier", "files", "size", "on disk", "share", "ttl", "oldest"]),
        (40, ["class", "files", "on disk", "share"]),
        (5, ["class", "files", "on disk"]),
    ],
)
def test_narrow_terminals_get_fewer_columns(width: int, expected: list[str]) -> None:
    """The columns that matter least go first; the class and its size stay, however narrow it is."""
    assert titles(fit(usage_table(USAGE, NOW, bars=True), width, USAGE_DROPS)) == expected


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


def test_any_report_as_a_table() -> None:
    """Sizes, counts and times as people read them, a missing class said."""
    drawn = table([{"class": None, "files": 1000, "allocated": 2048, "first": NOW, "policy": "f" * 64}], NOW)
    assert titles(drawn) == ["class", "files", "on disk", "first expires", "policy"]
    assert drawn[1] == [["(no class)", "1,000", "2.0 KiB", "2027-01-15T08:00:00Z (in 0s)", "f" * 12]]
    assert table([], NOW) == ([], [])


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
    assert lines[0] == "Refused (max_fraction): 1 of 1 files would go, 1 of the store: more than max_fraction = 0.1"
    assert lines[1].startswith("  Look at `indexer plan`.")
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
    facts = {"path": "cache/a\nb", "kind": "file", "bytes": 10, "allocated": 4096, "uid": 5, "removed": None}
    first_seen = "first_seen 2027-01-06T08:00:00Z"
    clocks = f"mtime 2027-01-06T08:00:00Z, atime 2027-01-14T08:00:00Z, {first_seen}"
    assert list(explain_lines({**facts, **found}, NOW)) == [
        "cache/a\\nb",
        "  file       10 Bytes, 4.0 KiB on disk, owner 5",
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
    facts = {"path": "uploads/a", "kind": None, "rule": None, "clock_at": None, "expires_at": None}
    assert list(explain_lines({**facts, "blockers": ["not_indexed"], "removed": removed}, NOW))[2:] == [
        "  removed    trashed 2027-01-15T07:59:00Z (1m ago), 2.0 KiB, by run 3",
        "  why        class uploads, expired since 2027-01-14T08:00:00Z (ttl 7d)",
        "  policy     abcdef012345, expire by media (schedule)",
        "  restorable until 2027-01-16T08:00:00Z (in 1d)",
    ]


def test_sums_have_bars_against_the_largest() -> None:
    """On a terminal; single files have none."""
    sums = [{"uid": 1, "files": 3, "allocated": 800}, {"uid": 2, "files": 1, "allocated": 100}]
    columns, body = table(sums, 0, bars=True)
    assert (columns[-1], [line[-1] for line in body]) == ("", ["█" * 8, "█"])
    assert len(table([{"path": "a", "allocated": 800}, {"path": "b", "allocated": 1}], 0, bars=True)[0]) == 2
