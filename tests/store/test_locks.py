"""One service and one run per store."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from indexer.errors import BusyError, FilesystemError
from indexer.store import Store, open_store
from indexer.store.locks import holder, locked


def test_the_second_is_told_who_the_first_is(store: Store) -> None:
    """Exit 5 with the process id; service and run are two locks."""
    other = open_store(store.root)
    with store.service_lock(), store.run_lock():
        assert other.service_pid() == os.getpid()
        for lock, name in ((other.service_lock, "service"), (other.run_lock, "run")):
            with pytest.raises(BusyError, match=f"process {os.getpid()} holds the {name} lock") as refused, lock():
                pass
            assert refused.value.exit_code == 5
    assert other.service_pid() is None
    with other.service_lock(), other.run_lock():
        pass


def test_waiting_ends_when_the_lock_is_free(store: Store) -> None:
    """`--wait` gets it as soon as the other lets go."""
    waiting = threading.Event()
    got = threading.Event()

    def wait_for_it() -> None:
        waiting.set()
        with open_store(store.root).run_lock(wait=60):
            got.set()

    with store.run_lock():
        thread = threading.Thread(target=wait_for_it)
        thread.start()
        waiting.wait(60)
        assert not got.is_set()
    thread.join(60)
    assert got.is_set()


def test_waiting_ends_when_the_time_is_over(store: Store) -> None:
    """And says how long it has waited."""
    with store.run_lock(), pytest.raises(BusyError, match=r"waited 0\.1 s"), open_store(store.root).run_lock(wait=0.1):
        pass


def test_a_crash_releases_the_lock(tmp_path: Path) -> None:
    """A killed process holds nothing, though its id still stands in the file."""
    path = tmp_path / "x.lock"
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        with locked(path, "run"):
            os.write(tell, b"x")
            signal.pause()
    os.read(ready, 1)
    assert holder(path) == child
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert holder(path) is None
    assert path.read_text() == f"{child}\n"
    with locked(path, "run"):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_child_does_not_inherit_the_lock(tmp_path: Path) -> None:
    """The descriptor is closed on exec, so a notify command cannot keep a store busy."""
    path = tmp_path / "x.lock"
    with locked(path, "run"):
        held = next(
            int(fd) for fd in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{fd}") == str(path)
        )
        assert not os.get_inheritable(held)


def test_a_lock_is_not_taken_through_a_link(tmp_path: Path) -> None:
    """It would truncate whatever the link points to."""
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "x.lock").symlink_to("precious")
    with pytest.raises(FilesystemError), locked(tmp_path / "x.lock", "run"):
        pass
    assert (tmp_path / "precious").read_text() == "precious"
