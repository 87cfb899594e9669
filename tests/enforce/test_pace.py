"""`max_rate`: removal that leaves a busy storage room to breathe."""

from __future__ import annotations

from pathlib import Path

import pytest

from indexer.enforce.pace import Pace
from indexer.manager import StorageManager
from indexer.store import open_store
from tests.service.scheduled import scheduled


class Clock:
    """A stopwatch whose time passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let it pass."""
        self.now += seconds


def test_so_many_files_a_second_on_the_average() -> None:
    """A batch is a second's worth; time that removal itself took counts, and an idle hour is not made up for."""
    clock = Clock()
    pace = Pace(50, lambda: False, monotonic=clock.monotonic, sleep=clock.sleep)
    assert pace.batch(4096) == 50
    for _ in range(10):
        clock.now += 0.4  # what the batch took
        pace.spend(50)
    assert clock.now == pytest.approx(110.0)
    clock.now += 3600
    for _ in range(10):
        pace.spend(50)
    assert clock.now == pytest.approx(110 + 3600 + 9)


def test_without_a_rate_nothing_waits() -> None:
    """No sleep and no smaller batch."""
    pace = Pace(None, lambda: False, sleep=lambda _: pytest.fail("slept"))
    assert pace.batch(4096) == 4096
    pace.spend(10**9)


def test_who_is_to_end_waits_no_longer() -> None:
    """Ctrl-C during a wait is heard at its next step."""
    clock = Clock()
    pace = Pace(1, lambda: clock.now >= 100.5, monotonic=clock.monotonic, sleep=clock.sleep)
    pace.spend(1000)
    assert 100.5 <= clock.now < 100.7


def test_a_run_and_the_trash_keep_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """30 files at 10 a second take three seconds to remove, and as long to be destroyed."""
    slept: list[float] = []
    monkeypatch.setattr("indexer.enforce.pace.time.sleep", slept.append)
    store = scheduled(tmp_path / "store", "", files=30)
    assert store.config.path is not None
    text = store.config.path.read_text(encoding="utf-8").replace("[guards]", "[guards]\nmax_rate = 10")
    store.config.path.write_text(text, encoding="utf-8")
    assert open_store(store.root).config.fingerprint == store.config.fingerprint
    waits = iter(range(10**6))
    clock = {"now": 0.0}

    def sleep(seconds: float) -> None:
        next(waits)
        clock["now"] += seconds

    monkeypatch.setattr(Pace.__init__, "__kwdefaults__", {"monotonic": lambda: clock["now"], "sleep": sleep})
    manager = StorageManager(store.root)
    assert manager.run_cleanup()["files_removed"] == 30
    assert clock["now"] == pytest.approx(3.0)
    assert manager.trash_empty()["files_removed"] == 30
    assert clock["now"] == pytest.approx(6.0)
    assert slept == []
