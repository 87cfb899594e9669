"""`[ledger] keep`: old runs become JSON lines, and leave the ledger only when those are safe."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from indexer.enforce import archive, hooks
from indexer.enforce.archive import DAY
from indexer.enforce.archiving import archive_runs
from indexer.enforce.ledger import Ledger
from indexer.enforce.rows import Intent, Plain, path_columns
from indexer.enforce.samples import Sample
from indexer.errors import UsageError
from indexer.manager import StorageManager
from indexer.store import Store, initialise_store, open_store

NOW = 2_000_000_000
OLD = NOW - 500 * DAY


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that keeps its runs for 400 days."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "indexer.toml").write_text('[ledger]\nkeep = "400d"\n')
    initialise_store(tmp_path / "store")
    return open_store(tmp_path / "store")


def intent(seq: int, path: bytes) -> Intent:
    """Return what announces a removal."""
    text, exact = path_columns(path)
    return Intent(seq, text, exact, "", "c", "trash", "expired", 0, 0, 1, 0, 0, 0, 0, 0, 0, None, None, None, "t")


def run(ledger: Ledger, at: int, paths: list[bytes], *, in_trash: bool = False, finished: bool = True) -> int:
    """Record a run that removed these files."""
    number = ledger.begin_run("cleanup", "command", user="me", mode="enforce", policy="p", now=at)
    ledger.intents(number, [intent(seq, path) for seq, path in enumerate(paths, 1)])
    outcome, lies = ("trashed", 1) if in_trash else ("deleted", None)
    endings = [Plain(outcome, None, at, lies, None, number, seq) for seq in range(1, len(paths) + 1)]
    ledger.advance(number, endings=endings)
    if finished:
        ledger.finish_run(number, at + 5, {"files_removed": len(paths), "kept": {"held": 2}})
    return number


def lines(store: Store) -> list[dict[str, Any]]:
    """Return everything that has been archived, by file."""
    folder = store.state / "archive"
    files = sorted(folder.iterdir()) if folder.exists() else []
    return [json.loads(line) for path in files for line in path.read_text().splitlines()]


def runs(ledger: Ledger) -> list[int]:
    """Return the runs that the ledger still has."""
    return sorted(row.id for row in ledger.runs(1000))


def test_old_runs_are_archived_with_all_they_did_and_leave(store: Store) -> None:
    """Every row comes out as it was, exact bytes of names included; files are private."""
    with Ledger.open(store.ledger_path, ballast=False) as ledger:
        first = run(ledger, OLD, [b"a", b"b\xff"])
        run(ledger, OLD + DAY, [])
        young = run(ledger, NOW - DAY, [b"c"])
        ledger.add_samples([Sample(OLD, "c", 3, 100, 4096), Sample(NOW - DAY, "c", 4, 100, 4096)])
        assert archive_runs(store, ledger, NOW) == 2
        assert runs(ledger) == [young]
        assert list(ledger.actions(first)) == []
        assert [one.at for one in ledger.first_samples(0).values()] == [NOW - DAY]
    found = lines(store)
    assert [next(iter(line)) for line in found] == ["run", "action", "action", "run", "usage"]
    assert found[0]["run"] | {"id": 0} == {
        **dict.fromkeys(("planned", "bytes_freed", "bytes_trashed", "directories_removed", "errors"), 0),
        **dict.fromkeys(("truncated", "interrupted"), 0),
        "id": 0,
        "kind": "cleanup",
        "trigger": "command",
        "user": "me",
        "mode": "enforce",
        "policy": "p",
        "started": OLD,
        "finished": OLD + 5,
        "files_removed": 2,
        "kept": {"held": 2},
        "classes": {},
    }
    assert [line["action"]["path"] for line in found[1:3]] == ["a", "b\\xff"]
    assert found[2]["action"]["path_bytes"] == b"b\xff".hex()
    assert found[4]["usage"] == {"at": OLD, "class": "c", "files": 3, "bytes": 100, "allocated": 4096}
    folder = store.state / "archive"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_what_can_be_undone_and_what_is_held_stays(store: Store) -> None:
    """Undo data, runs without an end, the last run of each kind and holds never go, however old."""
    with Ledger.open(store.ledger_path, ballast=False) as ledger:
        trashed = run(ledger, OLD, [b"a"], in_trash=True)
        cut_off = run(ledger, OLD, [b"b"], finished=False)
        run(ledger, OLD, [b"c"])
        last = run(ledger, OLD, [b"d"])
        ledger.add_hold(b"h", "tree", until=None, reason="", by="me", now=OLD)
        assert archive_runs(store, ledger, NOW) == 1
        assert runs(ledger) == [trashed, cut_off, last]
        assert [hold.path for hold in ledger.holds(NOW)] == [b"h"]


def test_the_last_two_days_stay_whatever_is_configured(store: Store) -> None:
    """The guards look back a day: a keep of an hour must not blind them."""
    (store.root / "indexer.toml").write_text('[ledger]\nkeep = "1h"\n')
    with Ledger.open(store.ledger_path, ballast=False) as ledger:
        run(ledger, NOW - 3 * DAY, [])
        recent = run(ledger, NOW - DAY, [])
        last = run(ledger, NOW - 100, [])
        assert archive_runs(open_store(store.root), ledger, NOW) == 1
        assert runs(ledger) == [recent, last]


def test_once_a_day(store: Store) -> None:
    """Looking costs a run nothing in between."""
    with Ledger.open(store.ledger_path, ballast=False) as ledger:
        run(ledger, OLD, [])
        run(ledger, NOW, [])
        assert archive_runs(store, ledger, NOW) == 1
        run(ledger, OLD, [])
        run(ledger, NOW, [])
        assert archive_runs(store, ledger, NOW + 3600) == 0
        assert archive_runs(store, ledger, NOW + DAY) == 1


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("window", ["archive.synced", "archive.written", "-"])
def test_a_crash_loses_nothing_and_archives_nothing_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch, window: str
) -> None:
    """Whatever was cut off, the next time makes the very same archive, whole."""
    monkeypatch.setattr(archive, "MOST_ROWS", 3)

    def crash(at: str, _name: bytes = b"") -> None:
        if at == window:
            raise Crash

    with Ledger.open(store.ledger_path, ballast=False) as ledger:
        for number in range(4):
            run(ledger, OLD + number, [b"%d/%d" % (number, file) for file in range(2)])
        run(ledger, NOW - 10, [])
        if window != "-":
            with monkeypatch.context() as patch:
                patch.setattr(hooks, "at", crash)
                with pytest.raises(Crash):
                    archive_runs(store, ledger, NOW)
        archive_runs(store, ledger, NOW)
        assert len(runs(ledger)) == 1
    names = [line["action"]["path"] for line in lines(store) if "action" in line]
    assert names == [f"{number}/{file}" for number in range(4) for file in range(2)]
    assert len([line for line in lines(store) if "run" in line]) == 4
    assert not [path for path in os.listdir(store.state / "archive") if path.endswith(".partial")]


def test_a_ledger_made_anew_overwrites_no_archive(store: Store) -> None:
    """It counts its runs from 1 again; what its predecessor has archived stays."""
    for at in (OLD, OLD + DAY):
        store.ledger_path.unlink(missing_ok=True)
        with Ledger.open(store.ledger_path, ballast=False) as ledger:
            run(ledger, at, [b"%d" % at])
            run(ledger, NOW, [])
            assert archive_runs(store, ledger, NOW) == 1
    assert [line["action"]["path"] for line in lines(store) if "action" in line] == [str(OLD), str(OLD + DAY)]


def test_where_the_archive_cannot_be_written_nothing_leaves(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, or a link that somebody has put there: the runs stay in the ledger."""

    def full(at: str, _name: bytes = b"") -> None:
        if at == "archive.synced":
            raise OSError(28, "No space left on device")

    with Ledger.open(store.ledger_path, ballast=False) as ledger:
        run(ledger, OLD, [b"a"])
        run(ledger, NOW, [])
        with monkeypatch.context() as patch:
            patch.setattr(hooks, "at", full)
            assert archive_runs(store, ledger, NOW) == 0
        assert len(runs(ledger)) == 2
        assert os.listdir(store.state / "archive") == []
        (store.state / "archive").rmdir()
        (store.state / "archive").symlink_to(store.root)
        assert archive_runs(store, ledger, NOW + DAY) == 0
        assert len(runs(ledger)) == 2
    assert [name for name in os.listdir(store.root) if name.startswith("runs-")] == []


def test_a_run_archives_on_its_way(store: Store) -> None:
    """A command line on a schedule is enough: no service is needed."""
    with Ledger.open(store.ledger_path) as ledger:
        run(ledger, OLD, [b"a"])
        run(ledger, OLD, [])
    manager = StorageManager.of(store, clock=lambda: NOW)
    assert manager.run_cleanup()["refused"] == "mode"
    assert [line["action"]["path"] for line in lines(store) if "action" in line] == ["a"]
    with pytest.raises(UsageError):
        manager.report("archive")
