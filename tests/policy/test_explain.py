"""Explain: the class, the clocks that count, the date, and everything that stands in the way."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from indexer.policy.explain import explain
from indexer.records import IndexedFile
from tests.policy.declared import indexed
from tests.policy.test_plan import CLASSIFIER, DAY, FILES, NOW, RULES, planned


def explained(file: IndexedFile, protection: str | None = None) -> dict[str, Any]:
    """Explain `file` under RULES at NOW."""
    index, aged = CLASSIFIER.of(file.path)
    rule = None if index is None else RULES[index]
    return explain(file, rule, aged=aged, now=NOW, protection=protection).as_json()


def test_a_file_that_is_due() -> None:
    """Its clock is the youngest of those that count, and nothing stands in the way."""
    found = explained(
        indexed("cache/a", CLASSIFIER, mtime=NOW - 9 * DAY, atime=NOW - 4 * DAY, first_seen=NOW - 5 * DAY)
    )
    assert found == {
        "class": "cache",
        "tier": "hot",
        "clocks": {"mtime": NOW - 9 * DAY, "atime": NOW - 4 * DAY, "first_seen": NOW - 5 * DAY},
        "clock_at": NOW - 4 * DAY,
        "expires_at": NOW - DAY,
        "goes_at": NOW - DAY,
        "notice": None,
        "rule": {
            "class": "cache",
            "match": ["cache/**"],
            "exclude": [],
            "ttl": 3 * DAY,
            "clock": ["mtime", "atime"],
            "arrival_floor": True,
            "min_age": 0,
            "unit": "file",
            "action": "trash",
            "trash_ttl": DAY,
            "warn_before": None,
        },
        "blockers": [],
    }


@pytest.mark.parametrize(
    ("path", "age", "protection", "expires_at", "blockers"),
    [
        ("uploads/a", 60, None, NOW - 60 + 7 * DAY, ["too_young", "not_due"]),
        ("uploads/a", 2 * DAY, "held", NOW + 5 * DAY, ["held", "not_due"]),
        ("uploads/a", 8 * DAY, "leased", NOW - DAY, ["leased"]),
        ("uploads/.keep", 8 * DAY, None, None, ["excluded"]),
        ("outputs/a", 8 * DAY, None, None, ["kept_forever"]),
        ("a", 8 * DAY, None, None, ["unclassified"]),
    ],
)
def test_what_stands_in_the_way(
    path: str, age: int, protection: str | None, expires_at: int | None, blockers: list[str]
) -> None:
    """Every blocker is named, the strongest first, and a file that never expires has no date."""
    found = explained(indexed(path, CLASSIFIER, mtime=NOW - age), protection)
    assert (found["expires_at"], found["blockers"]) == (expires_at, blockers)


@given(files=FILES)
def test_explain_and_plan_agree(files: list[IndexedFile]) -> None:
    """A file without blockers is in the plan, with the same clock and date; one with any is not."""
    going = {action.file.path: (action.clock_at, action.expires_at) for action in planned(files).actions}
    free = {
        file.path: (found["clock_at"], found["expires_at"])
        for file in files
        if not (found := explained(file))["blockers"]
    }
    assert free == going
