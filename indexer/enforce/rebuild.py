"""Directories that a restore needs again: made as the ledger knows them, never wider; unknown ones for nobody else.

Each is made in the trash, where nobody else can reach, given its mode and owner there, and then renamed into its place:
made in place, it could be exchanged for another directory before it is given away.
"""

from __future__ import annotations

import itertools
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from indexer.enforce import hooks
from indexer.enforce.homes import open_home
from indexer.enforce.origins import UNTELLABLE, Facts
from indexer.enforce.places import describe, split
from indexer.syscalls.acl import ACCESS_ACL, DEFAULT_ACL, NO_ACL
from indexer.syscalls.beneath import open_beneath
from indexer.syscalls.rename import rename_noreplace
from indexer.syscalls.stat import stat_fd

if TYPE_CHECKING:
    from indexer.enforce.homes import Home
    from indexer.enforce.ledger import Ledger
    from indexer.records import Identity


def workshop_prefix(ledger_id: str, run: int) -> bytes:
    """Return how the names of directories begin that a restore makes in the trash; no file there is called so."""
    return b"%s-%d-d" % (ledger_id.encode(), run)


class _Made(NamedTuple):
    below: bytes
    identity: Identity
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
        self._ours: set[Identity] = set()
        self._made: list[_Made] = []
        self.narrower: list[tuple[bytes, str]] = []
        """Directories that could not be made as they were, each with what it is now: nobody else gets in."""

    def open(self, below: bytes, home: Home) -> int:
        """Return a descriptor of the directory `below` the base, made where it is missing, never through a symlink.

        `home` is what is known of the directory and of those above. One of which nothing is known gets mode 0700 and
        the owner of what goes into it. Raises OSError, and TrustError where one on the way may not be gone through.
        """
        return open_home(self._base_fd, self._prefix, below, home, made=self._ours, make=self._make)

    def _make(self, parent_fd: int, below: bytes, home: Home, level: int) -> None:
        name = split(below)[1]
        known, mtime_ns = self._known(self._prefix + below, home, level)
        apart = next(self._names)
        hooks.at("mkdir.before", name)
        os.mkdir(apart, 0o700, dir_fd=self._workshop_fd)
        hooks.at("mkdir.made", name)
        try:
            fd = open_beneath(self._workshop_fd, apart)
            try:
                lost = _private(fd, home.owner) if known is None else _as_it_was(fd, known)
                made = stat_fd(fd).identity
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
            self._ours.add(made)
            if lost is not None:
                self.narrower.append((self._prefix + below, lost))
            if mtime_ns is not None:
                self._made.append(_Made(below, made, mtime_ns))

    def _known(self, path: bytes, home: Home, level: int) -> tuple[Facts | None, int | None]:
        """Return (what the directory was, its time) as far as is known: as it went, if a run removed that very one."""
        known = home.of(level)
        removed = self._ledger.removed(path)
        if removed is None or (removed.action, removed.outcome) != ("rmdir", "deleted"):
            return known, None
        last = next(iter(self._ledger.origins(removed.run, removed.origin)), None)
        if known is None:
            if removed.run != home.run:
                return None, None  # anybody may have made and emptied one of that name since
            # Before the ledger recorded ACLs: what the mode says of the group may be the mask of one.
            mode = stat.S_IMODE(removed.mode) & ~stat.S_IRWXG
            plain = Facts(removed.identity, removed.uid, removed.gid, mode, None, None)
            return plain if last is None else last, removed.mtime_ns
        if last is not None and last.same(known):
            return last, removed.mtime_ns
        return known, removed.mtime_ns if known.identity in {removed.identity, UNTELLABLE} else None

    def finish(self) -> None:
        """Give the directories that came back their old times, now that their files are in place."""
        for made in sorted(self._made, key=lambda made: len(made.below), reverse=True):
            try:
                fd = open_beneath(self._base_fd, made.below)
            except OSError:
                continue  # moved or removed since, by somebody who has every right to: its times are theirs
            try:
                if stat_fd(fd).identity == made.identity:
                    os.utime(fd, ns=(made.mtime_ns, made.mtime_ns))
            finally:
                os.close(fd)


def _private(fd: int, owner: int) -> str | None:
    """Nothing is known of it: let its owner in and nobody else."""
    _bare(fd)
    try:
        os.fchown(fd, owner, -1)
    except PermissionError:
        return f"made again for uid {os.geteuid()} alone, since nothing is known of it"
    return None


def _as_it_was(fd: int, known: Facts) -> str | None:
    """Give the new directory its owner, mode and ACLs; where that is impossible let nobody else in, and say so."""
    _bare(fd)
    try:
        st = stat_fd(fd)
        if (known.uid, known.gid) != (st.uid, st.gid):
            os.fchown(fd, known.uid, known.gid)
        # An access ACL sets the bits of group and others itself; until it is there they stay away.
        os.fchmod(fd, known.mode & ~0o077 if known.acl is not None else known.mode)
        for name, acl in ((DEFAULT_ACL, known.default_acl), (ACCESS_ACL, known.acl)):
            if acl is not None:
                os.setxattr(fd, name, acl)
    except OSError as error:
        if not isinstance(error, PermissionError) and error.errno not in NO_ACL:
            raise
        with suppress(PermissionError):  # given away already: it is as narrow as it was made
            _bare(fd, known.mode & 0o700)
        st = stat_fd(fd)
        return f"made again with mode {stat.S_IMODE(st.mode):04o} for uid {st.uid} alone: {describe(error)}"
    return None


def _bare(fd: int, mode: int = 0o700) -> None:
    """Take away what the trash, or the first attempt, has given it: group, setgid bit, ACLs and all bits but these."""
    for name in (ACCESS_ACL, DEFAULT_ACL):
        try:
            os.removexattr(fd, name)
        except OSError as error:
            if error.errno not in NO_ACL:
                raise
    os.fchmod(fd, mode)
