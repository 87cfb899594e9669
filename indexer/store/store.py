"""An opened store: what everybody above needs to know of it, checked for trust and identity."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.config.trust import PATH, open_private_directory, shown
from indexer.errors import FilesystemError, UsageError
from indexer.store.identity import (
    MARKER,
    Marker,
    PrivateStoreError,
    RootChangedError,
    RootMissingError,
    difference,
    read_marker,
)
from indexer.store.locks import holder, locked
from indexer.store.own import has_trash_of, other_stores, trash_parent
from indexer.store.places import CONTROL

if TYPE_CHECKING:
    from indexer.config import Config

_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENOTCONN, errno.ELOOP}


@dataclass(frozen=True, slots=True)
class Store:
    """One logical tree with its configuration and its state. Made by `open_store` and `initialise_store`."""

    root: Path
    id: str
    control: Path
    """The control directory: marker, locks, socket. `.indexer` below the root, or the state where that cannot be."""
    state: Path
    """Where the databases lie: the control directory, or `[store] state`."""
    config: Config
    marker: Marker
    keep_reason: str = ""
    """Why nothing may ever be removed from this tree by this caller; "" when removal is a matter of mode and policy."""

    socket: Path | None = None
    """Where the service answers a caller who may not open the databases; None for those who may."""

    @property
    def root_bytes(self) -> bytes:
        """The root's path as bytes."""
        return os.fsencode(self.root)

    @property
    def may_remove(self) -> bool:
        """False for a tree that the caller cannot write to; `keep_reason` says so, and the mode is `report`."""
        return not self.keep_reason

    @property
    def index_path(self) -> Path:
        """The derived database."""
        self._must_be_owner()
        return self.state / "index.db"

    @property
    def ledger_path(self) -> Path:
        """The journal."""
        self._must_be_owner()
        return self.state / "ledger.db"

    def trash_path(self, filesystem: str = "") -> Path:
        """Return the trash of the root's own filesystem (""), or of one that `[store] filesystems` names.

        It lies on that filesystem, since a rename cannot leave it. Its parent is named after the store's id where it
        is not the control directory itself, so that it cannot be mistaken for an ordinary one.
        """
        if not filesystem and self.control == self.root / CONTROL:
            return self.control / "trash"
        return self.root / filesystem / trash_parent(self.id) / "trash"

    def exempt(self) -> frozenset[tuple[int, int]]:
        """Return (st_dev, st_ino) of what is the store's own and so neither indexed nor in any class.

        The control directory, the state, the directories around each trash, and the configuration file: those that
        are there now. Nothing else, whatever its name.
        """
        own = [self.control, self.state, *(self.trash_path(name).parent for name in self._filesystems())]
        if self.config.path is not None:
            own.append(self.config.path)
        found = set()
        for path in own:
            try:
                status = os.stat(path, follow_symlinks=path == self.config.path)
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                continue
            found.add((status.st_dev, status.st_ino))
        return frozenset(found)

    def open_root(self) -> int:
        """Open the root (O_PATH) after making sure that it is the tree that was initialised.

        Raises RootMissingError or RootChangedError (both FilesystemError): whoever gets them must not conclude
        anything about the store's files. The descriptor is the caller's.
        """
        self._must_be_owner()
        try:
            fd = os.open(self.root, PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in _GONE:
                raise RootMissingError(
                    f"{shown(self.root)}, the root of the store, is not there: {error.strerror}",
                    remedy="mount it, or move it back",
                ) from error
            remedy = "run as a user who may enter it"
            raise FilesystemError(f"{shown(self.root)}: {error.strerror}", remedy=remedy) from error
        try:
            self._verify(fd)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def _verify(self, root_fd: int) -> None:
        if self.control == self.root / CONTROL:
            self._verify_marker(root_fd)
        if changed := difference(self.marker, root_fd):
            raise RootChangedError(
                f"{shown(self.root)} is not the tree that was initialised as a store: {changed}",
                remedy="mount the right one; if this is a copy, or was restored from a backup, or its filesystem was "
                f"moved: indexer init --adopt {shown(self.root)}",
            )
        former = self.marker.adopted_from
        if former and has_trash_of(root_fd, former):
            raise RootChangedError(
                f"{shown(self.root / trash_parent(former))} is the trash that this store had before it was adopted",
                remedy=f"take it over too: indexer init --adopt {shown(self.root)}",
            )

    def _verify_marker(self, root_fd: int) -> None:
        """The marker must be there now, through the very directory that was opened."""
        try:
            control = os.open(CONTROL, PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root_fd)
        except OSError as error:
            raise RootChangedError(
                f"{shown(self.root)} has no {CONTROL}/{MARKER} now: {error.strerror}",
                remedy="is the store's filesystem mounted? Nothing is concluded from what is there",
            ) from error
        try:
            there = read_marker(control, self.control).id
        except FileNotFoundError as error:
            raise AssertionError("read_marker says NoStoreError") from error
        finally:
            os.close(control)
        if there != self.id:
            raise RootChangedError(
                f"{shown(self.root)} is another store now ({there})", remedy="mount the right one, or start again"
            )

    @contextmanager
    def service_lock(self, wait: float = 0.0) -> Iterator[None]:
        """Hold the store as its one writer; waits up to `wait` seconds. Raises BusyError with the holder's pid."""
        self._must_be_owner()
        with locked(self.control / "service.lock", "service", wait):
            self._make_trash_parents()
            yield

    @contextmanager
    def run_lock(self, wait: float = 0.0) -> Iterator[None]:
        """Hold the right to remove, one run at a time; waits up to `wait` seconds. Raises BusyError."""
        self._must_be_owner()
        with locked(self.control / "run.lock", "run", wait):
            self._make_trash_parents()
            yield

    def service_pid(self) -> int | None:
        """Return the process that holds the service lock (0: it did not say), None when there is none."""
        return holder(self.control / "service.lock")

    def _must_be_owner(self) -> None:
        """Refuse what the service does for nobody else."""
        if self.socket is not None:
            raise PrivateStoreError(
                f"{shown(self.root)}: the databases are private to the service's user, who does not do this for others",
                remedy="run it as that user or as root; for SQL there is the published copy: [publish]",
            )

    def _filesystems(self) -> tuple[str, ...]:
        return ("", *self.config.store.filesystems)

    def _make_trash_parents(self) -> None:
        """Make the directory around each trash before anything is indexed, so that `exempt` knows it by its inode.

        Raises UsageError instead where another store has one in this tree: this one has never done anything here.
        """
        if not self.may_remove:
            return
        root_device = os.stat(self.root).st_dev
        for name in self._filesystems():
            parent = self.trash_path(name).parent
            try:
                if name and os.stat(self.root / name).st_dev == root_device and not os.path.ismount(self.root / name):
                    continue  # not mounted now: what is made here would be hidden later
                if not name and not parent.exists() and parent != self.control:
                    refuse_other(self.root, {self.id})
                os.mkdir(parent)
                os.chmod(parent, 0o700)  # whatever the umask
            except (FileExistsError, FileNotFoundError, NotADirectoryError, PermissionError):
                continue
            except OSError as error:
                if error.errno not in {errno.EROFS, errno.ENOSPC, errno.EDQUOT}:
                    raise


def refuse_other(root: Path, ids: Collection[str]) -> None:
    """Raise UsageError when the trash of a store other than `ids` lies in the root: one tree, one store."""
    if others := other_stores(root, ids):
        there = shown(root / trash_parent(others[0]))
        raise UsageError(
            f"{shown(root)} is the store {others[0]} already, whose trash is {there}",
            remedy="use that store, with the configuration and the state that it was made with; if it is given up, "
            f"and nothing in its trash is wanted any more: rm -r {there}",
        )


def open_control(path: Path) -> tuple[Path, Marker]:
    """Return a control directory, if it may be trusted, with its marker.

    Raises TrustError, NoStoreError, FilesystemError when it is private to somebody else.
    """
    try:
        fd = open_private_directory(path)
    except PermissionError as error:
        raise PrivateStoreError(
            f"{shown(path)} is private to the user whose store it is",
            remedy="run as that user (sudo -u …); others read the published copy",
        ) from error
    try:
        return path, read_marker(fd, path)
    finally:
        os.close(fd)
