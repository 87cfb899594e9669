"""The descriptors of a run: the root, the named filesystems below it, and the trash of each."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

from indexer.errors import IndexerError, TrustError
from indexer.syscalls.beneath import O_PATH, open_beneath
from indexer.syscalls.stat import FileStat, stat_fd
from indexer.syscalls.sync import OVERLAYFS, filesystem_type
from indexer.units import show_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

Object = tuple[tuple[int, int], int]
"""(device, inode): which object this is, while something keeps it from being freed."""


class StoreLike(Protocol):
    """What this room needs to know of a store (`indexer.store.Store`)."""

    @property
    def root(self) -> Path:
        """The root, for finding what lies below it; nothing is opened by this path."""

    @property
    def control(self) -> Path:
        """The control directory."""

    @property
    def state(self) -> Path:
        """The directory of the databases."""

    @property
    def config(self) -> Any:
        """The effective configuration (`indexer.config.model.Config`)."""

    def trash_path(self, filesystem: str = "") -> Path:
        """Return where the trash of a named filesystem is, "" being the root's own."""


def object_of(st: FileStat) -> Object:
    """Return which object a stat is about."""
    return (st.dev, st.inode)


@dataclass(slots=True)
class Place:
    """One filesystem of the store: its base directory and its trash, both held open."""

    name: str
    """"" = the root's own, else as in `[store] filesystems`."""
    base: bytes
    base_fd: int
    trash: bytes
    """Path of its trash, relative to `base`."""
    overlay: bool
    """overlayfs: a rename would copy the whole file up, so what is to be destroyed is unlinked in its place."""
    trash_fd: int = -1
    trash_error: str | None = None
    trash_full: bool = False
    """Not even the trash itself could be made: there is no room for one more name, or no inode."""

    def open_trash(self, *, create: bool) -> int:
        """Return the descriptor of this filesystem's trash (0700, ours), making it where `create`.

        It is opened below this filesystem's base, never through a symlink. Raises FileNotFoundError, TrustError when
        somebody else could reach into it, OSError with EXDEV when it lies on another filesystem, so that nothing can
        be renamed into it.
        """
        if self.trash_fd >= 0:
            return self.trash_fd
        if create:
            self._make_trash()
        fd = open_beneath(self.base_fd, self.trash)
        st = stat_fd(fd)
        if st.uid != os.geteuid() or stat.S_IMODE(st.mode) & 0o077:
            os.close(fd)
            raise TrustError(
                f"{show_name(self.trash)}: the trash can be reached by others",
                remedy=f"make it yours alone: chown {os.geteuid()}, chmod 0700",
            )
        self.trash_fd = fd
        return fd

    def _make_trash(self) -> None:
        fd = os.dup(self.base_fd)
        try:
            for name in self.trash.split(b"/"):
                with suppress(FileExistsError):
                    os.mkdir(name, 0o700, dir_fd=fd)
                deeper = open_beneath(fd, name, O_PATH)
                os.close(fd)
                fd = deeper
        finally:
            os.close(fd)


class Places:
    """All places of one run; use it as a context manager, it closes what it opened."""

    def __init__(self, root_fd: int, store: StoreLike) -> None:
        """`root_fd` stays the caller's. Raises OSError where a named filesystem cannot be opened."""
        self._root_fd = root_fd
        self._store = store
        self.places: list[Place] = []
        self.missing: dict[str, str] = {}
        """Named filesystems that are not mounted now, each with the reason: nothing on them is touched."""
        self._add("", b"", root_fd)
        for name in sorted(store.config.store.filesystems, key=len):
            self._add_named(name)
        self.places.sort(key=lambda place: len(place.base), reverse=True)
        self.protected = self._find_protected()
        """Objects of the store's own (control directory, state, configuration): never removed, nor anything below."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for place in self.places:
            if place.trash_fd >= 0:
                os.close(place.trash_fd)
            if place.base_fd != self._root_fd:
                os.close(place.base_fd)

    def _add(self, name: str, base: bytes, base_fd: int) -> None:
        overlay = filesystem_type(base_fd) == OVERLAYFS
        trash = os.fsencode(self._store.trash_path(name).relative_to(self._store.root / name))
        self.places.append(Place(name, base, base_fd, trash, overlay))

    def _add_named(self, name: str) -> None:
        base = os.fsencode(name).strip(b"/")
        try:
            base_fd = open_beneath(self._root_fd, base, O_PATH, cross=True)
        except OSError as error:
            self.missing[name] = describe(error)
            return
        if stat_fd(base_fd).dev == stat_fd(self._root_fd).dev and not stat_fd(base_fd).mount_root:
            os.close(base_fd)
            self.missing[name] = "nothing is mounted there"
            return
        self._add(name, base, base_fd)

    def _find_protected(self) -> frozenset[Object]:
        found: set[Object] = set()
        paths: Iterable[Path | None] = (self._store.control, self._store.state, self._store.config.path)
        for path in [*paths, *(self._store.trash_path(place.name) for place in self.places)]:
            if path is None:
                continue
            try:
                st = os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            found.add(((os.major(st.st_dev), os.minor(st.st_dev)), st.st_ino))
        return frozenset(found)

    def of(self, directory: bytes) -> Place:
        """Return the place that the directory (relative to the store's root) belongs to."""
        for place in self.places:
            base = place.base
            if not base or directory == base or directory.startswith(base + b"/"):
                return place
        raise AssertionError("the root is a place")

    def is_missing(self, directory: bytes) -> bool:
        """Say whether a directory belongs to a named filesystem that is not mounted: what is there now is not it."""
        bases = (os.fsencode(name).strip(b"/") for name in self.missing)
        return any(directory == base or directory.startswith(base + b"/") for base in bases)

    def named(self, name: str) -> Place | None:
        """Return the place of that name, or None when it is not mounted, or not configured any more."""
        return next((place for place in self.places if place.name == name), None)

    def open(self, directory: bytes, flags: int = os.O_RDONLY) -> int:
        """Open a directory of the store by its path from the root; see `open_beneath` for what it refuses."""
        place = self.of(directory)
        if place.base:
            directory = directory[len(place.base) + 1 :]
        return open_beneath(place.base_fd, directory, flags)


def describe(error: OSError | IndexerError) -> str:
    """Return an error as results and the ledger show it: `EACCES: Permission denied`, or our own words."""
    if isinstance(error, IndexerError):
        return error.message
    code = errno.errorcode.get(error.errno or 0, "OSError")
    return f"{code}: {error.strerror or error}"


def split(path: bytes) -> tuple[bytes, bytes]:
    """Return (directory, name) of a path relative to the store's root."""
    directory, _, name = path.rpartition(b"/")
    return directory, name


def parents(directory: bytes) -> Sequence[bytes]:
    """Return the directories above `directory`, the nearest first, the root (b"") last; nothing for the root."""
    above = []
    while directory:
        directory = split(directory)[0]
        above.append(directory)
    return above


def beside(name: bytes) -> Iterable[bytes]:
    """Yield the name, then names beside it, short enough for NAME_MAX (255 bytes)."""
    yield name
    for number in range(1, 1000):
        suffix = b".restored-%d" % number
        yield name[: 255 - len(suffix)] + suffix
