"""Where an object of the trash may go back: into the directory that it came from, or one that is no less private.

The name of a directory says nothing: where alice's was, mallory can have made hers. So each on the way must be

* the very one that it was (inode and birth time), or one that this restore has made; or
* one of the same owner (or of root, or of whoever runs this) that lets nobody in whom the old one kept out; or,
* where nothing is known of the old one, one of the object's own owner (or root's, or ours) that nobody else may write
  to (a sticky one excepted: there the owner of a file protects it).

What may not go back stays in the trash, and the text says how it gets out of there.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from indexer.enforce.origins import Facts, facts_of
from indexer.enforce.places import split
from indexer.errors import TrustError
from indexer.syscalls.beneath import open_beneath
from indexer.units import show_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from indexer.enforce.ledger import Ledger
    from indexer.enforce.places import Places
    from indexer.enforce.rows import Action
    from indexer.records import Identity
    from indexer.syscalls.stat import FileStat

_SPECIAL = stat.S_ISUID | stat.S_ISGID
_OTHERS = 0o077


class Home(NamedTuple):
    """The directories that one object of the trash lay in, as they were, and whose it is."""

    facts: tuple[Facts, ...]
    """Its own directory's first, then those above; shorter than the way where nothing is known."""
    run: int
    """The run that took it."""
    owner: int
    """The object's own uid."""
    special: bool
    """A file that lends its owner's or group's rights to whoever runs it."""

    def of(self, level: int) -> Facts | None:
        """Return what is known of the directory `level` steps above its own."""
        return self.facts[level] if level < len(self.facts) else None


def home_of(origins: Callable[[int, int | None], list[Facts]], action: Action, st: FileStat) -> Home:
    """Return where the object of an action belongs; `st` is its own, `origins` is `Ledger.origins`."""
    facts = origins(action.run, action.origin)
    if action.action == "rmdir":
        facts = facts[1:]  # the first is its own
    special = stat.S_ISREG(st.mode) and bool(st.mode & _SPECIAL)
    return Home(tuple(facts), action.run, st.uid, special)


def admit(fd: int, path: bytes, home: Home, level: int, made: Collection[Identity] = ()) -> None:
    """Raise TrustError unless the open directory `path` may lie on the way home, `level` steps above the end.

    `made` are the directories that this restore has made. Raises OSError.
    """
    found, known = facts_of(fd), home.of(level)
    why = _refusal(found, known, home, made)
    if why is None and level == 0 and home.special:
        came_from = home.owner if known is None else known.uid
        if found.uid != came_from:
            why = f"it belongs to uid {found.uid}, and the file is setuid or setgid"
    if why is not None:
        raise TrustError(
            f"{show_name(path)} is not the directory it was: {why}; it stays in the trash, `restore --to DIR` puts it"
            " elsewhere"
        )


def _refusal(found: Facts, known: Facts | None, home: Home, made: Collection[Identity]) -> str | None:
    if (known is not None and found.same(known)) or (found.identity.birth_ns and found.identity in made):
        return None
    owner = home.owner if known is None else known.uid
    if found.uid not in {owner, 0, os.geteuid()}:
        return f"it belongs to uid {found.uid}, not {owner}"
    if known is None:
        open_to_all = found.mode & 0o022 and not found.mode & stat.S_ISVTX
        return "others may write to it" if open_to_all else None
    return "it lets others in whom that kept out" if _wider(found, known) else None


def _wider(found: Facts, known: Facts) -> bool:
    """True when somebody may do in `found` what they could not in `known`, their owners aside."""
    if found.mode & 0o022 and known.mode & stat.S_ISVTX and not found.mode & stat.S_ISVTX:
        return True
    if (found.gid, found.acl) == (known.gid, known.acl):
        allowed = known.mode & _OTHERS
    elif known.acl is not None:
        allowed = 0  # whom it let in and kept out by name cannot be told from the mode
    else:
        # Whoever the group or the ACL names was one of the others, or of the old group: what both could.
        both = known.mode >> 3 & known.mode & 0o7
        allowed = both << 3 | both
    return bool(found.mode & _OTHERS & ~allowed)


def open_home(
    base_fd: int,
    prefix: bytes,
    below: bytes,
    home: Home,
    *,
    made: Collection[Identity] = (),
    make: Callable[[int, bytes, Home, int], None] | None = None,
) -> int:
    """Return a descriptor of the directory `below` an open base, every step of the way there looked at (`admit`).

    `prefix` and `below` are its path relative to the store. What is missing on the way `make` makes: of (the directory
    above, open; the path below the base; the home; the level). Raises OSError, TrustError where it may not go back.
    """
    names = below.split(b"/") if below else []
    fd, end = open_beneath(base_fd, b""), -1
    for level, name in zip(range(len(names) - 1, -1, -1), names, strict=True):
        end += 1 + len(name)
        try:
            try:
                deeper = open_beneath(fd, name)
            except FileNotFoundError:
                if make is None:
                    raise
                make(fd, below[:end], home, level)
                deeper = open_beneath(fd, name)
        finally:
            os.close(fd)
        fd = deeper
        try:
            admit(fd, prefix + below[:end], home, level, made)
        except BaseException:
            os.close(fd)
            raise
    return fd


def open_home_of(places: Places, ledger: Ledger, action: Action, st: FileStat) -> int:
    """Return a descriptor of the directory that the object of an action came from; nothing is made. Raises as above."""
    directory = split(action.path)[0]
    place = places.of(directory)
    prefix = place.base + b"/" if place.base else b""
    return open_home(place.base_fd, prefix, directory[len(prefix) :], home_of(ledger.origins, action, st))
