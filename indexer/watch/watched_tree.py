"""The directories that an inotify instance watches, as a tree: a renamed directory costs one entry."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from indexer.syscalls import inotify as kernel

if TYPE_CHECKING:
    from indexer.watch.waiting import Waiting

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

    def below(self, other: Directory) -> bool:
        """Say whether it is `other` or lies below that."""
        above: Directory | None = self
        while above is not None and above is not other:
            above = above.parent
        return above is other


class Found(NamedTuple):
    """What is in a directory that was listed."""

    directory: Directory
    name: bytes
    is_directory: bool
    before: tuple[int, bytes, bytes] | None = None
    """Watch of the parent, name and path under which it was known: it has moved, and no arrival will tell."""


class WatchedTree:
    """Watches on a directory, and on those below it when it is `recursive`."""

    def __init__(
        self,
        instance: int,
        mask: int,
        *,
        recursive: bool,
        follow: bool,
        waiting: Waiting,
    ) -> None:
        """`follow`: also go where symbolic links to directories lead.

        `waiting` knows of events that have been read and not yet been dealt with.
        """
        self._ahead = waiting
        self._instance = instance
        self._mask = mask | kernel.IN_ONLYDIR | (0 if follow else kernel.IN_DONT_FOLLOW)
        self._recursive = recursive
        self._follow = follow
        self._complained = False
        self._incomplete: set[Directory] = set()
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
        self._incomplete.clear()
        self.root.children.clear()
        self.by_watch = {self.root.watch: self.root}
        for _ in self._fill(self.root):
            pass

    def add(self, parent: Directory, name: bytes) -> Iterator[Found]:
        """Watch a directory that has appeared, at once; then all below it, yielding what is there.

        Each directory is watched before it is listed, so what appears meanwhile is listed or raises an event, and
        before it is yielded, so that whoever is told of it finds it watched.
        """
        watch = self._look(parent, name)
        if watch is None:
            return iter(())
        known = self.by_watch.get(watch)
        if known is None:
            return self._fill(self._new(watch, parent, name))
        if known.parent is parent and known.name == name:
            return self._fill(known)  # made, removed and made again: what was told went with the one before
        if known is not self.root and not self._follow and not self._ahead.arrives(parent.watch, name):
            self._put(known, parent, name)
        return iter(())

    def move(self, directory: Directory | None, parent: Directory, name: bytes) -> None:
        """A directory has another place: what is there now, or `directory` where nothing is any more.

        The watches stay with the inodes.
        """
        watch = self._look(parent, name)
        if watch is None:
            if directory is not None:
                self._put(directory, parent, name)
            return
        known = self.by_watch.get(watch)
        if known is None:
            for _ in self._fill(self._new(watch, parent, name)):
                pass
        elif known is not self.root and not (self._follow and known is not directory):
            self._put(known, parent, name)
            self._complete(known)

    def _complete(self, directory: Directory) -> None:
        """List what could not be reached where it was before."""
        for each in [each for each in self._incomplete if each.below(directory)]:
            self._incomplete.discard(each)
            for _ in self._fill(each):
                pass

    def _look(self, parent: Directory, name: bytes) -> int | None:
        """Watch what has come to a place, unless it has left it since."""
        if not self._recursive:
            return None
        self._ahead.read()
        return None if self._ahead.leaves(parent.watch, name) else self._watch(parent, name)

    def _put(self, directory: Directory, parent: Directory, name: bytes) -> None:
        if parent.below(directory):
            return  # it is known to be elsewhere by now
        self._detach(directory)
        directory.parent, directory.name = parent, name
        parent.children[name] = directory

    def drop(self, directory: Directory) -> None:
        """A directory has left, with all below it."""
        self._detach(directory)
        waiting = [directory]
        while waiting:
            current = waiting.pop()
            self._incomplete.discard(current)
            waiting += current.children.values()
            if self.by_watch.pop(current.watch, None) is not None:
                self._unwatch(current)

    def _fill(self, directory: Directory) -> Iterator[Found]:
        if not self._recursive:
            return
        waiting = [directory]
        while waiting:
            current = waiting.pop()
            try:
                with os.scandir(current.path) as found:
                    entries = [(entry.name, entry.is_dir(follow_symlinks=self._follow)) for entry in found]
            except OSError as error:
                if error.errno in _AWAY:
                    self._incomplete.add(current)
                else:
                    log.warning("%r cannot be listed: %s", current.path, error.strerror)
                continue
            self._ahead.read()
            for name, is_directory in entries:
                if self._ahead.leaves(current.watch, name):
                    continue  # its own events tell, one after the other
                watch = self._watch(current, name) if is_directory else None
                known = self.by_watch.get(watch) if watch is not None else None
                if watch is None:
                    yield Found(current, name, is_directory)
                elif known is None:
                    waiting.append(self._new(watch, current, name))
                    yield Found(current, name, is_directory=True)
                elif known.parent is current and known.name == name:
                    waiting.append(known)
                    yield Found(current, name, is_directory=True)
                elif self._follow or known.parent is None:
                    yield Found(current, name, is_directory=True)
                elif not self._ahead.arrives(current.watch, name):
                    before = (known.parent.watch, known.name, known.path)
                    self._put(known, current, name)
                    yield Found(current, name, is_directory=True, before=before)

    def _new(self, watch: int, parent: Directory, name: bytes) -> Directory:
        directory = parent.children[name] = self.by_watch[watch] = Directory(watch, parent, name)
        return directory

    def _watch(self, parent: Directory, name: bytes) -> int | None:
        """Watch what is at a place; None when that is no directory, or cannot be watched."""
        path = os.path.join(parent.path, name)
        try:
            return kernel.inotify_add_watch(self._instance, path, self._mask)
        except OSError as error:
            if error.errno in _NO_ROOM and not self._complained:
                self._complained = True
                log.warning("%r and others cannot be watched: raise %s (%d)", path, *kernel.limit_of("watches"))
            elif error.errno in _AWAY:
                self._incomplete.add(parent)  # unless it is gone, it has moved with a directory above it
            elif error.errno not in _NO_ROOM:
                log.warning("%r cannot be watched: %s", path, error.strerror)
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
