"""What the service's loop pulls from, whichever kernel interface is behind it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from indexer.events import Barrier, Batch


@dataclass(slots=True)
class WatchCounters:
    """What a watcher has seen since it started."""

    events: int = 0
    """Kernel events read (merged by the kernel where it can)."""
    foreign: int = 0
    """Of these, from outside the store or from its control directory."""
    overflows: int = 0
    """How often the kernel said that it dropped events."""
    folded: int = 0
    """How often pending names were folded into a listing of their directory to bound memory."""
    unwatched: int = 0
    """Directories for which the kernel had no watch left; they are polled."""
    muted: int = 0
    """Directories outside of the store whose events the kernel was told to keep."""
    ignored_reads: int = 0
    """Uses that were none, by `ignore_readers`."""
    unknown_readers: int = 0
    """Uses by processes that had ended before it could be seen what they were, where `ignore_readers` is set."""
    filesystem_error: str = ""
    """What the kernel said of an error that the filesystem itself has found."""


class Watcher(Protocol):
    """One kernel interface: coalesces its events into batches, and never loses one silently."""

    name: str
    """fanotify | inotify | native | poll."""
    reason: str
    """Why this backend was chosen, for people."""
    counters: WatchCounters
    wants_descriptor: bool
    """`register` needs an open descriptor (a watch on each directory); else it is handed -1."""

    def start(self) -> None:
        """Begin to listen; everything that happens after it returns is in some batch. Raises OSError."""

    def stop(self) -> None:
        """Stop listening and give back descriptors and threads."""

    def alive(self) -> bool:
        """False once the thread that reads the kernel's events has died."""

    def register(self, directory_id: int, directory_fd: int, key: bytes) -> None:
        """Take note of a directory of the store, before it is listed. `key` is its `events.directory_key`."""

    def forget(self, directory_id: int) -> None:
        """The directory has left the store."""

    def foreign(self, key: bytes) -> None:
        """The directory under this key is not the store's: its events may be dropped until it is registered."""

    def take(self, timeout: float | None) -> Batch:
        """Return what has come in; wait up to `timeout` seconds for something, then return an empty batch."""

    def barrier(self) -> Barrier:
        """Return a barrier that rides in the batch which covers everything the kernel holds now."""

    def wake(self) -> None:
        """End a `take` that waits, or the next one: there is something else to do. Any thread, or a signal handler."""


@runtime_checkable
class DirectoryWatcher(Watcher, Protocol):
    """A watcher with a watch on each directory (`wants_descriptor`): what is not registered is not seen."""

    @property
    def unwatched(self) -> Collection[int]:
        """Ids of registered directories for which the kernel had no watch left: they have to be polled."""

    def watches(self, directory_id: int) -> bool:
        """Say whether this directory has been registered."""

    def register_below(self, directory_id: int, parent_fd: int, name: bytes) -> None:
        """Register what stands under this name of an open directory now. Raises OSError (ENOENT, ENOTDIR: nothing)."""


class NullWatcher:
    """Watches nothing: for a scan without a service."""

    name = "none"
    reason = "a scan without a service"
    wants_descriptor = False

    def __init__(self) -> None:
        self.counters = WatchCounters()

    def start(self) -> None:
        """Nothing to start."""

    def stop(self) -> None:
        """Nothing to stop."""

    def alive(self) -> bool:
        """It cannot die."""
        return True

    def register(self, directory_id: int, directory_fd: int, key: bytes) -> None:
        """Nothing to note."""

    def forget(self, directory_id: int) -> None:
        """Nothing to forget."""

    def foreign(self, key: bytes) -> None:
        """Nothing to drop."""

    def take(self, timeout: float | None) -> Batch:  # noqa: ARG002 - the protocol's signature
        """There is never anything."""
        return Batch(0)

    def barrier(self) -> Barrier:
        """Nothing is pending, so it is open at once."""
        barrier = Barrier()
        barrier.release()
        return barrier

    def wake(self) -> None:
        """Nobody waits."""
