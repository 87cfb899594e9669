"""A store with files past their time and a schedule; run as a program, one instance of its schedule."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from indexer.enforce import hooks
from indexer.enforce.ledger import Ledger
from indexer.enforce.rows import RunRow
from indexer.manager import StorageManager
from indexer.service.schedule import Schedule
from indexer.store import Store, open_store

POLICY = """
[store]
mode = "{mode}"
[guards]
max_fraction = 1.0
[[class]]
name = "uploads"
match = ["uploads/**"]
ttl = "1d"
min_age = "0s"
arrival_floor = false
[schedule]
{schedule}
"""
OLD = 2 * 86_400


def scheduled(root: Path, schedule: str, *, mode: str = "enforce", files: int = 3, scan: bool = True) -> Store:
    """Make a store of `files` expired files with this `[schedule]`."""
    (root / "uploads").mkdir(parents=True)
    (root / "indexer.toml").write_text(POLICY.format(mode=mode, schedule=schedule))
    expired(root, files)
    from indexer.store import initialise_store

    initialise_store(root)
    if scan:
        StorageManager(root).scan()
    return open_store(root)


def expired(root: Path, files: int, prefix: str = "") -> None:
    """Make files that are two days old."""
    for number in range(files):
        path = root / "uploads" / f"{prefix}{number}"
        path.write_bytes(b"x" * 5000)
        os.utime(path, (time.time() - OLD,) * 2)


def cleanups(store: Store) -> list[RunRow]:
    """Return the runs of the schedule, the first first."""
    with Ledger.open(store.ledger_path, read_only=True) as ledger:
        return [row for row in reversed(ledger.runs(1000)) if row.trigger == "schedule"]


def instance(root: str, stop_at: str) -> None:
    """Run the schedule until SIGTERM; the first run that reaches the window `stop_at` stops there for ever."""

    def at(window: str, name: bytes = b"") -> None:
        del name
        if window == stop_at:
            print("stopped", flush=True)  # noqa: T201 - what the test waits for
            signal.pause()

    if stop_at != "-":
        hooks.at = at
    with Schedule(open_store(Path(root)), heartbeat=0.2):
        print("started", flush=True)  # noqa: T201 - the same
        signal.sigwait({signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    instance(*sys.argv[1:])
