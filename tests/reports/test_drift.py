"""What is stale, and whether the index says what is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from indexer.errors import UsageError
from indexer.manager import StorageManager
from indexer.reports.tables import report
from indexer.store import initialise_store
from tests.reports.built import DAY, NOW
from tests.reports.stores import media_store


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"within": 30 * DAY}, ["outputs/final.mp4", "README", "frames/job-1/café.jpg", "uploads/.keep"]),
        ({"within": 30 * DAY, "top": 1}, ["outputs/final.mp4"]),
        ({}, ["outputs/final.mp4", "README", "uploads/.keep"]),
        ({"class_name": "cache", "within": 2 * DAY}, ["cache/read-long-ago"]),
        ({"under": b"frames", "within": 30 * DAY}, ["frames/job-1/café.jpg"]),
    ],
)
def test_stale(tmp_path: Path, options: dict[str, Any], expected: list[str]) -> None:
    """What was not used for 90 days, or as long as asked; the largest first. An observed use counts."""
    assert [row["path"] for row in report(media_store(tmp_path), "stale", NOW, **options)] == expected


def test_stale_in_sums(tmp_path: Path) -> None:
    """By class, child or owner; not by day."""
    store = media_store(tmp_path)
    rows = report(store, "stale", NOW, by="class")
    assert [(row["class"], row["files"], row["allocated"]) for row in rows] == [
        ("outputs", 1, 9_003_008),
        (None, 1, 4096),
        ("uploads", 1, 0),
    ]
    with pytest.raises(UsageError, match="cannot be shown by 'day'"):
        report(store, "stale", NOW, by="day")


def test_drift_is_found_without_the_service(tmp_path: Path) -> None:
    """Each kind of difference, with an example; the store's own files are none."""
    root = tmp_path / "store"
    (root / "a" / "b").mkdir(parents=True)
    for name in ("same", "gone", "grown", "a/touched", "a/b/same"):
        (root / name).write_bytes(b"x")
    initialise_store(root, profile="empty")
    manager = StorageManager(root)
    manager.scan()
    assert {row["files"] for row in manager.report("drift")} == {0}
    (root / "gone").unlink()
    (root / "grown").write_bytes(b"xx")
    (root / "a" / "b" / b"new\xff".decode("utf-8", "surrogateescape")).write_bytes(b"")
    os.utime(root / "a" / "touched", (1, 1))
    found = {row["difference"]: row for row in manager.report("drift")}
    assert {kind: row["files"] for kind, row in found.items()} == {
        "missed": 1,
        "ghost": 1,
        "wrong": 2,
        "late": 0,
        "unreadable": 0,
    }
    assert (found["ghost"]["example"], found["missed"]["example"]) == ("gone", "a/b/new\\xff")
    assert found["ghost"]["share"] == pytest.approx(1 / found["ghost"]["checked"])
