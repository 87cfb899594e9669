"""A pytest plugin for watchdog's own tests: they then test an emitter of ours.

Loaded by name into a pytest of its own, whose `tests` package is watchdog's; CONFORMANCE says `Fanotify` or `Inotify`.
"""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from watchdog.observers.api import BaseObserver, ObservedWatch
from watchdog.observers.inotify_c import InotifyFD

from indexer.syscalls import fanotify, inotify
from indexer.watch import observer
from indexer.watch.places import Places
from indexer.watch.reader import queued
from indexer.watch.watched_tree import WatchedTree

PATIENCE = 0.3
"""Seconds after which no further event is expected: watchdog's own emitter needs 2, it holds half renames back."""

DEADLINE = 10.0

NAME = os.environ["CONFORMANCE"]
QUEUE = {"Fanotify": "_group", "Inotify": "_instance"}[NAME]
LATE = importlib.import_module("deviations").LATE[NAME]  # beside this file: here the package `tests` is watchdog's
PLACE = tempfile.TemporaryDirectory()
EMITTER: Any = getattr(observer, f"{NAME}Emitter")


class Anywhere(EMITTER):  # type: ignore[misc]
    """An emitter for tests of the observer that name a path which does not exist: a directory stands in for it."""

    def on_thread_start(self) -> None:
        """Watch something."""
        if os.path.isdir(self.watch.path):
            super().on_thread_start()
            return
        named = self.watch.path
        self.watch.path = PLACE.name
        try:
            super().on_thread_start()
        finally:
            self.watch.path = named


class Reader:
    """Stands in for watchdog's shared reader in tests that look at it, or make the watch of one directory fail."""

    latest: Reader

    def __init__(self, of: BaseObserver) -> None:
        """Read for this observer."""
        self._observer = of
        Reader.latest = self

    def is_alive(self) -> bool:
        """Whether anybody reads: with ours, its emitters."""
        return any(emitter.is_alive() for emitter in self._observer.emitters)

    def add_callback(self, path: bytes) -> None:
        """A directory is about to be watched; a test may put something that fails in this place."""


class Observing(getattr(observer, f"{NAME}Observer")):  # type: ignore[misc]
    """Our observer with the reader that those tests look for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._inotify_fd = Reader(self)

    def schedule(self, *arguments: Any, **options: Any) -> ObservedWatch:
        """Show the reader in the emitters too."""
        watch: ObservedWatch = super().schedule(*arguments, **options)
        for emitter in self.emitters:
            emitter._inotify_fd = self._inotify_fd
        return watch


class InotifyWatchGroup:
    """Names the moment at which tests put something into a directory that was just made and is watched by now."""

    def _add_all_callbacks(self, path: bytes) -> None:
        """A test puts its own function in this place, which calls this one."""


def stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have our emitters pass the places at which watchdog's tests make something happen."""
    add_watch, add, created = inotify.inotify_add_watch, WatchedTree.add, Places.created

    def failing(instance: int, path: bytes, mask: int) -> int:
        Reader.latest.add_callback(path)
        return add_watch(instance, path, mask)

    def added(tree: WatchedTree, parent: Any, name: bytes) -> Iterator[Any]:
        found = list(add(tree, parent, name))
        InotifyWatchGroup()._add_all_callbacks(os.path.join(parent.path, name))
        return iter(found)

    def known(places: Places, key: bytes, place: tuple[bytes, bytes]) -> None:
        created(places, key, place)
        InotifyWatchGroup()._add_all_callbacks(os.path.join(places.path(place[0]) or b"", place[1]))

    monkeypatch.setattr(inotify, "inotify_add_watch", failing)
    monkeypatch.setattr(WatchedTree, "add", added)
    monkeypatch.setattr(Places, "created", known)


def high(init: Callable[..., int]) -> Callable[..., int]:
    """Return the same with a descriptor that is as high as that of the test which makes watchdog's so."""

    def create(*flags: int) -> int:
        fd = init(*flags)
        if not hasattr(InotifyFD._create_inotify_fd, "assert_called_once"):
            return fd
        try:
            return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 1024)
        finally:
            os.close(fd)

    return create


def in_time(step: Callable[..., None], test: Any) -> Callable[..., None]:
    """Return the same step of a test, but wait after it until the emitter has read what it caused."""

    def take(*arguments: Any, **options: Any) -> None:
        step(*arguments, **options)
        read_by(test.funcargs["start_watching"].__self__)

    return take


def read_by(helper: Any) -> None:
    """Wait until the emitters of a test have read, and told, all that the kernel holds."""
    deadline = time.monotonic() + DEADLINE
    for emitter in helper.emitters:
        while emitter.is_alive() and (emitter._events or holds(getattr(emitter, QUEUE))):
            assert time.monotonic() < deadline, "the emitter does not read"
            time.sleep(0.001)


def holds(queue: int) -> bool:
    """Say whether the kernel holds something for an emitter; not when it has ended with its root."""
    try:
        return bool(queued(queue))
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
        return False


def patient(utils: Any) -> None:
    """Have the checker of events wait for the emitters first, however loaded the machine is, and then not for long."""
    checker = utils._EventsChecker
    begin, check = checker.__init__, checker.check_events

    def remember(self: Any, helper: Any, **options: Any) -> None:
        self.helper = helper
        begin(self, helper, **options)

    def check_events(self: Any, timeout: float = PATIENCE) -> None:
        read_by(self.helper)
        check(self, timeout)

    checker.__init__, checker.check_events = remember, check_events


@pytest.fixture(autouse=True)
def _seams(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Where watchdog's tests replace its private parts, replace ours likewise."""
    monkeypatch.setattr(inotify, "inotify_init", high(inotify.inotify_init))
    monkeypatch.setattr(fanotify, "fanotify_init", high(fanotify.fanotify_init))
    if request.module.__name__ == "tests.test_inotify_emitter":
        stage(monkeypatch)
    if f"{request.module.__name__.removeprefix('tests.')}.py::{request.node.name}" in LATE:
        for name in ("mkdir", "mkfile", "mv", "rm", "touch"):
            monkeypatch.setattr(request.module, name, in_time(getattr(request.module, name), request.node))


def pytest_collection_modifyitems() -> None:
    """Put ours in place of watchdog's."""
    ours = {
        "tests.utils": {"Emitter": EMITTER, "InotifyFullEmitter": getattr(observer, f"{NAME}FullEmitter")},
        "tests.test_observer": {"EventEmitter": Anywhere},
        "tests.test_observers_api": {"EventEmitter": Anywhere},
        "tests.test_inotify_emitter": {"InotifyObserver": Observing, "InotifyWatchGroup": InotifyWatchGroup},
    }
    for module, names in ours.items():
        for name, value in names.items():
            setattr(importlib.import_module(module), name, value)
    patient(sys.modules["tests.utils"])


@pytest.fixture(scope="session", autouse=True)
def _inotify_instance() -> None:
    """Watchdog's shared reader is not needed."""
