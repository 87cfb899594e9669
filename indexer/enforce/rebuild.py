"""Directories that a restore needs again: made with the mode and owner that the ledger knows of them.

Each is made in the trash, where nobody else can reach, given its mode and owner there, and then renamed into its place:
made in place, it could be exchanged for another directory before it is given away.
"""

from __future__ import annotations

import itertools
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from indexer.enforce import hooks
from indexer.enforce.places import Object, object_of
from indexer.syscalls.beneath import open_beneath
from indexer.syscalls.rename import rename_noreplace
from indexer.syscalls.stat import stat_fd

if TYPE_CHECKING:
    from indexer.enforce.ledger import Ledger
    from indexer.enforce.rows import Action


def workshop_prefix(ledger_id: str, run: int) -> bytes:
    """Return how the names of directories begin that a restore makes in the trash; no file there is called so."""
    return b"%s-%d-d" % (ledger_id.encode(), run)


class _Made(NamedTuple):
    below: bytes
    object: Object
    mtime_ns: int


class Rebuilder:
    """Opens directories below one base, making those that are gone."""

    def __init__(self, base_fd: int, prefix: bytes, workshop_fd: int, ledger: Ledger, run: int) -> None:
        """`prefix` ends in "/" or is b"": prefix + a path below the base is the path that the ledger knows.

        `workshop_fd` is the trash of the same filesystem.
        """
        self._base_fd = base_fd
        self._prefix = prefix
        self._workshop_fd = workshop_fd
        self._ledger = ledger
        self._names = (workshop_prefix(ledger.id, run) + b"%d" % number for number in itertools.count(1))
        self._made: list[_Made] = []

    def open(self, below: bytes) -> int:
        """Return a descriptor of the directory `below` the base, made where it is missing, never through a symlink.

        A directory that no run removed gets mode 0777 less the umask, like any other new one. Raises OSError.
        """
        try:
            return open_beneath(self._base_fd, below)
        except FileNotFoundError:
            pass
        fd = open_beneath(self._base_fd, b"")
        end = -1
        for name in below.split(b"/"):
            end += 1 + len(name)
            try:
                try:
                    deeper = open_beneath(fd, name)
                except FileNotFoundError:
                    self._make(fd, name, below[:end])
                    deeper = open_beneath(fd, name)
            finally:
                os.close(fd)
            fd = deeper
        return fd

    def _make(self, parent_fd: int, name: bytes, below: bytes) -> None:
        known = self._known(self._prefix + below)
        apart = next(self._names)
        hooks.at("mkdir.before", name)
        os.mkdir(apart, 0o777, dir_fd=self._workshop_fd)
        hooks.at("mkdir.made", name)
        try:
            fd = open_beneath(self._workshop_fd, apart)
            try:
                if known is not None:
                    _as_it_was(fd, known)
                made = object_of(stat_fd(fd))
            finally:
                os.close(fd)
            rename_noreplace(self._workshop_fd, apart, parent_fd, name)
            hooks.at("mkdir.after", name)
        except FileExistsError:
            os.rmdir(apart, dir_fd=self._workshop_fd)  # somebody made it in between: theirs
        except OSError:
            os.rmdir(apart, dir_fd=self._workshop_fd)
            raise
        else:
            if known is not None:
                self._made.append(_Made(below, made, known.mtime_ns))

    def _known(self, path: bytes) -> Action | None:
        removed = self._ledger.removed(path)
        if removed is None or removed.action != "rmdir" or removed.outcome != "deleted":
            return None
        return removed

    def finish(self) -> None:
        """Give the directories that came back their old times, now that their files are in place."""
        for made in sorted(self._made, key=lambda made: len(made.below), reverse=True):
            try:
                fd = open_beneath(self._base_fd, made.below)
            except OSError:
                continue  # moved or removed since, by somebody who has every right to: its times are theirs
            try:
                if object_of(stat_fd(fd)) == made.object:
                    os.utime(fd, ns=(made.mtime_ns, made.mtime_ns))
            finally:
                os.close(fd)


def _as_it_was(fd: int, known: Action) -> None:
    if (known.uid, known.gid) != (os.geteuid(), os.getegid()):
        try:
            os.fchown(fd, known.uid, known.gid)
        except PermissionError:
            return  # not ours to give away, and the old mode was meant for the old owner
    os.fchmod(fd, stat.S_IMODE(known.mode))
