"""A service that starts after a crash settles what the run left, and never disturbs a run that is alive."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from indexer.enforce import hooks
from indexer.enforce.ledger import Ledger
from indexer.enforce.recheck import rechecker
from indexer.enforce.run import execute
from indexer.policy.classes import Classifier
from indexer.service.unfinished import settle_unfinished
from indexer.store import initialise_store, open_store
from tests.enforce.arena import NOW, Arena, Staged

if TYPE_CHECKING:
    from pathlib import Path

    from indexer.store import Store

POLICY = """
[store]
mode = "enforce"
[[class]]
name = "uploads"
match = ["uploads/**"]
ttl = "1d"
action = "delete"
"""


@pytest.fixture
def crashed(tmp_path: Path) -> Store:
    """Return a store in which a run died with one file in the trash, to be destroyed there."""
    root = tmp_path / "store"
    root.mkdir()
    initialise_store(root, profile="empty")
    (root / "indexer.toml").write_text(POLICY)
    store = open_store(root)
    arena = Arena(root, rules=store.config.classes)
    arena.write("uploads/a", b"A")
    plan = arena.plan("uploads/a")
    arena.close()
    child = os.fork()
    if child == 0:
        try:
            hooks.at = Staged("rename.after", lambda _: os.kill(os.getpid(), signal.SIGKILL))
            with store.run_lock(), Ledger.open(store.ledger_path) as ledger:
                again = rechecker(Classifier(store.config.classes))
                execute(
                    plan, store=store, root_fd=store.open_root(), ledger=ledger, recheck=again, now=lambda: float(NOW)
                )
        finally:
            os._exit(2)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    return store


def test_the_start_settles_what_a_crash_left(crashed: Store) -> None:
    """The file is back in its place, the run has an end, and the next start finds nothing to do."""
    path = crashed.root / "uploads/a"
    assert not path.exists()
    assert settle_unfinished(crashed, lambda: float(NOW)) == 1
    assert path.read_bytes() == b"A"
    with Ledger.open(crashed.ledger_path, read_only=True) as ledger:
        assert ledger.unfinished() == []
        assert [run.interrupted for run in ledger.runs()] == [True]
    assert settle_unfinished(crashed, lambda: float(NOW)) == 0


def test_a_run_that_is_alive_is_left_alone(crashed: Store) -> None:
    """Without the run lock nothing is touched and nobody waits."""
    with crashed.run_lock():
        assert settle_unfinished(crashed, lambda: float(NOW)) == 0
        assert not (crashed.root / "uploads/a").exists()


def test_a_ledger_that_cannot_be_read_does_not_stop_the_service(
    crashed: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """The index needs no ledger: it is said once, and the service goes on."""
    crashed.ledger_path.write_bytes(b"not a database" * 100)
    assert settle_unfinished(crashed, lambda: float(NOW)) == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_store_without_a_ledger(tmp_path: Path) -> None:
    """A store that nothing was ever removed from is not given a ledger by looking."""
    root = tmp_path / "store"
    root.mkdir()
    store = initialise_store(root, profile="empty")
    assert settle_unfinished(store, lambda: float(NOW)) == 0
    assert not store.ledger_path.exists()
