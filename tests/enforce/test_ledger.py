"""The ledger itself: private, durable, versioned, and precise about names."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
from typing import TYPE_CHECKING

import pytest

from indexer.enforce.ledger import Ledger
from indexer.enforce.protection import Protection
from indexer.enforce.rows import Intent
from indexer.enforce.schema import VERSION
from indexer.errors import LedgerError
from tests.enforce.arena import Arena

if TYPE_CHECKING:
    from pathlib import Path


def test_private_whatever_the_umask(tmp_path: Path) -> None:
    """`ledger.db`, its journal and its ballast are 0600 under any umask."""
    before = os.umask(0)
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        ledger.begin_run("expire", "command", user="me", mode="enforce", policy="p", now=1)
        os.umask(before)
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    names = ["ledger.db", "ledger.db-journal", "ledger.ballast", *(f"ledger.spare-{number}" for number in range(4))]
    assert modes == dict.fromkeys(names, 0o600)
    assert (tmp_path / "ledger.ballast").stat().st_blocks * 512 >= 16 * 2**20


def test_durable_at_every_commit(tmp_path: Path) -> None:
    """Rollback journal, truncated, and every commit synced: nothing rests in a WAL."""
    with Ledger.open(tmp_path / "ledger.db", ballast=False) as ledger:
        asked = {
            name: ledger._query(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous", "user_version")
        }
    assert asked == {"journal_mode": "truncate", "synchronous": 2, "user_version": VERSION}


def test_two_batches_cost_three_commits(arena: Arena) -> None:
    """The end of one batch and the intents of the next are one durable commit."""
    for number in range(1500):
        arena.write(f"uploads/{number}")
    plan = arena.plan()
    before = arena.ledger.commits
    arena.run(plan)
    # begin, intents of 1,024, their outcomes with the next intents, the last outcomes, finish
    assert arena.ledger.commits - before == 5


@pytest.mark.parametrize("read_only", [True, False])
def test_a_ledger_of_schema_1_is_upgraded(tmp_path: Path, read_only: bool) -> None:
    """A ledger of the first schema keeps its actions, gets the new column, and can be read at once."""
    path = tmp_path / "ledger.db"
    with Ledger.open(path, ballast=False) as ledger:
        run = ledger.begin_run("expire", "command", user="me", mode="enforce", policy="p", now=1)
        ledger.intents(
            run, [Intent(1, "a", None, "", "c", "trash", "expired", 0, 0, 1, 0, 0, 0, 0, 0, 0, None, None, None, "t")]
        )
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE origin")
        connection.execute("ALTER TABLE action DROP COLUMN origin")
        connection.execute("DROP INDEX action_child")
        connection.execute("ALTER TABLE action DROP COLUMN child")
        connection.execute("ALTER TABLE action DROP COLUMN trash_ttl")
        connection.execute("DROP INDEX action_recreated")
        connection.execute("DROP INDEX notice_class")
        connection.execute("DROP INDEX notice_goes_at")
        connection.execute("ALTER TABLE action DROP COLUMN recreated_at")
        for column in ("clock_at", "inode", "birth_ns", "reason"):
            connection.execute(f"ALTER TABLE notice DROP COLUMN {column}")
        connection.execute("DELETE FROM schema_migration WHERE name > '0002'")
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    with Ledger.open(path, ballast=False, read_only=read_only) as ledger:
        assert [(action.path, action.trash_ttl) for action in ledger.actions(run)] == [(b"a", None)]
        assert ledger._query("PRAGMA user_version") == [(VERSION,)]


def test_a_newer_ledger_is_refused(tmp_path: Path) -> None:
    """A schema of the future is neither read nor changed."""
    Ledger.open(tmp_path / "ledger.db", ballast=False).close()
    with sqlite3.connect(tmp_path / "ledger.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    for read_only in (True, False):
        with pytest.raises(LedgerError, match="schema 99"):
            Ledger.open(tmp_path / "ledger.db", ballast=False, read_only=read_only)


def test_a_damaged_ledger_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    """Garbage is not mistaken for an empty ledger."""
    (tmp_path / "ledger.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(LedgerError) as caught:
        Ledger.open(tmp_path / "ledger.db", ballast=False)
    assert "move it away" in caught.value.remedy


def test_a_symlink_in_its_place_is_not_followed(tmp_path: Path) -> None:
    """Somebody who may write the directory cannot make us create or open a database elsewhere."""
    (tmp_path / "ledger.db").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        Ledger.open(tmp_path / "ledger.db", ballast=False)
    assert not (tmp_path / "elsewhere").exists()


def test_names_that_look_alike_are_different(arena: Arena) -> None:
    r"""A name with a byte 0xff and one with the four characters \xff have the same text and are told apart."""
    raw, spelled = arena.write(b"uploads/\xff"), arena.write(b"uploads/\\xff")
    arena.run(arena.plan(raw))
    assert arena.ledger.removed(spelled) is None
    found = arena.ledger.removed(raw)
    assert found is not None
    assert found.path == raw


def test_protection_covers_whole_components() -> None:
    """A hold on a tree covers what is below it, not what merely begins alike; a hold outranks a lease."""
    protection = Protection([(b"a/b", True, "leased"), (b"c", False, "held"), (b"a", True, "held")])
    assert [protection.blocker(path) for path in (b"a/b/c", b"a/x", b"ab", b"c", b"c/d", b"")] == [
        "leased", "held", None, "held", None, None,
    ]  # fmt: skip
    assert Protection([(b"", True, "held")]).blocker(b"anything/at/all") == "held"
    assert not Protection([])


def test_holds_are_listed_and_released(arena: Arena) -> None:
    """A hold is in force until its time, or until it is released."""
    arena.ledger.add_hold(b"uploads/\xff", "file", until=None, reason="r", by="me", now=1)
    arena.ledger.add_hold(b"frames", "tree", until=10, reason="", by="me", now=1)
    assert [(hold.path, hold.kind, hold.until) for hold in arena.ledger.holds(9)] == [
        (b"frames", "tree", 10), (b"uploads/\xff", "file", None),
    ]  # fmt: skip
    assert [hold.path for hold in arena.ledger.holds(10)] == [b"uploads/\xff"]
    assert arena.ledger.release_hold(b"uploads/\xff") == 1
    assert arena.ledger.holds(10) == []


def test_in_flight_says_when_a_removal_is_under_way(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the intent is open, whoever has placed a hold knows that it came too late for that file."""
    from indexer.enforce import hooks

    path = arena.write("uploads/job/a")
    plan = arena.plan(path)
    seen: list[tuple[bool, bool, bool]] = []

    def look(window: str, _name: bytes = b"") -> None:
        if window == "file.leased":
            ledger = arena.ledger
            seen.append(
                (
                    ledger.in_flight(path, tree=False),
                    ledger.in_flight(b"uploads/job", tree=True),
                    ledger.in_flight(b"up", tree=True),
                )
            )

    monkeypatch.setattr(hooks, "at", look)
    arena.run(plan)
    assert seen == [(True, True, False)]
    assert not arena.ledger.in_flight(path, tree=False)


def test_reading_after_a_crash_in_the_middle_of_a_commit(tmp_path: Path) -> None:
    """A journal that a killed writer left is rolled back by the first who reads: what was committed is there."""
    path = tmp_path / "ledger.db"
    with Ledger.open(path, ballast=False) as ledger:
        ledger.add_hold(b"kept", "file", until=None, reason="", by="", now=1)
    child = os.fork()
    if child == 0:
        try:
            connection = Ledger.open(path, ballast=False)._connection
            connection.execute("PRAGMA cache_size = 5")
            connection.execute("BEGIN IMMEDIATE")
            for number in range(2000):
                connection.execute(
                    "INSERT INTO hold (path, kind, created) VALUES (?, 'file', 1)", ("x" * 200 + str(number),)
                )
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert (tmp_path / "ledger.db-journal").stat().st_size > 0

    with Ledger.open(path, read_only=True) as ledger:
        assert [hold.path for hold in ledger.holds(1)] == [b"kept"]
