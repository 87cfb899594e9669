"""The directories among the names: known here, moved here, new, not ours, or another filesystem."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from indexer.index.backlog import Listing
from indexer.index.rows import NS, name_of
from indexer.store.own import PREFIX, is_own
from indexer.syscalls.handles import handle_of
from indexer.syscalls.stat import stat_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.index.backlog import Backlog
    from indexer.index.classes import DirectoryRules
    from indexer.index.directories import Directories, Filesystem
    from indexer.index.limbo import Limbo
    from indexer.index.rows import Key
    from indexer.index.turn import Turn
    from indexer.watch.source import DirectoryWatcher


class Child(NamedTuple):
    """A directory that a stat found under a name."""

    name: bytes
    key: Key
    inode: int
    dev: tuple[int, int]
    mounted: bool
    """It is the root of a mount."""


class Children:
    """Brings the directory table in agreement with them, and doubts what has not been listed."""

    def __init__(
        self,
        connection: Any,
        directories: Directories,
        limbo: Limbo,
        backlog: Backlog,
        watcher: DirectoryWatcher | None,
        turn: Turn,
        exempt: frozenset[tuple[int, int]],
        doubt: Callable[[], tuple[int, bool]],
    ) -> None:
        """`doubt` says since when (Unix nanoseconds) everything has to be listed, and whether that is under way."""
        self._connection = connection
        self._directories = directories
        self._limbo = limbo
        self._backlog = backlog
        self._watcher = watcher
        self._turn = turn
        self._exempt = exempt
        self._doubt = doubt

    def found(
        self,
        parent_id: int,
        fd: int,
        child: Child,
        subdirectories: dict[Key, int],
        rules: DirectoryRules,
        listing: Listing | None,
        *,
        verify: bool = False,
    ) -> None:
        """A directory is at this name of `parent_id`, which is open as `fd`.

        `subdirectories` is what the index has there, `listing` the one that found it (None: a hint did).
        """
        directories = self._directories
        here = subdirectories.get(child.key)
        if self._is_exempt(fd, child) or (rules.ignores and rules.ignored(child.name, True)):
            if here is not None:
                self._limbo.displaced(here, parent_id, child.key)
            return
        if directories.absent and self._is_absent(parent_id, child.name):
            self._mark_absent(parent_id, child, here)
            return
        filesystem = directories.filesystem_of(parent_id)
        if child.mounted or child.dev != filesystem.dev:
            self._mount_point(parent_id, child, here)
            return
        try:
            handle = handle_of(fd, child.name)
        except FileNotFoundError:
            if here is not None:
                self._limbo.displaced(here, parent_id, child.key)
            return
        if here is not None and (known := directories.handle(here)) != handle:
            if known is None and not directories.is_mount(here):
                directories.set_handle(here, handle)
            else:
                self._limbo.displaced(here, parent_id, child.key)
        self._adopt(parent_id, fd, child, handle, filesystem, listing, verify=verify)

    def _is_exempt(self, fd: int, child: Child) -> bool:
        """Say whether it belongs to this store, or is what another keeps in a tree: its trash is nobody's to age."""
        if (os.makedev(*child.dev), child.inode) in self._exempt:
            return True
        if not child.name.startswith(PREFIX):
            return False
        try:
            st = stat_at(fd, child.name)
        except FileNotFoundError:
            return False
        return is_own(child.name, st.uid, st.mode)

    def vanished(self, parent_id: int, key: Key, directory_id: int) -> None:
        """There is no directory under this name any more; the place of a filesystem that is not mounted may be gone."""
        if not (self._directories.absent and self._is_absent(parent_id, name_of(key))):
            self._limbo.displaced(directory_id, parent_id, key)

    def _is_absent(self, parent_id: int, name: bytes) -> bool:
        base = self._directories.path(parent_id)
        return (base + b"/" + name if base else name) in self._directories.absent

    def _mark_absent(self, parent_id: int, child: Child, here: int | None) -> None:
        """A filesystem that the store names is not mounted here: its rows stay, and nothing of what is there counts."""
        if here is None:
            here, _, _ = self._directories.adopt(parent_id, child.key, None, child.inode, 1)
        self._directories.note_problem(here, errno.ENODEV)

    def _adopt(
        self,
        parent_id: int,
        fd: int,
        child: Child,
        handle: bytes,
        filesystem: Filesystem,
        listing: Listing | None,
        *,
        verify: bool,
    ) -> None:
        adopted, how, unlisted = self._directories.adopt(parent_id, child.key, handle, child.inode, filesystem.id)
        if how == "moved":
            unlisted = self._limbo.claimed(adopted) or unlisted
            self._verify_moved(adopted)
        if how != "new":
            unseen = self._watcher is not None and not self._watcher.watches(adopted)
            tree = unlisted or (listing is not None and listing.tree)
            if tree or unseen:
                reason = listing.reason if listing is not None else "new"
                again = Listing(adopted, tree=tree, reason=reason)
                self._backlog.push(again, verify=verify and not unlisted and not unseen)
            return
        floor = listing.floor if listing is not None else None
        if floor is None and not self._turn.first:
            now = self._turn.now
            floor = min(now, stat_at(fd, child.name).ctime_ns // NS) if listing is not None else now
        self._backlog.push(Listing(adopted, tree=True, fresh=True, floor=floor, reason="new"))

    def _verify_moved(self, directory_id: int) -> None:
        """A pass over the tree misses what moves from where it has not been to where it was: list that by itself.

        So does the quick pass before it, which looks for directories where they were known, or by their handles.
        """
        since, under_way = self._doubt()
        if self._directories.verified_ns(directory_id) >= since:
            return
        if under_way:
            self._backlog.push(Listing(directory_id, tree=True, reason="moved"), verify=True)
        else:
            self._backlog.push(Listing(directory_id, tree=not self._directories.handles_open, reason="moved"))

    def _mount_point(self, parent_id: int, child: Child, here: int | None) -> None:
        """Another filesystem: entered when it is one of the store's, else noted and left alone."""
        directories = self._directories
        base = directories.path(parent_id)
        path = base + b"/" + child.name if base else child.name
        for filesystem in directories.filesystems.values():
            if filesystem.id != 1 and filesystem.named and filesystem.path == path:
                handle = handle_of(filesystem.fd)
                if here is not None and directories.handle(here) != handle:
                    self._limbo.displaced(here, parent_id, child.key)
                adopted, how, _ = directories.adopt(parent_id, child.key, handle, child.inode, filesystem.id)
                self._backlog.push(Listing(adopted, tree=True, fresh=how == "new", reason="filesystem"))
                return
        if here is not None and not directories.is_mount(here):
            self._limbo.displaced(here, parent_id, child.key)
            here = None
        if here is None:
            adopted, _, _ = directories.adopt(parent_id, child.key, None, child.inode, 1)
            self._connection.execute("UPDATE directory SET problem = ? WHERE id = ?", (errno.EXDEV, adopted))
