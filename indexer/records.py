"""Frozen values that cross the borders between the layers: an indexed file, and who it is."""

from __future__ import annotations

from typing import NamedTuple

NEVER = 253_402_300_799
"""The clock of a file that is kept because its name bears no time: the last second of the year 9999.

An integer and not None, so that such files stand at the end of their class's clock index and are counted from there.
"""


class Identity(NamedTuple):
    """Which file this is, whatever its name: inode numbers alone are reused at once (ext4, measured)."""

    inode: int
    birth_ns: int
    """Birth time in nanoseconds since the epoch; 0 where the filesystem keeps none."""


class IndexedFile(NamedTuple):
    """One row of the index. Times are Unix seconds (UTC), sizes are bytes, names are bytes.

    A tuple, because a plan makes one for every file that is due: a frozen dataclass takes five times as long
    (measured).
    """

    directory_id: int
    directory: bytes
    """Path of its directory relative to the store's root; b"" is the root itself."""
    name: bytes
    mode: int
    """st_mode: type and permissions."""
    uid: int
    gid: int
    size: int
    allocated: int
    links: int
    identity: Identity
    mtime: int
    atime: int
    used_at: int
    """Last use: the later of st_atime and the observed use."""
    ctime: int
    btime: int | None
    """Birth time; None where the filesystem keeps none."""
    first_seen: int
    class_name: str | None
    clock: int | None
    """The class's clock as stored: a lower bound for classes that use atime; None: not aged (no class, excluded)."""
    charged: bool
    """False for a further name (hard link) of an inode that is charged under another name."""

    @property
    def path(self) -> bytes:
        """Path relative to the store's root."""
        return self.directory + b"/" + self.name if self.directory else self.name


class Unit(NamedTuple):
    """What goes as one in a class with `unit = "child"`: a direct child directory, or a file beside those."""

    path: bytes
    """Path of the child, or of the file, relative to the store's root."""
    files: tuple[IndexedFile, ...]
    """The files of its class in it and below, those that the class excludes too (their clock is None)."""
    child: bool = True
    """False: a single file, which lies in no child."""
    directories: tuple[int, ...] = ()
    """Ids of the child and of all directories below."""
    unreadable: bool = False
    """Something in it could not be listed: what else it holds is not known."""
    blocker: str | None = None
    """What is known to stand in its way, whatever its files say."""

    @property
    def allocated(self) -> int:
        """Bytes of the blocks charged to it, as the counters have it."""
        return sum(file.allocated for file in self.files if file.charged)
