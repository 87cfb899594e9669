"""What the kernel says, in watchdog's words: its event classes, in the order its own Linux emitter gives them.

fanotify and inotify share the bits of what can happen to a name, so both emitters use this.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from watchdog.events import (
    DirAttribEvent,
    DirCreatedEvent,
    DirDeletedEvent,
    DirModifiedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileClosedEvent,
    FileClosedNoWriteEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileOpenedEvent,
    FileSystemEvent,
    generate_sub_created_events,
    generate_sub_moved_events,
)

from indexer.syscalls import inotify as kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from watchdog.observers.api import ObservedWatch

WANTED: dict[type[FileSystemEvent], int] = {
    FileOpenedEvent: kernel.IN_OPEN,
    FileModifiedEvent: kernel.IN_MODIFY,
    FileAttribEvent: kernel.IN_ATTRIB,
    DirAttribEvent: kernel.IN_ATTRIB,
    FileClosedEvent: kernel.IN_CLOSE_WRITE,
    DirModifiedEvent: kernel.IN_CLOSE_WRITE,
    FileClosedNoWriteEvent: kernel.IN_CLOSE_NOWRITE,
}
"""What the kernel has to report for each class of events, beside creations, deletions and renames."""
EVERYTHING = kernel.IN_OPEN | kernel.IN_MODIFY | kernel.IN_ATTRIB | kernel.IN_CLOSE_WRITE | kernel.IN_CLOSE_NOWRITE


def wanted(event_filter: Iterable[type[FileSystemEvent]] | None) -> int:
    """Return the bits that an emitter with this filter needs, beside creations, deletions and renames."""
    if event_filter is None:
        return EVERYTHING
    mask = 0
    for kind, bits in WANTED.items():
        if any(issubclass(kind, each) for each in event_filter):
            mask |= bits
    return mask


class Translation:
    """Queues watchdog's events for one watch."""

    def __init__(self, watch: ObservedWatch, queue: Callable[[FileSystemEvent], None], *, full: bool = False) -> None:
        """With `full` a rename across the border of the watch stays a rename, with an empty path outside."""
        self._queue = queue
        self._full = full
        self._bytes = isinstance(watch.path, bytes)
        self._recursive = watch.is_recursive

    def happened(self, mask: int, path: bytes, *, directory: bool, twice: bool = False) -> None:
        """Queue what the bits of `mask` say of `path`, in the order in which they can have happened to one object.

        `twice`: the attributes of a directory that inotify would watch itself and by its parent; it says each of it.
        """
        queue, shown = self._queue, self._shown(path)
        parent = os.path.dirname(shown)
        if mask & kernel.IN_CREATE:
            queue(DirCreatedEvent(shown) if directory else FileCreatedEvent(shown))
            queue(DirModifiedEvent(parent))
        if mask & kernel.IN_OPEN and not directory:
            queue(FileOpenedEvent(shown))
        if mask & kernel.IN_MODIFY:
            queue(DirModifiedEvent(shown) if directory else FileModifiedEvent(shown))
        if mask & kernel.IN_ATTRIB:
            queue(DirAttribEvent(shown) if directory else FileAttribEvent(shown))
            if twice and directory:
                queue(DirAttribEvent(shown))
        if mask & kernel.IN_CLOSE_WRITE and not directory:
            queue(FileClosedEvent(shown))
            queue(DirModifiedEvent(parent))
        if mask & kernel.IN_CLOSE_NOWRITE and not directory:
            queue(FileClosedNoWriteEvent(shown))
        if mask & kernel.IN_DELETE:
            queue(DirDeletedEvent(shown) if directory else FileDeletedEvent(shown))
            queue(DirModifiedEvent(parent))

    def moved(self, source: bytes | None, target: bytes | None, *, directory: bool, there: bool = True) -> None:
        """Queue a rename; a place outside the watch is None, and it is then a deletion or a creation.

        Not `there`: it has left that place since, and what is to be found in it now is not its content.
        """
        queue = self._queue
        if source is not None and target is not None:
            before, after = self._shown(source), self._shown(target)
            queue(DirMovedEvent(before, after) if directory else FileMovedEvent(before, after))
            queue(DirModifiedEvent(os.path.dirname(before)))
            queue(DirModifiedEvent(os.path.dirname(after)))
            if directory and self._recursive and there:
                for event in generate_sub_moved_events(before, after):
                    queue(event)
        elif source is not None:
            if self._full:
                self._half_moved(self._shown(source), "", directory=directory)
            else:
                self.happened(kernel.IN_DELETE, source, directory=directory)
        elif target is not None:
            if self._full:
                self._half_moved("", self._shown(target), directory=directory)
            else:
                self.happened(kernel.IN_CREATE, target, directory=directory)
            if directory and self._recursive and there:
                for each in generate_sub_created_events(self._shown(target)):
                    queue(each)

    def _half_moved(self, source: bytes | str, target: bytes | str, *, directory: bool) -> None:
        self._queue(DirMovedEvent(source, target) if directory else FileMovedEvent(source, target))
        self._queue(DirModifiedEvent(os.path.dirname(source or target)))

    def gone(self, path: bytes) -> None:
        """Queue that the watched directory itself was deleted."""
        self._queue(DirDeletedEvent(self._shown(path)))

    def _shown(self, path: bytes) -> bytes | str:
        """Return a path in the type in which the watch was given."""
        return path if self._bytes else os.fsdecode(path)
