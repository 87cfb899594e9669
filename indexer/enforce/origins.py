"""Who the directories are that a run takes something out of, all the way up: recorded before anything is touched."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from indexer.records import Identity
from indexer.syscalls.acl import ACCESS_ACL, DEFAULT_ACL, acl_of
from indexer.syscalls.beneath import open_beneath
from indexer.syscalls.stat import stat_fd

if TYPE_CHECKING:
    from collections.abc import Iterable

    from indexer.enforce.places import Place, Places

_OPEN = 16
"""Directories on the way that are held open; what lies deeper is reached from the last of them."""
_REMEMBERED = 10_000
"""Directories of a run that are remembered: one that is met again after that gets another row, no more."""


UNTELLABLE = Identity(0, 0)
"""Of a directory on overlayfs: what is taken out of it copies it up, and then it is another one for whoever looks."""


class Facts(NamedTuple):
    """Who a directory is, whose, and whom it lets in."""

    identity: Identity
    uid: int
    gid: int
    mode: int
    """Without the type. With an ACL the group's bits are its mask (acl(5)), and say nothing about the group."""
    acl: bytes | None
    """The access ACL as the kernel gives it; None: there is none."""
    default_acl: bytes | None
    """What is made in it gets this one."""

    def same(self, other: Facts) -> bool:
        """True when both are one object: an inode number alone is reused at once, so it proves nothing."""
        return self.identity == other.identity and self.identity.birth_ns != 0


class Origin(NamedTuple):
    """One row of `origin`."""

    number: int
    parent: int | None
    facts: Facts


def facts_of(fd: int) -> Facts:
    """Return who the open directory is. Raises OSError."""
    st = stat_fd(fd)
    mode = stat.S_IMODE(st.mode)
    return Facts(st.identity, st.uid, st.gid, mode, acl_of(fd, ACCESS_ACL), acl_of(fd, DEFAULT_ACL))


class Origins:
    """Looks at directories for one run, and numbers what it finds."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._known: dict[bytes, Origin] = {}
        self._numbers = 0
        self._new: list[Origin] = []

    def look(self, directories: Iterable[bytes]) -> dict[bytes, Origin]:
        """Return the origin of each of `directories` (relative to the store's root) as it is now.

        There is none of the root, of a named filesystem's base, and of what cannot be opened: whoever comes to remove
        something from there says why. Each is reached from the one above by its descriptor, so that the whole way is
        one that there was.
        """
        if len(self._known) > _REMEMBERED:
            self._known.clear()
        found: dict[bytes, Origin] = {}
        by_place: dict[str, tuple[Place, list[bytes]]] = {}
        for directory in sorted(directories):
            place = self._places.of(directory)
            by_place.setdefault(place.name, (place, []))[1].append(directory)
        for place, group in by_place.values():
            self._walk(place, group, found)
        return found

    def new(self) -> list[Origin]:
        """Return what has been found since the last call: rows that the ledger does not have yet."""
        rows, self._new = self._new, []
        return rows

    def _walk(self, place: Place, directories: list[bytes], found: dict[bytes, Origin]) -> None:
        """Look at all of one filesystem, in the order of their paths."""
        way: list[tuple[bytes, int, Origin | None]] = [(place.base, place.base_fd, None)]
        try:
            for directory in directories:
                if not self._places.is_missing(directory):
                    self._look(directory, way, found, overlay=place.overlay)
        finally:
            for _, fd, _ in way[1:]:
                os.close(fd)

    def _look(
        self,
        directory: bytes,
        way: list[tuple[bytes, int, Origin | None]],
        found: dict[bytes, Origin],
        *,
        overlay: bool,
    ) -> None:
        """Look at one, going on from what is open on the way to it."""
        while len(way) > 1 and directory != way[-1][0] and not directory.startswith(way[-1][0] + b"/"):
            os.close(way.pop()[1])
        path, fd, origin = way[-1]
        loose = -1
        rest = directory[len(path) :].strip(b"/")
        try:
            for name in rest.split(b"/") if rest else ():
                fd = open_beneath(fd, name)
                if loose >= 0:
                    os.close(loose)
                loose = fd
                path = path + b"/" + name if path else name
                facts = facts_of(fd)
                origin = self._number(path, facts._replace(identity=UNTELLABLE) if overlay else facts, origin)
                if len(way) <= _OPEN:
                    way.append((path, fd, origin))
                    loose = -1
        except OSError:
            return
        finally:
            if loose >= 0:
                os.close(loose)
        if origin is not None:
            found[directory] = origin

    def _number(self, path: bytes, facts: Facts, above: Origin | None) -> Origin:
        parent = None if above is None else above.number
        known = self._known.get(path)
        if known is not None and known.facts == facts and known.parent == parent:
            return known
        self._numbers += 1
        origin = self._known[path] = Origin(self._numbers, parent, facts)
        self._new.append(origin)
        return origin
