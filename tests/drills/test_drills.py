"""Every way in which a watcher can lose something, staged on every backend: told within ten seconds, and mended.

docs/explanation/loss-drills.md is the table of these.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from indexer.service import clocks, daemon
from indexer.service.supervise import RootWatch
from indexer.syscalls import fanotify as fan
from indexer.syscalls import inotify as kernel
from tests.capabilities import needs
from tests.drills.stage import Stage
from tests.mounts import unmount
from tests.trees import Node, make

FANOTIFY = pytest.param("fanotify", marks=needs("CAP_SYS_ADMIN"))
LISTENING = [FANOTIFY, "inotify", "native"]
ALL = [*LISTENING, "poll"]
TREE: dict[str, Node] = {"jobs": {"one": {f"{number}": b"x" * number for number in range(5)}}, "top": b"1"}
FILES = 6
FLUSH = 0x80
"""FAN_MARK_FLUSH of fanotify_mark(2): the program itself has no use for it."""


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again soon: back-off is not what is tested here."""
    monkeypatch.setattr(daemon, "FIRST_DELAY", 0.05)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a tree that is to be a store."""
    make(tmp_path / "store", TREE)
    return tmp_path / "store"


def unseen(root: Path) -> None:
    """Change what no event will tell: a new name, a vanished one, and a file in place."""
    (root / "unseen").write_bytes(b"new")
    (root / "jobs" / "one" / "4").unlink()
    with open(root / "jobs" / "one" / "3", "r+b") as stream:
        stream.write(b"in place, longer")


@pytest.mark.parametrize("backend", LISTENING)
def test_the_reading_thread_dies(root: Path, backend: str) -> None:
    """A handler that raises ends its thread: told, replaced, and what happened meanwhile is found."""
    with Stage(root, backend) as stage:
        stage.settle()

        def broken(*_: Any) -> Any:
            raise RuntimeError("staged")

        watcher = stage.watcher
        watcher._seen = watcher._coalesce = broken
        if backend == "native":
            for handler in [one for group in watcher._observer._handlers.values() for one in group]:
                handler._seen = broken
        with quiet_threads():
            (root / "killer").write_bytes(b"1")
            stage.health_says("emitter_dead", "canary_failed")
        unseen(root)
        stage.well()
        assert len(stage.sessions) == 2


class quiet_threads:  # noqa: N801 - reads as a statement
    """Threads die on purpose inside: their traces are not a test's warnings."""

    def __enter__(self) -> None:
        self._hook = threading.excepthook
        threading.excepthook = lambda _: None

    def __exit__(self, *_: object) -> None:
        threading.excepthook = self._hook


@pytest.mark.parametrize("backend", LISTENING)
def test_the_kernel_reports_nothing_any_more(root: Path, backend: str) -> None:
    """Every thread lives, and no event comes: only the end-to-end canary can tell."""
    with Stage(root, backend) as stage:
        stage.settle()
        deafen(stage)
        unseen(root)
        stage.health_says("canary_failed", "emitter_dead")
        stage.well()


def deafen(stage: Stage) -> None:
    """Take away what the kernel was told to report."""
    watcher = stage.watcher
    if stage.backend == "fanotify":
        fan.fanotify_mark(watcher._queue, FLUSH | fan.FAN_MARK_FILESYSTEM, 0, watcher._mounts[0])
    elif stage.backend == "inotify":
        watcher._is_not_a_hint = lambda *_: True  # what the kernel says of the end of a watch is lost too
        for watch in list(watcher._ids):
            kernel.inotify_rm_watch(watcher._queue, watch)
        watcher._is_not_a_hint = type(watcher)._is_not_a_hint.__get__(watcher)
    else:
        for handlers in watcher._observer._handlers.values():
            handlers.clear()


@pytest.mark.parametrize("backend", ALL)
def test_the_root_is_renamed_and_comes_back(root: Path, backend: str) -> None:
    """Away: no row goes. Back: what happened in it meanwhile is found."""
    with Stage(root, backend) as stage:
        stage.settle()
        away = root.rename(root.with_name("away"))
        stage.health_says("root_missing")
        unseen(away)
        away.rename(root)
        stage.well()


@pytest.mark.parametrize("backend", ALL)
def test_the_root_is_swapped_for_another(root: Path, backend: str) -> None:
    """Another directory at its path, empty or full, makes no row go."""
    with Stage(root, backend) as stage:
        stage.settle()
        away = root.rename(root.with_name("away"))
        make(root, {"stranger": b"1"})
        stage.health_says("root_changed", "root_missing")
        shutil.rmtree(root)
        root.mkdir()
        (root / "file").write_bytes(b"")
        (root / "file").unlink()
        unseen(away)
        root.rmdir()
        away.rename(root)
        stage.well()


@pytest.mark.parametrize("backend", ALL)
def test_the_root_is_removed_and_made_again(tmp_path: Path, root: Path, backend: str) -> None:
    """Removed with all that was in it, then made again, empty: that is another tree, and empties no index."""
    (tmp_path / "state").mkdir(mode=0o700)
    with Stage(root, backend, f'[store]\nstate = "{tmp_path / "state"}"\n') as stage:
        stage.settle()
        assert stage.files() == FILES
        # The index is asked while the root goes: what goes before it does is really gone.
        os.rename(root, tmp_path / "going")
        shutil.rmtree(tmp_path / "going")
        stage.health_says("root_missing")
        root.mkdir()
        stage.seen.clear()
        stage.health_says("root_changed", "root_missing")
        assert stage.files() == FILES


@needs("CAP_SYS_ADMIN")
@pytest.mark.parametrize("backend", ALL)
def test_the_root_is_unmounted_and_mounted_again(tmp_path: Path, mount: Callable[..., Path], backend: str) -> None:
    """The bare mount point is no empty tree; the same filesystem mounted again is the store, verified."""
    place = mount("ext4", size=64)
    image = place.with_name(f"{place.name}.img")
    make(place, TREE)
    shutil.rmtree(place / "lost+found")
    with Stage(place, backend) as stage:
        stage.settle()
        subprocess.run(["umount", "--lazy", place], check=True)
        stage.health_says("root_missing", "root_changed")
        assert not list(place.iterdir())
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        mount_until_free(image, elsewhere)
        unseen(elsewhere)
        unmount(elsewhere)
        mount_until_free(image, place)
        stage.well()


def mount_until_free(image: Path, place: Path) -> None:
    """Mount an image; a lazily unmounted one is free once its last descriptor is closed."""
    subprocess.run(["mount", "-o", "loop", image, place], check=True)


@needs("CAP_SYS_ADMIN")
@pytest.mark.parametrize("backend", ALL)
def test_the_filesystem_becomes_read_only(
    mount: Callable[..., Path], backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the kernel does after an error: told while it lasts, and over when it takes writes again."""
    place = mount("tmpfs")
    make(place, TREE)
    with Stage(place, backend) as stage:
        stage.settle()
        # A database that is open for writing keeps the filesystem from it; the kernel's own way asks nobody.
        with monkeypatch.context() as staged:
            staged.setattr(RootWatch, "read_only", True)
            stage.health_says("read_only")
        stage.well()


@pytest.mark.parametrize("backend", ALL)
def test_the_stores_marker_is_gone(root: Path, backend: str) -> None:
    """Without store.json nothing says that this is the tree: nothing is concluded; put back, all is well."""
    with Stage(root, backend) as stage:
        stage.settle()
        marker = root / ".indexer" / "store.json"
        content = marker.read_bytes()
        marker.unlink()
        stage.health_says("root_changed", "root_missing")
        assert stage.files() == FILES
        unseen(root)
        marker.write_bytes(content)
        marker.chmod(0o600)
        stage.well()


@needs("CAP_SYS_ADMIN")
@pytest.mark.parametrize("backend", ALL)
def test_the_disk_under_the_index_is_full(root: Path, mount: Callable[..., Path], backend: str) -> None:
    """What cannot be written waits and is tried again; once there is room, all of it is in the index."""
    state = mount("tmpfs", size=4) / "state"
    with Stage(root, backend, f'[store]\nstate = "{state}"\n') as stage:
        stage.settle()
        filler = state.parent / "filler"
        room = os.statvfs(state)
        filler.write_bytes(bytes(room.f_bavail * room.f_frsize))
        (root / "burst").mkdir()
        for number in range(3_000):
            (root / "burst" / f"{'n' * 60}{number}").write_bytes(b"1")
        if backend == "poll":  # looks only when it is asked, or after half a minute
            assert not stage.service.settle(0.5)
        stage.health_says("disk_full")
        filler.unlink()
        stage.well()


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("step", [-7_200.0, 86_400.0])
def test_the_wall_clock_is_set(root: Path, backend: str, step: float) -> None:
    """Back or forward: told, everything verified, and no row is wrong."""
    with Stage(root, backend) as stage:
        stage.settle()
        stage.clock.offset = step
        stage.health_says("clock_stepped")
        unseen(root)
        stage.well()


@pytest.mark.parametrize("backend", ALL)
def test_the_machine_sleeps(root: Path, backend: str) -> None:
    """Nobody knows what was done to its disks meanwhile: told, and everything verified."""
    with Stage(root, backend) as stage:
        stage.settle()
        awake = clocks.boot_clock
        stage.service._clocks._boot = lambda: awake() + 3_600
        stage.clock.offset = 3_600  # the wall clock went on
        stage.health_says("suspended")
        stage.well()


@pytest.mark.parametrize("backend", ALL)
def test_the_index_cannot_be_written_for_a_while(root: Path, backend: str) -> None:
    """An I/O error below the database: kept, tried again, told."""
    with Stage(root, backend) as stage:
        stage.settle()
        apply, failing = stage.index.apply, [True]

        def refused(*arguments: Any) -> Any:
            if failing:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return apply(*arguments)

        stage.index.apply = refused
        unseen(root)
        if backend == "poll":
            assert not stage.service.settle(0.5)
        stage.health_says("index_error")
        failing.clear()
        stage.well()
