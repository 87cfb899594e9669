"""The directories that an inotify instance watches, as a tree: a renamed directory costs one entry."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator

from indexer.syscalls import inotify as kernel

log = logging.getLogger(__name__)

_AWAY = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
_NO_ROOM = {errno.ENOSPC, errno.ENOMEM}


class Directory:
    """One watched directory."""

    __slots__ = ("children", "name", "parent", "watch")

    def __init__(self, watch: int, parent: Directory | None, name: bytes) -> None:
        self.watch = watch
        self.parent = parent
        self.name = name
        """In its parent; the whole path for the uppermost."""
        self.children: dict[bytes, Directory] = {}

    @property
    def path(self) -> bytes:
        """Where it is now, as far as the events that were dealt with say."""
        names = [self.name]
        above = self.parent
        while above is not None:
            names.append(above.name)
            above = above.parent
        return os.path.join(*reversed(names))


class WatchedTree:
    """Watches on a directory, and on those below it when it is `recursive`."""

    def __init__(self, instance: int, mask: int, *, recursive: bool, follow: bool) -> None:
        """`follow`: also go where symbolic links to directories lead."""
        self._instance = instance
        self._mask = mask | kernel.IN_ONLYDIR | (0 if follow else kernel.IN_DONT_FOLLOW)
        self._recursive = recursive
        self._follow = follow
        self._complained = False
        self.by_watch: dict[int, Directory] = {}
        self.root: Directory

    def begin(self, path: bytes) -> None:
        """Watch the root, and everything below it. Raises OSError for the root itself."""
        mask = (self._mask & ~kernel.IN_DONT_FOLLOW) | kernel.IN_DELETE_SELF
        self.root = Directory(kernel.inotify_add_watch(self._instance, path, mask), None, path)
        self.by_watch = {self.root.watch: self.root}
        for _ in self._fill(self.root):
            pass

    def begin_again(self) -> None:
        """Events were lost: whatever is there now is watched, whatever was watched elsewhere no longer."""
        for directory in list(self.by_watch.values()):
            if directory is not self.root:
                self._unwatch(directory)
        self.root.children.clear()
        self.by_watch = {self.root.watch: self.root}
        for _ in self._fill(self.root):
            pass

    def add(self, parent: Directory, name: bytes) -> Iterator[tuple[Directory, bytes, bool]]:
        """Watch a directory that has appeared, at once; then all below it, yielding (directory, name, is one) of that.

        Each directory is watched before it is listed, so what appears meanwhile is listed or raises an event, and
        before it is yielded, so that whoever is told of it finds it watched.
        """
        directory = self._watch(parent, name) if self._recursive else None
        return iter(()) if directory is None else self._fill(directory)

    def move(self, directory: Directory, parent: Directory, name: bytes) -> None:
        """A directory has another place; the watches stay with the inodes."""
        self._detach(directory)
        directory.parent, directory.name = parent, name
        parent.children[name] = directory

    def drop(self, directory: Directory) -> None:
        """A directory has left, with all below it."""
        self._detach(directory)
        waiting = [directory]
        while waiting:
            current = waiting.pop()
            waiting += current.children.values()
            if self.by_watch.pop(current.watch, None) is not None:
                self._unwatch(current)

    def _fill(self, directory: Directory) -> Iterator[tuple[Directory, bytes, bool]]:
        if not self._recursive:
            return
        waiting = [directory]
        while waiting:
            current = waiting.pop()
            try:
                with os.scandir(current.path) as found:
                    entries = [(entry.name, entry.is_dir(follow_symlinks=self._follow)) for entry in found]
            except OSError as error:
                if error.errno not in _AWAY:
                    log.warning("%r cannot be listed: %s", current.path, error.strerror)
                continue
            for name, is_directory in entries:
                if is_directory and (below := self._watch(current, name)) is not None:
                    waiting.append(below)
                yield current, name, is_directory

    def _watch(self, parent: Directory, name: bytes) -> Directory | None:
        """Watch one directory; None when it is watched already, is none, or cannot be."""
        path = os.path.join(parent.path, name)
        try:
            watch = kernel.inotify_add_watch(self._instance, path, self._mask)
        except OSError as error:
            if error.errno in _NO_ROOM and not self._complained:
                self._complained = True
                log.warning("%r and others cannot be watched: raise %s (%d)", path, *kernel.limit_of("watches"))
            elif error.errno not in _AWAY | _NO_ROOM:
                log.warning("%r cannot be watched: %s", path, error.strerror)
            return None
        known = self.by_watch.get(watch)
        if known is None:
            directory = parent.children[name] = self.by_watch[watch] = Directory(watch, parent, name)
            return directory
        if known is not self.root and not self._follow:
            self.move(known, parent, name)  # it has been renamed since, and the event is still to come
        return None

    def _detach(self, directory: Directory) -> None:
        above = directory.parent
        if above is not None and above.children.get(directory.name) is directory:
            del above.children[directory.name]

    def _unwatch(self, directory: Directory) -> None:
        try:
            kernel.inotify_rm_watch(self._instance, directory.watch)
        except OSError as error:
            if error.errno != errno.EINVAL:  # the directory is gone, and its watch with it
                raise
