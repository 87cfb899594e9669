"""What the watchers and the scan hand to the index: hints that a name may have changed, never facts.

A `Batch` is coalesced before any Python object per event exists, so it is a plain mapping:
directory key -> name -> kinds of hint. A lost event is a `Rescan` in the same pipe.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field

CHANGED = 1
"""The name may have appeared, vanished, or changed in content or attributes: stat it."""
ACCESSED = 2
"""Somebody closed it after reading only: note the use, no stat."""

DirectoryKey = int | bytes | str
"""How a watcher names a directory: its id in the index (int), fsid and file handle as fanotify reports them (bytes,
see `directory_key`), or, from the native backend, its path relative to the root, "" being the root (str, undecodable
bytes as surrogate escapes)."""


def directory_key(fsid: int, handle: bytes) -> bytes:
    """Return the key under which fanotify reports a directory: 8 bytes of fsid (statvfs), then its file handle."""
    return fsid.to_bytes(8, sys.byteorder) + handle


ROOT_ID = 1
"""The root directory's id in the index."""


@dataclass(frozen=True, slots=True)
class Rescan:
    """A doubt about a directory: list it again, and everything below it when `tree` is set."""

    directory: DirectoryKey
    tree: bool = True
    reason: str = ""
    """Enumerated in the reference: first, overflow, requested, verify, changed, moved_in, postponed, …"""


class Barrier:
    """Set once everything that was in the kernel's queue before it is in the index."""

    __slots__ = ("_done",)

    def __init__(self) -> None:
        self._done = threading.Event()

    def release(self) -> None:
        """Let whoever waits go on (writer thread)."""
        self._done.set()

    def wait(self, timeout: float | None) -> bool:
        """Wait at most `timeout` seconds; False when the time is over."""
        return self._done.wait(timeout)


@dataclass(slots=True)
class Batch:
    """What one turn of the loop has to bring into agreement, applied in one transaction."""

    at: float
    """Unix seconds when it was taken: the `now` of everything it writes."""
    hints: dict[DirectoryKey, dict[bytes, int]] = field(default_factory=dict)
    rescans: list[Rescan] = field(default_factory=list)
    barriers: list[Barrier] = field(default_factory=list)
    events: int = 0
    """How many kernel events it stands for."""
    drained: bool = True
    """Everything that the kernel held when this batch was asked for is in it, or in one before: whatever vanished then
    and has not reappeared is gone."""

    def __bool__(self) -> bool:
        return bool(self.hints or self.rescans or self.barriers)

    def hint(self, directory: DirectoryKey, name: bytes, kinds: int) -> None:
        """Add one hint; kinds of the same name are merged."""
        names = self.hints.setdefault(directory, {})
        names[name] = names.get(name, 0) | kinds
