"""Holds and leases through the manager: absolute, durable, and in force when the call returns."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from indexer.enforce import hooks
from indexer.enforce.ledger import Ledger
from indexer.enforce.rows import Intent
from indexer.errors import BusyError, UsageError
from indexer.manager import StorageManager
from indexer.service import holding
from indexer.service.holding import Lease
from indexer.store import initialise_store
from tests.program import Program

POLICY = """
[store]
mode = "enforce"
[guards]
max_fraction = 1.0
[[class]]
name = "temp"
match = ["temp/**"]
ttl = "1h"
arrival_floor = false
min_age = "1s"
"""
LONG_AGO = 1_600_000_000


@pytest.fixture
def manager(tmp_path: Path) -> StorageManager:
    """A store with six expired files in three directories."""
    root = tmp_path / "store"
    for name in ("temp/a/1", "temp/a/2", "temp/b/3", "temp/b/4", "temp/5", "temp/6"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        os.utime(path, (LONG_AGO, LONG_AGO))
    (root / "indexer.toml").write_text(POLICY)
    initialise_store(root)
    return StorageManager(root)


def planned(manager: StorageManager) -> set[str]:
    """Return the paths that a run would take."""
    return {action["path"] for action in manager.plan()["actions"]}


def left(manager: StorageManager) -> set[str]:
    """Return the files that are there."""
    root = manager.store.root
    return {str(path.relative_to(root)) for path in (root / "temp").rglob("*") if path.is_file()}


def test_held_files_and_trees_stay_whatever_their_age(manager: StorageManager) -> None:
    """A hold on a tree covers all below it, one on a file only that; the rest goes."""
    manager.hold("temp/a", "temp/5", reason="review")
    assert planned(manager) == {"temp/b/3", "temp/b/4", "temp/6"}
    result = manager.run_cleanup()
    assert (result["files_removed"], result["kept"]) == (3, {"held": 3})
    assert left(manager) == {"temp/a/1", "temp/a/2", "temp/5"}


def test_a_hold_ends_at_its_time(manager: StorageManager) -> None:
    """`until` and `ttl` are the same promise: not a second longer than said."""
    late = StorageManager.of(manager.store, clock=lambda: time.time() + 7200)
    (held,) = manager.hold("temp", ttl="1h")
    assert held["until"] == pytest.approx(time.time() + 3600, abs=60)
    assert planned(manager) == set()
    assert len(planned(late)) == 6


def test_release_ends_exactly_what_was_held(manager: StorageManager) -> None:
    """A path that was not held is named, and other holds stay."""
    manager.hold("temp/a", "temp/b")
    holds, nothing = manager.release("temp/a", "temp/a/1")
    assert [one["path"] for one in holds] == ["temp/b"]
    assert nothing == [b"temp/a/1"]


def test_a_hold_that_would_end_in_the_past_is_an_error(manager: StorageManager) -> None:
    """It would protect nothing, and whoever asked for it would not know."""
    with pytest.raises(UsageError, match="past"):
        manager.hold("temp", until=LONG_AGO)


def test_the_end_of_a_hold_has_every_usual_form(manager: StorageManager) -> None:
    """Seconds, a datetime, and what the command line takes; all else is an error that says how."""
    for when in (LONG_AGO * 2, "+1d", "2100-01-01", datetime(2100, 1, 1, tzinfo=UTC)):
        (held,) = manager.hold("temp", until=when)
        assert held["until"] > time.time()
        manager.release("temp")
    for wrong in ("soon", float("nan"), [1]):
        with pytest.raises(UsageError, match="is not a time"):
            manager.hold("temp", until=wrong)  # type: ignore[arg-type]


def test_a_restore_of_nothing_named_is_an_error(manager: StorageManager) -> None:
    """It would bring back whatever lies in the trash."""
    manager.run_cleanup()
    for dry_run in (True, False):
        with pytest.raises(UsageError, match="not said"):
            manager.restore(dry_run=dry_run)
    assert manager.trash_list()["files"] == 6


def test_a_lease_protects_what_does_not_exist_yet_and_ends_with_its_block(manager: StorageManager) -> None:
    """A job takes its directory before it makes it."""
    with manager.lease("temp/job-17", ttl="1h"):
        path = manager.store.root / "temp/job-17/frame"
        path.parent.mkdir()
        path.write_text("new")
        os.utime(path, (LONG_AGO, LONG_AGO))
        assert "temp/job-17/frame" not in planned(manager)
        assert manager.plan()["kept"] == {"leased": 1}
    assert "temp/job-17/frame" in planned(manager)


def test_a_lease_renews_itself_and_a_crash_ends_it_at_its_ttl(manager: StorageManager) -> None:
    """Whoever holds it moves its end; once nobody does, time alone releases it."""
    now = [time.time()]
    lease = Lease(manager.store, b"temp", ttl=3600, holder="test", clock=lambda: now[0])
    with lease:
        now[0] += 3000
        assert lease.renew()
        with Ledger.open(manager.store.ledger_path, read_only=True) as ledger:
            assert ledger.protection(now[0] + 3500).blocker(b"temp/5") == "leased"
            assert ledger.protection(now[0] + 3700).blocker(b"temp/5") is None


def test_a_hold_returns_only_when_no_removal_that_covers_it_is_in_flight(
    manager: StorageManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that has announced the file is waited for: afterwards the file is either gone or safe, never going."""
    manager.scan()
    entered, go = threading.Event(), threading.Event()

    def pause(window: str, _name: bytes = b"") -> None:
        if window == "ledger.after" and not entered.is_set():
            entered.set()
            assert go.wait(60)

    monkeypatch.setattr(hooks, "at", pause)
    run = threading.Thread(target=manager.run_cleanup)
    run.start()
    assert entered.wait(60)
    returned = threading.Event()

    def hold() -> None:
        manager.hold("temp/a")
        returned.set()

    holder = threading.Thread(target=hold)
    holder.start()
    while True:  # the hold is recorded before it waits
        with Ledger.open(manager.store.ledger_path, read_only=True) as ledger:
            if ledger.holds(time.time()):
                break
    assert not returned.is_set()
    go.set()
    assert returned.wait(60)
    run.join()
    holder.join()
    assert {path for path in left(manager) if path.startswith("temp/a")} == {"temp/a/1", "temp/a/2"}


def test_what_lies_in_the_trash_is_held_as_well(manager: StorageManager) -> None:
    """The only copy of a held path is destroyed by nobody: not by its time, not by hand, not for room."""
    manager.run_cleanup()
    late = StorageManager.of(manager.store, clock=lambda: time.time() + 40 * 86_400)
    manager.hold("temp/a", "temp/5")
    assert late.run_cleanup(dry_run=True)["purged_files"] == 3
    assert late.run_cleanup()["purged_files"] == 3
    for dry_run in (True, False):
        done = late.trash_empty(dry_run=dry_run)
        assert (done["files_removed"], done["kept"]) == (0, {"held": 3})
    assert manager.restore(paths=["temp/a", "temp/5"])["errors"] == []
    assert left(manager) == {"temp/a/1", "temp/a/2", "temp/5"}


def test_a_hold_that_comes_while_the_trash_is_emptied(manager: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded after the announcement and before the first unlink: what it covers stays in the trash."""
    manager.run_cleanup()
    announce = Ledger.leaving

    def announced(ledger: Ledger, run: int, outcome: str, rows: list[tuple[bytes | None, int, int]]) -> None:
        announce(ledger, run, outcome, rows)
        assert set(ledger.under_way()) == {b"temp/a/1", b"temp/a/2", b"temp/b/3", b"temp/b/4", b"temp/5", b"temp/6"}
        ledger.add_hold(b"temp/b", "tree", until=None, reason="", by="", now=time.time())

    monkeypatch.setattr(Ledger, "leaving", announced)
    done = manager.trash_empty()
    assert (done["files_removed"], done["kept"], done["errors"]) == (4, {"held": 2}, [])
    assert {item["path"] for item in manager.trash_list()["items"]} == {"temp/b/3", "temp/b/4"}


def test_what_is_not_in_the_trash_is_not_said_to_be_destroyed(manager: StorageManager) -> None:
    """A ledger older than the trash, or a hand in it: neither counted nor called purged."""
    manager.run_cleanup()
    (first, *_) = (manager.store.control / "trash").iterdir()
    first.unlink()
    assert manager.trash_empty()["files_removed"] == 5
    with Ledger.open(manager.store.ledger_path, read_only=True) as ledger:
        assert sorted(str(action.outcome) for action in ledger.actions(1)) == ["purged"] * 5 + ["unknown"]


def test_a_glob_holds_what_matches_now_and_later(manager: StorageManager, tmp_path: Path) -> None:
    """By the language of `match`; the published copy shows single files as held."""
    held = manager.hold("**/[12]", glob=True, reason="masters")
    assert [(one["path"], one["kind"]) for one in held] == [("**/[12]", "glob")]
    assert planned(manager) == {"temp/b/3", "temp/b/4", "temp/5", "temp/6"}
    manager.export(tmp_path / "copy.db")
    with sqlite3.connect(tmp_path / "copy.db") as copy:
        assert copy.execute("SELECT path FROM files WHERE held ORDER BY 1").fetchall() == [("temp/a/1",), ("temp/a/2",)]
        assert copy.execute("SELECT path, reason FROM holds").fetchall() == [("**/[12]", "masters")]
    copy.close()
    result = manager.run_cleanup()
    assert (result["files_removed"], result["kept"]) == (4, {"held": 2})
    assert manager.release("**/[12]", glob=True)[1] == []
    assert planned(manager) == {"temp/a/1", "temp/a/2"}


@pytest.mark.parametrize("glob", ["!temp/**", "temp/[", ""])
def test_a_glob_that_cannot_be_is_an_error(manager: StorageManager, glob: str) -> None:
    """Nobody shall believe that it holds."""
    with pytest.raises(UsageError):
        manager.hold(glob, glob=True)
    assert len(planned(manager)) == 6


def test_a_glob_waits_for_removals_that_match(manager: StorageManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a path does: afterwards each file is gone or safe."""
    monkeypatch.setattr(holding, "PATIENCE", 0.1)
    with Ledger.open(manager.store.ledger_path) as ledger:
        run = ledger.begin_run("cleanup", "command", user="me", mode="enforce", policy="p", now=time.time())
        figures = (0, 0, 1, 0, 0, 0, 0, 0, 0, None, None, None, "t")
        ledger.intents(run, [Intent(1, "temp/a/1", None, "", "temp", "trash", "expired", *figures)])
    manager.hold("temp/b/*", glob=True)
    with pytest.raises(BusyError):
        manager.hold("temp/?/1", glob=True)


@pytest.fixture
def honoured(manager: StorageManager) -> StorageManager:
    """The store, with `[holds] xattr` on, where the filesystem has attributes."""
    try:
        os.setxattr(manager.store.root / "temp/5", "user.probe", b"")
    except OSError:
        pytest.skip("user attributes on the temporary filesystem")
    (manager.store.root / "indexer.toml").write_text(POLICY + "[holds]\nxattr = true\n")
    return StorageManager(manager.store.root)


def test_the_attribute_is_ignored_unless_the_configuration_honours_it(manager: StorageManager) -> None:
    """Else any user could keep his files for ever."""
    try:
        os.setxattr(manager.store.root / "temp/5", "user.indexer.hold", b"")
    except OSError:
        pytest.skip("user attributes on the temporary filesystem")
    assert manager.run_cleanup()["files_removed"] == 6


def test_a_file_or_directory_with_the_attribute_stays(honoured: StorageManager) -> None:
    """A directory covers all below; `until=` ends it; explain says so."""
    root = honoured.store.root
    os.setxattr(root / "temp/a", "user.indexer.hold", b"thesis")
    os.setxattr(root / "temp/5", "user.indexer.hold", b"until=2999-01-01 for the review")
    os.setxattr(root / "temp/6", "user.indexer.hold", b"until=2001-01-01")
    os.setxattr(root / "temp/b/3", "user.indexer.hold", b"until=+3d")
    assert planned(honoured) == {"temp/b/4", "temp/6"}
    assert honoured.explain("temp/a/1")["blockers"] == ["held"]
    result = honoured.run_cleanup()
    assert (result["files_removed"], result["kept"]) == (2, {"held": 4})
    assert left(honoured) == {"temp/a/1", "temp/a/2", "temp/5", "temp/b/3"}


@pytest.mark.parametrize("where", ["temp/5", "temp/a", "temp"])
def test_the_attribute_is_asked_for_again_at_the_removal(
    honoured: StorageManager, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Set after the plan was made, on the file, its directory, or above: the object itself is asked."""

    def set_it(window: str, _name: bytes = b"") -> None:
        if window == "ledger.after":
            os.setxattr(honoured.store.root / where, "user.indexer.hold", b"")

    monkeypatch.setattr(hooks, "at", set_it)
    result = honoured.run_cleanup()
    kept = {"temp/5": 1, "temp/a": 2, "temp": 6}[where]
    assert (result["files_removed"], result["kept"]) == (6 - kept, {"held": kept})


def test_holds_are_absolute_under_pressure_and_against_yes(honoured: StorageManager, program: Program) -> None:
    """A watermark that can never be satisfied, a quota of nothing, --yes: held, leased and marked files stay."""
    root = honoured.store.root
    quota = POLICY.replace('min_age = "1s"', 'min_age = "1s"\nquota = { high = "1KiB", order = "size" }')
    mark = '[watermark]\nmin_free = { at = "1PiB", until = "2PiB" }\norder = ["temp"]\n'
    (root / "indexer.toml").write_text(quota + mark + "[holds]\nxattr = true\n")
    manager = StorageManager(root)
    os.setxattr(root / "temp/b", "user.indexer.hold", b"")
    manager.hold("temp/5")
    manager.hold("temp/[6]", glob=True)
    with manager.lease("temp/a", ttl="1h"):
        done = program.json("cleanup", "--yes", root)
        assert done["watermarks"][0]["stopped"] == "exhausted"
        assert (done["files_removed"], len(left(manager))) == (0, 6)


def test_what_a_hold_does_not_do_is_said(honoured: StorageManager, program: Program) -> None:
    """A name that is not there (a slip, or a file to come), and a link, which is held and not what it leads to."""
    root = honoured.store.root
    (root / "temp/link").symlink_to("5")
    said = [program.run("hold", root / "temp" / name).stderr for name in ("5", "nothing", "link")]
    assert said[0] == ""
    assert "temp/nothing is not there now" in said[1]
    assert "temp/link is a symbolic link" in said[2]
