"""Step 1 of the recipe: a directory from the root's own descriptor, that nobody has locked and that is not ours."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from indexer.enforce import hooks
from indexer.enforce.places import Place, Places, describe, object_of, split
from indexer.store.own import is_own
from indexer.syscalls.beneath import open_beneath
from indexer.syscalls.flock import locked
from indexer.syscalls.stat import stat_fd

if TYPE_CHECKING:
    from collections.abc import Callable

_MOVED = {errno.ELOOP, errno.ENOTDIR, errno.EAGAIN}


class Blocked(Exception):  # noqa: N818 - an answer, not an error
    """Why nothing in this directory is touched: a word of outcomes.KEPT, or (failed) an errno's name and text."""

    def __init__(self, why: str, *, failed: bool = False, code: int | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.failed = failed
        self.code = code


class Directories:
    """Opens directories for one run, remembering for one batch (about a second) what lies above them."""

    def __init__(self, places: Places, held: Callable[[int], bool] | None = None) -> None:
        """`held` tells whether the directory of a descriptor carries the attribute that holds all below it."""
        self._places = places
        self._held = held
        self._above: dict[bytes, str | None] = {}

    def forget(self) -> None:
        """Look at the directories above anew from here on; call it at each batch."""
        self._above.clear()

    def open(self, directory: bytes) -> int:
        """Return a descriptor of `directory` (relative to the store's root), or raise Blocked.

        Every directory from the root down to it was seen not to be locked, nor to be the store's own, nor another's.
        """
        if self._places.missing and self._places.is_missing(directory):
            raise Blocked("not_mounted")
        try:
            why = self._blocked_above(directory)
            if why is not None:
                raise Blocked(why)
            fd = self._places.open(directory)
        except OSError as error:
            raise blocked_by(error) from error
        try:
            hooks.at("directory.opened")
            why = self._why(fd, split(directory)[1])
            hooks.at("directory.locked")
        except OSError as error:
            os.close(fd)
            raise blocked_by(error) from error
        if why is not None:
            os.close(fd)
            raise Blocked(why)
        return fd

    def still(self, directory: bytes, fd: int) -> str | None:
        """Resolve `directory` again: None when it is still the one open as `fd` and unlocked, else the word why not."""
        try:
            again = self._places.open(directory)
        except OSError:
            return "directory_moved"  # whatever the errno says, it is not there any more as it was
        try:
            if object_of(stat_fd(again)) != object_of(stat_fd(fd)):
                return "directory_moved"
            if locked(again):
                return "locked"
        finally:
            os.close(again)
        return None

    def _why(self, fd: int, name: bytes) -> str | None:
        st = stat_fd(fd)
        if object_of(st) in self._places.protected or is_own(name, st.uid, st.mode):
            return "protected"
        if self._held is not None and self._held(fd):
            return "held"
        return "locked" if locked(fd) else None

    def _blocked_above(self, directory: bytes) -> str | None:
        """Walk down to the parent of `directory` once a batch, looking at each directory on the way."""
        if not directory:
            return None
        parent = directory.rpartition(b"/")[0]
        if parent in self._above:
            return self._above[parent]
        place = self._places.of(parent)
        why = self._blocked_above(place.base) if place.base else None
        self._above[parent] = why or self._walk(place, parent)
        return self._above[parent]

    def _walk(self, place: Place, parent: bytes) -> str | None:
        below = parent[len(place.base) + 1 :] if place.base else parent
        fd = open_beneath(place.base_fd, b"")
        try:
            why = self._why(fd, split(place.base)[1])
            for component in below.split(b"/") if below else ():
                if why is not None:
                    break
                deeper = open_beneath(fd, component)
                os.close(fd)
                fd = deeper
                why = self._why(fd, component)
        finally:
            os.close(fd)
        return why


def blocked_by(error: OSError) -> Blocked:
    """Return what an errno says about a directory that was to be opened."""
    if error.errno == errno.ENOENT:
        return Blocked("gone")
    if error.errno == errno.EXDEV:
        return Blocked("other_filesystem")
    if error.errno in _MOVED:
        return Blocked("directory_moved")
    return Blocked(describe(error), failed=True, code=error.errno)
