"""The second process that lists ahead: the same results as without it, and nothing lost when it dies."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer.events import Batch
from indexer.index import ahead
from indexer.index.backlog import Listing
from indexer.index.turn import Turn
from indexer.index.walker import Walker
from indexer.syscalls.handles import handle_of
from tests.index.rig import Rig
from tests.index.test_failure import FAILURES, refusing_commits
from tests.trees import Fifo, HardLink, Node, Symlink, hostile_names, make

TREE: dict[str, Node] = {
    **{f"d{number}": {f"f{each}": b"x" * each for each in range(20)} for number in range(30)},
    "deep": {"er": {"still": {"f": b"1", "link": Symlink("f"), "hard": HardLink("d0/f1"), "pipe": Fifo()}}},
    "empty": {},
}


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start it for the smallest pass; at the end, no child may be left."""
    monkeypatch.setattr(ahead, "WORTH_A_WALKER", -1)
    yield
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def walker_of(rig: Rig) -> Walker:
    """Return the walker that is at work."""
    walker = rig.index._ahead._walker
    assert walker is not None
    return walker


def started(rig: Rig, tree: Any = TREE) -> None:
    """Begin a first scan of a tree, so far that requests are under way and the oldest has been answered."""
    make(rig.root, tree)
    rig.index.parallel = True
    rig.first(budget=1)
    rig.turn(budget=1)
    answered(rig)


def answered(rig: Rig) -> None:
    """Wait until the walker has stat'ed what it was asked for first."""
    poller = select.poll()
    poller.register(walker_of(rig)._answers, select.POLLIN)
    assert poller.poll(20_000)


def test_it_finds_the_same(tmp_path: Path) -> None:
    """First scan, verification of changes and any name."""
    names = hostile_names(3, 100)
    with Rig(tmp_path, None) as rig:
        started(rig, {**TREE, "hostile": {name: {name: b"1"} for name in names}})
        rig.settle()
        assert rig.wrong() == {}
        for number in range(0, 30, 3):
            (rig.root / f"d{number}" / "f3").write_bytes(b"changed")
            (rig.root / f"d{number}" / "f4").unlink()
            (rig.root / f"d{number}").rename(rig.root / f"d{number + 1}" / "moved")
        rig.verify()
        assert rig.wrong() == {}


def test_a_directory_with_too_many_names_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hands a huge directory back, and the writer lists it."""
    monkeypatch.setattr("indexer.index.walker.PROGRAM", "w.MOST = 5; ")
    with Rig(tmp_path, None) as rig:
        started(rig)
        rig.settle()
        assert rig.wrong() == {}


@pytest.mark.parametrize("moment", ["asked", "answered"])
def test_it_may_be_killed(tmp_path: Path, moment: str) -> None:
    """Kill -9 with requests under way: the writer goes on alone."""
    with Rig(tmp_path, None) as rig:
        started(rig)
        process = walker_of(rig)._process
        if moment == "asked":
            process.send_signal(signal.SIGSTOP)
            rig.turn(budget=1)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        rig.settle()
        assert not rig.index.parallel
        assert rig.wrong() == {}


def test_a_request_that_it_did_not_live_to_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory goes back into the backlog like those before it."""
    with Rig(tmp_path, None) as rig:
        make(rig.root, TREE)
        request = Walker.request

        def kill_first(self: Walker, *args: Any, **wishes: Any) -> None:
            self._process.kill()
            self._process.wait()
            request(self, *args, **wishes)

        monkeypatch.setattr(Walker, "request", kill_first)
        rig.index.parallel = True
        rig.first()
        rig.settle()
        assert rig.wrong() == {}


@pytest.mark.parametrize("error", [BlockingIOError(11, "fork"), OSError(24, "EMFILE"), OSError(12, "ENOMEM")])
def test_where_it_cannot_be_started_the_writer_is_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """No memory, no processes, no descriptors: slower, not wrong."""

    def refuse(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(subprocess, "Popen", refuse)
    with Rig(tmp_path, None) as rig:
        make(rig.root, TREE)
        rig.index.parallel = True
        rig.first()
        rig.settle()
        assert rig.wrong() == {}


def test_a_hint_about_a_directory_under_way_wins(tmp_path: Path) -> None:
    """What it found is older than what the hint found: the older never overwrites the newer, not for a moment."""
    with Rig(tmp_path, None) as rig:
        started(rig, {name: node for name, node in TREE.items() if name not in {"deep", "empty"}})
        rig.settle()
        rig.begin_verify()
        rig.turn(budget=1)
        answered(rig)
        oldest = walker_of(rig)._under_way[0].listing.directory_id
        place = rig.place(oldest)
        (rig.root / place / "f3").write_bytes(b"newer")
        (rig.root / place / "f4").rename(rig.root / "f4")
        (rig.root / place / "new").write_bytes(b"new")
        rig.index.apply(rig.batch(*(f"{place}/{name}" for name in ("f3", "f4", "new")), "f4"), budget=1)
        assert rig.wrong() == {}
        rig.settle()
        assert rig.wrong() == {}


def test_a_failed_transaction_asks_again_for_what_it_was_told(tmp_path: Path) -> None:
    """An answer to an earlier transaction's question is lost with this one: the directory is listed after all."""
    with Rig(tmp_path, None) as rig:
        started(rig)
        with refusing_commits(rig.index), pytest.raises(FAILURES):
            rig.turn(budget=50)
        rig.settle()
        assert rig.wrong() == {}


def test_a_directory_that_is_asked_for_twice_is_listed(tmp_path: Path) -> None:
    """Once to verify and once because of a doubt: it counts as listed, or hints about it would be ignored for ever."""
    with Rig(tmp_path, TREE) as rig:
        rig.index.parallel = True
        for directory_id in range(1, 30):
            rig.index.backlog.push(Listing(directory_id, tree=False), verify=True)
        rig.now += 10
        rig.turn(budget=1)
        rig.now += 10
        for directory_id in range(1, 30):
            rig.index.backlog.push(Listing(directory_id, tree=False), verify=False)
        rig.settle()
        assert rig.value("SELECT count(*) FROM directory WHERE listed_ns = 0") == 0
        (rig.root / "d3" / "new").write_bytes(b"1")
        rig.changed("d3/new")
        assert rig.wrong() == {}


def test_a_directory_that_goes_while_it_is_under_way(tmp_path: Path) -> None:
    """Removed, moved, or moved out after it was stat'ed and before that is written."""
    with Rig(tmp_path, None) as rig:
        started(rig)
        rig.settle()
        rig.begin_verify()
        rig.turn(budget=1)
        answered(rig)
        under_way = [rig.place(asked.listing.directory_id) for asked in walker_of(rig)._under_way]
        first, second, third = [place for place in under_way if place.startswith("d")][:3]
        (rig.root / first).rename(rig.root / "empty" / "first")
        (rig.root / second).rename(tmp_path / "away")
        for file in (rig.root / third).iterdir():
            file.unlink()
        (rig.root / third).rmdir()
        rig.changed(first, second, third, "empty/first")
        assert rig.wrong() == {}


def test_it_does_not_outlive_its_work(tmp_path: Path) -> None:
    """After a pass, and after the few directories of a quick pass, no process stands idle."""
    with Rig(tmp_path, TREE) as rig:
        rig.index.parallel = True
        rig.verify()
        assert rig.index._ahead._walker is None
        for number in range(10):
            (rig.root / f"d{number}" / "new").write_bytes(b"1")
        rig.quick()
        assert rig.index._ahead._walker is None
        assert rig.wrong() == {}


def test_a_request_never_waits_for_one_who_waits(tmp_path: Path) -> None:
    """While answers may fill their pipe, only so much is asked that the pipe for requests takes it whole."""
    with Rig(tmp_path, TREE) as rig:
        walker = Walker(rig.filesystems)
        handle, listing, turn = handle_of(rig.fds[0]), Listing(1, tree=False), Turn(0)

        def ask(path: bytes) -> bool:
            return walker.room and walker.request(listing, turn, 1, handle, path, verify=False)

        assert ask(b"d0/" * 50_000)  # it reads, so there is no limit
        assert not ask(b"d0/" * 50_000)
        asked = 1
        while ask(b"p" * 1_000):
            asked += 1
        assert (len(walker), asked) == (1, 1)
        walker.receive()
        while ask(b"p" * 1_000):
            asked += 1
        assert 10 < asked < 30
        assert len(walker.abandon()) == asked - 1


@pytest.mark.parametrize("handles", [True, False], ids=["by handle", "by path"])
def test_paths_longer_than_a_pipe(tmp_path: Path, handles: bool) -> None:
    """By path, a request may be longer than the pipe: both sides must not wait for each other."""
    with Rig(tmp_path, None) as rig:
        rig.forbid_handles(not handles)
        wide = {f"{number:04}" * 60: b"" for number in range(1_000)}
        fd = os.open(rig.root, os.O_RDONLY)
        for level in range(400):
            name = f"{level:03}" + "n" * 240
            os.mkdir(name, dir_fd=fd)
            below = os.open(name, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
            for sibling in range(2 if level > 300 else 0):
                os.mkdir(f"sibling{sibling}", dir_fd=fd)
        os.close(fd)
        make(rig.root, {f"wide{number}": wide for number in range(3)})
        rig.index.parallel = True
        rig.index.apply(Batch(rig.now))
        rig.first()
        rig.settle()
        assert rig.wrong() == {}
