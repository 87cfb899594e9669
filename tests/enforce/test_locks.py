"""The ledger's own locks: what opens it beside a transaction must not end it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from indexer.enforce.ledger import Ledger
from tests.program import PATIENCE

TRY = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
try:
    connection.execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print(error)
else:
    print("got in")
"""


def attempt(path: Path) -> str:
    """Return what another process says that wants to write."""
    done = subprocess.run([sys.executable, "-c", TRY, path], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_opening_the_ledger_leaves_a_transaction_of_this_process_alone(tmp_path: Path) -> None:
    """Closing a descriptor of a file ends all of a process's locks on it (fcntl(2)): nothing may open it beside SQLite.

    In a service one thread writes outcomes while another opens the ledger for a hold.
    """
    path = tmp_path / "ledger.db"
    with Ledger.open(path) as ledger:
        ledger._connection.execute("BEGIN IMMEDIATE")
        assert attempt(path) == "database is locked"
        Ledger.open(path).close()
        Ledger.open(path, read_only=True).close()
        assert attempt(path) == "database is locked"
        ledger._connection.execute("ROLLBACK")
        assert attempt(path) == "got in"


def test_many_make_one_ledger_together(tmp_path: Path) -> None:
    """The first holds of several threads, in a store that has none yet: each schema step is done once, nobody fails."""
    path = tmp_path / "ledger.db"
    begin = threading.Barrier(8)
    ids: list[str] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            begin.wait(PATIENCE)
            with Ledger.open(path) as ledger:
                ids.append(ledger.id)
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(ids) == 8
    assert len(set(ids)) == 1
