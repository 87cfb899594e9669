"""What a plan asks of the index: every statement, and none that reads the file table from end to end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from indexer import StorageManager
from indexer.index import database, derived, queries
from indexer.store import initialise_store
from tests.reports.built import plans, reader

CLASS = """
[[class]]
name = "NAME"
match = ["NAME/**"]
ttl = "30d"
min_age = "0s"
arrival_floor = false
"""
MORE = {
    "by-mtime": "",
    "by-use": 'clock = ["mtime", "atime"]',
    "by-name": 'clock = ["filename"]\nfilename_time = { regex = \'(\\d{8})\', format = "%Y%m%d", otherwise = "keep" }',
    "whole": 'unit = "child"\nquota = { files = 1 }',
    "whole-large": 'unit = "child"\nquota = { files = 1, order = "size" }',
    "quota-clock": "quota = { files = 1 }",
    "quota-size": 'quota = { files = 1, order = "size" }',
    "quota-seen": 'quota = { files = 1, order = "first_seen" }',
    "quota-child": 'quota = { files = 1, per = "child" }',
    "notice": 'warn_before = "1d"\nquota = { files = 1 }',
}
GUARDS = "[guards]\nmax_fraction = 1\n"
PRESSURE = '[watermark]\nmin_free = { at = "1000TiB", until = "2000TiB" }\norder = ["quota-clock", "by-use", "whole"]\n'


@pytest.fixture
def manager(tmp_path: Path) -> StorageManager:
    """A store with a class of each kind, in each of which something is due and something over a quota."""
    text = GUARDS + PRESSURE + "".join(CLASS.replace("NAME", name) + more + "\n" for name, more in MORE.items())
    (tmp_path / "indexer.toml").write_text(text)
    for name in MORE:
        for number, days in enumerate((40, 3, 2, 1)):
            path = tmp_path / name / f"child-{number % 2}" / f"{20240101 + number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * 5000)
            at = time.time() - days * 86_400
            os.utime(path, (at, at))
    initialise_store(tmp_path)
    manager = StorageManager(tmp_path)
    manager.scan()
    return manager


def asked(monkeypatch: pytest.MonkeyPatch, ask: Callable[[], Any]) -> tuple[Any, set[str]]:
    """Return the answer, and every statement that was run for it on a read connection."""
    seen: list[str] = []
    connect = database.connect_reader

    def traced(path: Path) -> Any:
        connection = connect(path)
        connection.set_trace_callback(seen.append)
        return connection

    monkeypatch.setattr(queries, "connect_reader", traced)
    answer = ask()
    monkeypatch.undo()
    return answer, {text for text in seen if text.lstrip().startswith(("SELECT", "WITH"))}


def scans(manager: StorageManager, statements: set[str]) -> dict[str, list[str]]:
    """Return the statements that read the file table, or an index of all its rows, from end to end, with their plans.

    An index of one class alone (`file_by_…`) is no such thing: it is read as far as a quota wants.
    """
    with reader(manager.store.index_path) as index:
        shown = {text: plans(index.connection, text) for text in statements if "TEMP" not in text}
    return {
        text: found
        for text, lines in shown.items()
        if (found := [line for line in lines if line.startswith(("SCAN file", "SCAN f ")) and "file_by_" not in line])
    }


def test_no_plan_reads_the_file_table(manager: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """TTL by each kind of clock, quotas in each order, of a class and of its children, whole children, a watermark."""
    plan, statements = asked(monkeypatch, lambda: manager.plan(scan=False))
    reasons = {(one["class"], one["reason"]) for one in plan["actions"]}
    assert {name for name, reason in reasons if reason == "expired"} >= {"by-mtime", "by-use", "by-name"}
    assert {name for name, reason in reasons if reason == "quota"} >= {name for name in MORE if "quota" in name}
    assert plan["watermarks"] != []
    read = [text for text in statements if "file" in text]
    assert len(read) > 10
    assert scans(manager, statements) == {}


def test_a_scan_would_be_seen(manager: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above finds what it looks for: a sum by owner is one pass, and says so."""
    _, statements = asked(monkeypatch, partial(manager.report, "usage", by="owner"))
    (lines,) = scans(manager, statements).values()
    assert lines == ["SCAN file"]


def test_usage_and_quotas_read_counters_alone(manager: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Per class, per tier and per child; no file but the oldest and newest of each class."""
    monkeypatch.setattr(derived, "MANY", 0)
    manager.scan()
    for report in ("usage", "tiers", "quotas"):
        rows, statements = asked(monkeypatch, partial(manager.report, report))
        assert rows, report
        assert scans(manager, statements) == {}, report
