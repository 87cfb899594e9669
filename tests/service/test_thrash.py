"""Room won in vain: what a quota took and somebody made again is counted, for the class, for a while."""

from __future__ import annotations

import os
import time
from pathlib import Path

from indexer.enforce.ledger import Ledger
from indexer.index.queries import Reader
from indexer.manager import StorageManager
from indexer.service.metrics import metrics_text
from indexer.service.thrash import note_thrash
from indexer.store import initialise_store
from tests.service.policies import aged, enforced

DAY = 86_400
CONFIG = enforced(
    aged("cache", quota={"files": 2}), aged("temp", ttl="1d", quota={"files": 100}), ledger={"thrash": "6h"}
)


def put(path: Path, age: float) -> None:
    """Make a file of so many days."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"made")
    os.utime(path, (time.time() - age * DAY, time.time() - age * DAY))


def again(manager: StorageManager) -> dict[str, int]:
    """Return what the report of quotas says."""
    return {row["class"]: row["thrash"] for row in manager.report("quotas")}


def test_what_was_taken_for_room_and_made_again_is_counted(tmp_path: Path) -> None:
    """Once each, for its class: not what came back from the trash, not what its ttl took, and only for a while."""
    (tmp_path / "indexer.toml").write_text(CONFIG, encoding="utf-8")
    initialise_store(tmp_path)
    for age in (9, 8, 7, 2, 1):
        put(tmp_path / f"cache/{age}", age)
    put(tmp_path / "temp/old", 3)
    manager = StorageManager(tmp_path)
    manager.scan()
    assert manager.run_cleanup()["files_removed"] == 4
    assert again(manager) == {"cache": 0}

    put(tmp_path / "cache/9", 0)
    put(tmp_path / "temp/old", 0)
    assert [one["path"] for one in manager.restore(paths=[tmp_path / "cache/8"])["restored"]] == ["cache/8"]
    manager.scan(quick=True)
    with Reader.open(manager.store.index_path) as reader, Ledger.open(manager.store.ledger_path) as ledger:
        now = int(time.time())
        assert [note_thrash(reader, ledger, now, 3600) for _ in range(2)] == [1, 0]
    assert again(manager) == {"cache": 1, "temp": 0}
    status, usage = manager.status(), manager.usage()
    assert b'indexer_thrash_files{class="cache"} 1.0' in metrics_text(manager.store, status, usage)
    assert again(StorageManager.of(manager.store, lambda: time.time() + 7 * 3600)) == {"cache": 0, "temp": 0}


def test_a_run_looks_for_what_the_runs_before_it_took(tmp_path: Path) -> None:
    """Nobody has to ask: the run that takes it again has counted it."""
    (tmp_path / "indexer.toml").write_text(CONFIG, encoding="utf-8")
    initialise_store(tmp_path)
    for age in (9, 2, 1):
        put(tmp_path / f"cache/{age}", age)
    manager = StorageManager(tmp_path)
    manager.scan()
    for taken in range(3):
        assert again(manager)["cache"] == max(0, taken - 1)
        assert manager.run_cleanup()["files_removed"] == 1
        put(tmp_path / "cache/9", 9)
    assert manager.run_cleanup()["files_removed"] == 1
    assert again(manager)["cache"] == 3
