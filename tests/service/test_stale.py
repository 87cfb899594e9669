"""The fallback: idle while the service is healthy or somebody did it lately, acting when nobody does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from indexer.enforce.ledger import Ledger
from indexer.manager import StorageManager
from indexer.store import Store
from tests.program import PATIENCE, REPOSITORY, Program
from tests.service.scheduled import expired, scheduled


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store with three expired files and a schedule whose time has not come."""
    return scheduled(tmp_path / "store", 'cleanup = "every day at 02:00"')


def left(store: Store) -> int:
    """Return how many uploads there are."""
    return len(os.listdir(store.root / "uploads"))


def test_a_healthy_service_is_left_alone_and_a_dead_one_is_replaced(program: Program, store: Store) -> None:
    """Skipped with exit 0 beside it, whatever the age; after kill -9 the run is done, once."""
    with program.watch(store.root) as service:
        service.settle()
        result = program.json("cleanup", store.root, "--if-stale", "1s", "-y")
        assert (result["skipped"], result["files_removed"], result["why"]) == (True, 0, "the service is healthy")
        service.process.kill()
        service.process.wait(PATIENCE)
        service.process.returncode = 0
    assert left(store) == 3
    result = program.json("cleanup", store.root, "--if-stale", "1h", "-y")
    assert (result["skipped"], result["files_removed"], left(store)) == (False, 3, 0)
    again = program.run("cleanup", store.root, "--if-stale", "1h")
    assert "nothing to do: the last cleanup was" in again.stderr
    with Ledger.open(store.ledger_path, read_only=True) as ledger:
        assert [run.trigger for run in ledger.runs()] == ["fallback"]


def test_a_service_that_does_not_answer_is_replaced(program: Program, store: Store) -> None:
    """SIGSTOP: alive for everybody who only looks at its process, and useless."""
    with program.watch(store.root) as service:
        service.settle()
        service.process.send_signal(signal.SIGSTOP)
        try:
            result = program.json("cleanup", store.root, "--if-stale", "1h", "-y", "--no-scan")
        finally:
            service.process.send_signal(signal.SIGCONT)
        assert (result["skipped"], result["files_removed"]) == (False, 3)


def test_an_old_run_is_followed_by_another(store: Store) -> None:
    """The age is that of the last whole run, whoever started it."""
    now = [1_900_000_000.0]
    manager = StorageManager.of(store, clock=lambda: now[0])
    assert manager.run_cleanup(if_stale=3600)["files_removed"] == 3
    expired(store.root, 2)
    now[0] += 3599
    assert manager.run_cleanup(if_stale=3600)["skipped"] is True
    now[0] += 1
    assert manager.run_cleanup(if_stale=3600)["skipped"] is False


def test_what_happened_meanwhile_is_asked_again_under_the_lock(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two crons at the same second: the second finds the first one's run."""
    manager = StorageManager.of(store)
    manager.run_cleanup()
    monkeypatch.setattr(StorageManager, "fresh", lambda _self, _age: None)
    assert manager.run_cleanup(if_stale=3600)["skipped"] is True


def test_the_script_for_cron(program: Program, store: Store) -> None:
    """It cleans up, and is silent when there is nothing to do; a mistake is a usage error."""
    environment = {**program.environment, "INDEXER": str(store.root.parent / "indexer")}
    launcher = Path(environment["INDEXER"])
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -m indexer "$@"\n')
    launcher.chmod(0o755)

    def script(*args: str) -> subprocess.CompletedProcess[str]:
        argv = [str(REPOSITORY / "scripts" / "cleanup.sh"), *args]
        return subprocess.run(argv, capture_output=True, text=True, check=False, env=environment, timeout=PATIENCE)

    first = script(str(store.root))
    assert (first.returncode, left(store)) == (0, 0), first.stderr
    second = script(str(store.root), "1h")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert script().returncode == 2
