"""watchdog's own observer, supervised: macOS, Windows, BSD, and Linux where nothing better is to be had.

What watchdog cannot tell (a watch that could not be set, an overflow on some platforms) nobody can know here, so
every directory and file is looked at again periodically, and `reason` says so. A barrier is a cookie file in the
control directory: once its event has come through, everything before it has.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import threading
import time
import warnings
from typing import TYPE_CHECKING

from watchdog import events
from watchdog.observers import Observer

from indexer.events import CHANGED, ROOT_ID, Barrier, Batch, DirectoryKey, Rescan
from indexer.watch.source import WatchCounters

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from watchdog.observers.api import BaseObserver

PERIOD = 900.0
"""Seconds between two looks at everything."""
PATIENCE = 4.0
"""Seconds without any event after which a cookie counts as lost: watchdog holds a lone "moved from" back for 0.5."""
PENDING_LIMIT = 400_000
"""Names that may wait before they are folded into their directories."""

REASON = (
    "watchdog's own observer; it cannot tell when it has missed something, so everything is looked at again every "
    f"{PERIOD / 60:.0f} minutes, and reads are noticed only then"
)
_NO_COOKIES = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOSPC, errno.EDQUOT}
"""Where no cookie can be made, a barrier rides behind a look at everything."""
_LOGGER = "watchdog.observers.inotify_c"


class NativeWatcher:
    """The platform's watchdog observer over one tree, its events coalesced into hints keyed by path."""

    name = "native"
    wants_descriptor = False

    def __init__(
        self,
        root: Path,
        control: Path,
        *,
        clock: Callable[[], float],
        reason: str = "",
        period: float = PERIOD,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Watch below `root`; cookies go to `control`/cookies; `clock` gives Unix seconds, `period` is in seconds."""
        self.reason = f"{reason}; {REASON}" if reason else REASON
        self.counters = WatchCounters()
        self._root = os.fspath(root)
        self._prefix = self._root.rstrip(os.sep) + os.sep
        self._control = os.path.relpath(control, root)
        self._cookies = os.path.join(os.fspath(control), "cookies")
        self._clock = clock
        self._monotonic = monotonic
        self._period = period
        self._looked = monotonic()
        self._moved = monotonic()
        self._observer: BaseObserver | None = None
        self._overflow = _OverflowNotice(self._overflowed)
        self._lost = False
        self._ready = threading.Condition()
        self._hints: dict[DirectoryKey, dict[bytes, int]] = {}
        self._names = 0
        self._events = 0
        self._rescans: list[Rescan] = []
        self._barriers: list[Barrier] = []
        self._waiting: dict[str, tuple[Barrier | None, float]] = {}
        self._canaries: set[Barrier] = set()
        self._woken = False

    def start(self) -> None:
        """Watch every directory. Raises OSError: ENOSPC (watch limit) or EMFILE (instance limit) at the root."""
        if not self._control.startswith(os.pardir):
            try:
                os.mkdir(self._cookies, 0o700)
            except FileExistsError:
                pass
            except OSError as error:
                if error.errno not in _NO_COOKIES:
                    raise
        observer = Observer()
        observer.schedule(_Handler(self._seen), self._root, recursive=True, event_filter=_wanted())
        logging.getLogger(_LOGGER).addHandler(self._overflow)
        # watchdog's own bookkeeping of moved directories, a page for each: the hints are right all the same
        warnings.filterwarnings("ignore", "Callback with id", RuntimeWarning, "watchdog")
        self._lost = False
        observer.start()
        self._observer = observer
        self._looked = self._moved = self._monotonic()

    def stop(self) -> None:
        """Stop the observer; cookies that nobody waits for any more are removed."""
        logging.getLogger(_LOGGER).removeHandler(self._overflow)
        if self._observer is not None:
            _end(self._observer)
            self._observer = None
        with self._ready:
            waiting, self._waiting = self._waiting, {}
        for name in waiting:
            self._eat(name)

    def alive(self) -> bool:
        """False once a thread of the observer has died or a cookie has not come through."""
        observer = self._observer
        if observer is None or self._lost or not observer.is_alive():
            return False
        reader = getattr(observer, "_inotify_fd", None)  # watchdog's own thread on Linux; no public name
        return all(emitter.is_alive() for emitter in observer.emitters) and (reader is None or reader.is_alive())

    def register(self, directory_id: int, directory_fd: int, key: bytes) -> None:
        """The observer watches the tree by path; there is nothing to note."""

    def forget(self, directory_id: int) -> None:
        """The same."""

    def foreign(self, key: bytes) -> None:
        """The same."""

    def take(self, timeout: float | None) -> Batch:
        """Return what has come in, waiting up to `timeout` seconds; see `source.Watcher`."""
        with self._ready:
            if not (self._hints or self._rescans or self._barriers or self._woken):
                self._ready.wait(timeout)
            self._woken = False
            self._look_again()
            hints, self._hints, self._names = self._hints, {}, 0
            rescans, self._rescans = self._rescans, []
            barriers, self._barriers = self._barriers, []
            count, self._events = self._events, 0
        return Batch(
            self._clock(),
            hints=hints,
            rescans=rescans,
            barriers=barriers,
            events=count,
            drained=count == 0 and not self._waiting,
        )

    def barrier(self) -> Barrier:
        """Return a barrier that rides behind a look at everything, once its cookie has been seen where one can be made.

        watchdog's own idea of where a directory is goes wrong in silence when directories are exchanged, or moved into
        each other in quick succession (7.1, inotify); whoever asks for the truth gets it from the tree.
        """
        barrier = Barrier()
        if not self._bake(barrier):
            with self._ready:
                self._rescans.append(Rescan(ROOT_ID, tree=True, reason="no_cookie"))
                self._barriers.append(barrier)
                self._ready.notify_all()
        return barrier

    def wake(self) -> None:
        """Let `take` return."""
        with self._ready:
            self._woken = True
            self._ready.notify_all()

    def cookie(self) -> Barrier | None:
        """Return a barrier that rides once its cookie has been seen; None where no cookie can be made."""
        barrier = Barrier()
        with self._ready:
            self._canaries.add(barrier)
        if self._bake(barrier):
            return barrier
        with self._ready:
            self._canaries.discard(barrier)
        return None

    def _bake(self, barrier: Barrier | None) -> bool:
        """Write a cookie for `barrier` (None: for an overflow); False where none can be written or would be seen."""
        if self._observer is None or self._control.startswith(os.pardir):
            return False
        name = secrets.token_hex(8)
        with self._ready:
            self._waiting[name] = (barrier, self._monotonic())
        try:
            os.close(os.open(os.path.join(self._cookies, name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError as error:
            with self._ready:
                self._waiting.pop(name, None)
            if error.errno in _NO_COOKIES:
                return False
            raise
        return True

    def _eat(self, name: str) -> None:
        try:
            os.unlink(os.path.join(self._cookies, name))  # by path: below the control directory, 0700
        except FileNotFoundError:
            return  # its own removal raised the event that was seen

    def _look_again(self) -> None:
        """Ask for the periodic look at everything, and notice a cookie that does not come (lock held)."""
        now = self._monotonic()
        if now - self._looked >= self._period:
            self._looked = now
            self._rescans.append(Rescan(ROOT_ID, tree=True, reason="periodic"))
        if any(now - max(baked, self._moved) > PATIENCE for _, baked in self._waiting.values()):
            self._lost = True

    def _overflowed(self) -> None:
        """Watchdog said that it lost events: doubt everything now, and again once its watches are rebuilt."""
        with self._ready:
            self.counters.overflows += 1
            self._rescans.append(Rescan(ROOT_ID, tree=True, reason="overflow"))
            self._ready.notify_all()
        if not self._bake(None):
            self._lost = True

    def _seen(self, paths: tuple[str, ...]) -> None:
        """Take one event's paths as hints (observer's thread)."""
        eaten = []
        with self._ready:
            self._events += 1
            self._moved = self._monotonic()
            self.counters.events += 1
            for path in paths:
                if not path.startswith(self._prefix):
                    continue  # the root itself, or the other end of a move across its border
                relative = path[len(self._prefix) :]
                if relative == self._control or relative.startswith(self._control + os.sep):
                    self.counters.foreign += 1
                    if self._came_through(os.path.basename(relative)):
                        eaten.append(os.path.basename(relative))
                    continue
                directory, name = os.path.split(relative)
                names = self._hints.setdefault(directory, {})
                self._names += os.fsencode(name) not in names
                names[os.fsencode(name)] = CHANGED
            if self._names > PENDING_LIMIT:
                self._fold()
            for name in eaten:  # before whoever waits for them goes on
                self._eat(name)
            self._ready.notify_all()

    def _came_through(self, name: str) -> bool:
        """Let whatever waits for this cookie ride in the next batch (lock held); False when it is none."""
        if name not in self._waiting:
            return False
        barrier, _ = self._waiting.pop(name)
        if barrier is None:
            self._rescans.append(Rescan(ROOT_ID, tree=True, reason="overflow"))
        else:
            if barrier in self._canaries:
                self._canaries.discard(barrier)
            else:
                self._rescans.append(Rescan(ROOT_ID, tree=True, reason="requested"))
            self._barriers.append(barrier)
        return True

    def _fold(self) -> None:
        """Bound the memory of a writer that stands still: names become a listing of their directory."""
        self.counters.folded += 1
        self._rescans.extend(Rescan(directory, tree=False, reason="folded") for directory in self._hints)
        self._hints, self._names = {}, 0


class _Handler(events.FileSystemEventHandler):
    """What watchdog dispatches to: an event is only its paths."""

    def __init__(self, seen: Callable[[tuple[str, ...]], None]) -> None:
        self._seen = seen

    def dispatch(self, event: events.FileSystemEvent) -> None:
        """Hand over where it came from and where it went."""
        self._seen(tuple(os.fsdecode(path) for path in (event.src_path, event.dest_path) if path))


class _OverflowNotice(logging.Handler):
    """Watchdog tells its handlers nothing of an overflow, but it logs one (7.1, `inotify_c`)."""

    def __init__(self, notice: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._notice = notice

    def emit(self, record: logging.LogRecord) -> None:
        """Pass an overflow on."""
        if "overflow" in record.getMessage():
            self._notice()


def _end(observer: BaseObserver) -> None:
    """Stop an observer whose bookkeeping of moved directories may contradict itself.

    Then watchdog (7.1, inotify) raises KeyError half way through, and would leave its emitter waiting for ever.
    """
    groups = [getattr(emitter, "_inotify", None) for emitter in observer.emitters]
    try:
        observer.stop()
    except KeyError:
        for group in groups:
            if (grouper := getattr(group, "_move_event_grouper", None)) is not None:
                grouper.close()
        observer.stop()
    observer.join()


def _wanted() -> list[type[events.FileSystemEvent]]:
    """Return the events that change a row.

    Opens and reads are left out: with them, watchdog's own walk of 10,000 directories raises the events that
    overflow it (measured, 7.1.0). So are modified directories: their names come as events of their own.
    """
    return [
        events.FileCreatedEvent,
        events.FileModifiedEvent,
        events.FileAttribEvent,
        events.FileMovedEvent,
        events.FileDeletedEvent,
        events.FileClosedEvent,
        events.DirCreatedEvent,
        events.DirAttribEvent,
        events.DirMovedEvent,
        events.DirDeletedEvent,
    ]
