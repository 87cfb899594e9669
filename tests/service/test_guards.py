"""Guards through the program: what is refused, how a person sets it aside, and what is recorded."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from indexer import StorageManager
from indexer.enforce.ledger import Ledger
from indexer.errors import RefusedError
from indexer.store import initialise_store
from tests.program import Program

CONFIGURATION = """
[store]
mode = "enforce"
[guards]
min_files = 2
override = ["max_fraction"]
[[class]]
name = "temp"
match = ["temp/**"]
ttl = "1d"
arrival_floor = false
min_age = "0s"
action = "delete"
"""


def store(root: Path) -> None:
    """Make a store of which all is due."""
    (root / "indexer.toml").write_text(CONFIGURATION)
    (root / "temp").mkdir()
    for number in range(5):
        (root / "temp" / str(number)).write_bytes(b"x")
        os.utime(root / "temp" / str(number), (0, 0))


def test_a_guard_is_set_aside_by_name_and_recorded(program: Program, tmp_path: Path) -> None:
    """Without a terminal only what the configuration names; the other guards still hold."""
    store(tmp_path)
    (tmp_path / "other").write_bytes(b"x")
    program.json("scan", tmp_path)
    refused = program.json("cleanup", "-y", tmp_path, exits=3)
    assert (refused["refused"], refused["files_removed"]) == ("max_fraction", 0)
    denied = program.json("cleanup", "-y", "--override", "everything", tmp_path, exits=3)
    assert "needs a terminal" in denied["error"]["message"]
    done = program.json("cleanup", "-y", "--override", "max_fraction", tmp_path)
    assert (done["refused"], done["files_removed"]) == (None, 5)
    with Ledger.open(tmp_path / ".indexer" / "ledger.db", read_only=True) as ledger:
        assert [run.trigger for run in ledger.runs(2)] == ["override max_fraction", "command"]


def test_a_stepped_clock_refuses_until_somebody_says_that_it_is_right(program: Program, tmp_path: Path) -> None:
    """The last moment is in the ledger: a run a year back from it is refused, and stays so."""
    store(tmp_path)
    text = CONFIGURATION.replace('override = ["max_fraction"]', 'override = ["max_clock_step"]\nmax_fraction = 1')
    (tmp_path / "indexer.toml").write_text(text)
    program.json("scan", tmp_path)
    program.json("cleanup", "-y", "--limit", "1", tmp_path)
    path = tmp_path / ".indexer" / "ledger.db"
    with Ledger.open(path) as ledger:
        wall, boot, up = json.loads(ledger.noted("clock") or "")
        assert abs(wall - time.time()) < 60
        ledger.note("clock", json.dumps([wall + 400 * 86_400, boot, up]))
    assert program.json("plan", tmp_path)["refused"] == "max_clock_step"
    assert program.json("cleanup", "-n", tmp_path, exits=3)["refused"] == "max_clock_step"
    for _ in range(2):
        assert program.json("cleanup", "-y", tmp_path, exits=3)["refused"] == "max_clock_step"
    assert program.json("cleanup", "-y", "--override", "max_clock_step", tmp_path)["files_removed"] == 4
    with Ledger.open(path, read_only=True) as ledger:
        assert abs(json.loads(ledger.noted("clock") or "")[0] - time.time()) < 60


def test_what_a_guard_refuses_leaves_the_trash_as_well(tmp_path: Path) -> None:
    """By a clock that has stepped all of it is past its time: nothing is destroyed, until somebody says it is right."""
    store(tmp_path)
    text = CONFIGURATION.replace('"delete"', '"trash"\ntrash_ttl = "1h"').replace(
        "[guards]", "[guards]\nmax_fraction = 1"
    )
    (tmp_path / "indexer.toml").write_text(text.replace('["max_fraction"]', '["max_clock_step"]'))
    initialise_store(tmp_path)
    ahead = [0.0]
    manager = StorageManager(tmp_path, clock=lambda: time.time() + ahead[0])
    manager.scan()
    assert manager.run_cleanup(limit=3)["files_removed"] == 3
    with Ledger.open(tmp_path / ".indexer" / "ledger.db") as ledger:
        wall, boot, up = json.loads(ledger.noted("clock") or "")
        ledger.note("clock", json.dumps([wall + 400 * 86_400, boot, up]))
    ahead[0] = 7200.0
    for dry_run in (True, False):
        result = manager.run_cleanup(dry_run=dry_run)
        assert (result["refused"], result["purged_files"]) == ("max_clock_step", 0)
    with pytest.raises(RefusedError, match="clock"):
        manager.trash_empty(older_than=3600)
    assert manager.trash_list()["files"] == 3
    done = manager.run_cleanup(override="max_clock_step")
    assert (done["purged_files"], done["files_removed"]) == (3, 2)


def test_many_small_runs_are_one_large_run(tmp_path: Path) -> None:
    """Half of the store per day, however many runs it takes: the ledger knows what went in the last 24 hours."""
    (tmp_path / "indexer.toml").write_text(CONFIGURATION.replace("min_files = 2", "min_files = 2\nmax_fraction = 0.5"))
    (tmp_path / "temp").mkdir()
    for number in range(20):
        (tmp_path / "temp" / str(number)).write_bytes(b"x")
        os.utime(tmp_path / "temp" / str(number), (0, 0))
    initialise_store(tmp_path)
    now = [time.time()]
    manager = StorageManager(tmp_path, clock=lambda: now[0])
    manager.scan()

    def run() -> tuple[int, str | None]:
        now[0] += 3600
        done = manager.run_cleanup(limit=3)
        return done["files_removed"], done["refused"]

    assert [run() for _ in range(4)] == [(3, None)] * 3 + [(0, "max_fraction")]
    now[0] += 20 * 3600  # 24 hours after the first: it still counts
    assert run() == (0, "max_fraction")
    now[0] += 2 * 3600  # all of them are more than a day ago
    assert run() == (3, None)


def test_what_has_come_back_does_not_count_as_gone(tmp_path: Path) -> None:
    """Half of the store may go in a day: what was restored has not gone, what was not restored has."""
    text = CONFIGURATION.replace('"delete"', '"trash"').replace("min_files = 2", "min_files = 2\nmax_fraction = 0.5")
    (tmp_path / "indexer.toml").write_text(text)
    (tmp_path / "temp").mkdir()
    for number in range(20):
        (tmp_path / "temp" / str(number)).write_bytes(b"x")
        os.utime(tmp_path / "temp" / str(number), (0, 0) if number < 9 else None)
    initialise_store(tmp_path)
    now = [time.time()]
    manager = StorageManager(tmp_path, clock=lambda: now[0])
    manager.scan()
    run = manager.run_cleanup()["run"]
    assert len(manager.restore(run=run)["restored"]) == 9
    again = manager.run_cleanup()
    assert (again["files_removed"], again["refused"]) == (9, None)
    manager.restore(paths=["temp/0", "temp/1", "temp/2"])
    now[0] += 60
    for number in range(9, 13):
        os.utime(tmp_path / "temp" / str(number), (0, 0))
    manager.scan()
    assert manager.run_cleanup()["refused"] == "max_fraction"  # 6 have gone, 7 would: of 20
