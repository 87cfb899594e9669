"""Directories for which the kernel has no watch left: named, polled, and settled all the same."""

from __future__ import annotations

import os
import time
from pathlib import Path

from indexer.events import ROOT_ID, Rescan
from indexer.service.unwatched import LIST, LOOK, SHOWN, Unwatched
from indexer.watch.inotify import InotifyWatcher
from tests.capabilities import needs
from tests.index.rig import NOW
from tests.program import Program
from tests.users import do_within
from tests.watch.live import Live


class Short(InotifyWatcher):
    """Has so many watches and no more."""

    room = 1

    def register(self, directory_id: int, directory_fd: int, key: bytes) -> None:
        """Refuse what goes beyond them, as the kernel would."""
        if directory_id in self._watches or len(self._watches) < self.room:
            super().register(directory_id, directory_fd, key)
        else:
            self._unwatched[directory_id] = None
            self.counters.unwatched = len(self._unwatched)


def short(tmp_path: Path, room: int = 1) -> Live:
    """Return an index over three directories and the root, with `room` watches."""
    watcher = Short(clock=lambda: float(NOW), nap=0.001)
    watcher.room = room
    return Live(tmp_path, {name: {"file": b"1"} for name in "abc"}, watcher=watcher)


def test_changed_names_are_found_by_the_times_of_directories(tmp_path: Path) -> None:
    """Every half minute, without listing what has not changed."""
    with short(tmp_path) as live:
        unwatched = Unwatched(live.live)
        assert len(unwatched) == 3
        unwatched.look(live.index, 1_000.0, asked=False)
        live.settled()
        before = live.index.applied.directories
        (live.root / "b" / "new").touch()
        unwatched.look(live.index, 1_000.0 + LOOK - 1, asked=False)
        live.settled()
        assert b"b/new" not in live.paths()
        unwatched.look(live.index, 1_000.0 + LOOK, asked=False)
        live.settled()
        assert live.wrong() == {}
        assert live.index.applied.directories == before + 1


def test_what_was_written_in_place_is_found_by_listing_all(tmp_path: Path) -> None:
    """Less often, and whenever somebody waits."""
    for asked, later in ((True, 1.0), (False, LIST)):
        (folder := tmp_path / str(asked)).mkdir()
        with short(folder) as live:
            unwatched = Unwatched(live.live)
            unwatched.look(live.index, 1_000.0, asked=False)
            live.settled()
            (live.root / "b" / "file").write_bytes(b"longer")
            unwatched.look(live.index, 1_000.0 + later, asked=asked)
            live.settled()
            assert live.wrong() == {}


def test_with_room_again_they_are_watched(tmp_path: Path) -> None:
    """And listed once, for what happened before."""
    with short(tmp_path) as live:
        unwatched = Unwatched(live.live)
        unwatched.look(live.index, 1_000.0, asked=False)
        live.settled()
        (live.root / "b" / "file").write_bytes(b"longer")
        assert isinstance(live.live, Short)
        live.live.room = 10
        unwatched.look(live.index, 1_000.0 + LOOK, asked=False)
        live.settled()
        assert (len(unwatched), live.watched()) == (0, live.known())
        assert live.wrong() == {}


def test_their_paths_are_told_when_their_number_changes(tmp_path: Path) -> None:
    """At most so many; the root is a dot, and then no canary is heard."""
    with short(tmp_path, room=0) as live:
        unwatched = Unwatched(live.live)
        assert unwatched.deaf
        assert unwatched.named(live.index) == (".", "a", "b", "c")
        assert unwatched.named(live.index) is None
        for number in range(SHOWN):
            (live.root / f"{number:02}").mkdir()
        live.index.request_rescan(Rescan(ROOT_ID, tree=False))
        live.settled()
        assert len(unwatched.named(live.index) or ()) == SHOWN


@needs("CAP_SYS_ADMIN")
def test_a_service_with_too_few_watches_says_so_and_settles(tmp_path: Path) -> None:
    """For real: in a user namespace of twenty watches, without fanotify."""
    store = tmp_path / "store"
    for number in range(40):
        (store / f"{number:02}").mkdir(parents=True)
        (store / f"{number:02}" / "file").write_bytes(b"1")

    def work() -> None:
        program = Program()
        with program.watch(store) as service:
            service.settle()
            status = service.status()
            assert status["backend"] == "inotify"
            assert (status["state"], status["reasons"]) == ("degraded", ["watch_limit"])
            assert status["unwatched"] == 21
            assert len(status["unwatched_paths"]) == SHOWN
            for number in range(40):
                (store / f"{number:02}" / "file").write_bytes(b"longer")
                (store / f"{number:02}" / "new").touch()
            started = time.monotonic()
            service.settle()
            assert time.monotonic() - started < LOOK
            assert program.differences(store) == {}
            checks = {check["name"]: check for check in program.json("doctor", store, exits=1)["checks"]}
            assert checks["inotify watches"]["detail"].startswith("41 directories, 20 watches")
            assert checks["inotify watches"]["remedy"].startswith("sysctl user.max_inotify_watches=128; ")

    do_within({"max_inotify_watches": 20}, work)
    assert not os.path.exists(store / ".indexer" / "control.sock")
