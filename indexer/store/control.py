"""The control directory: where it can be, made 0700 whatever the umask, and marked by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.config.trust import PATH, open_place, open_private_directory, shown
from indexer.errors import FilesystemError, NoStoreError, TrustError, UsageError
from indexer.store.identity import Marker, difference, mark, read_marker, write_marker
from indexer.store.locks import locked
from indexer.store.moving import move_trash
from indexer.store.open import as_store, outside_of_tree
from indexer.store.places import CONTROL, may_write, private_state, state_home

if TYPE_CHECKING:
    from indexer.config import Config
    from indexer.store.store import Store

_UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL = {errno.ENOSPC, errno.EDQUOT}
_DERIVED = ("index.db", "index.db-wal", "index.db-shm", "index.db-journal")


def make_control(root: Path, state: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the store's control directory, made if need be: in the root, else the state, else a private one."""
    elsewhere = Path(os.path.realpath(state)) if state else None
    try:
        place = open_place(root)
    except TrustError as error:
        if elsewhere is None and may_write(root):
            raise outside_of_tree(error) from error
        return _made(elsewhere or _private(root, environ))
    try:
        os.mkdir(CONTROL, 0o700, dir_fd=place)
    except FileExistsError:
        pass
    except OSError as error:
        if error.errno in _UNWRITABLE:
            return _made(elsewhere or _private(root, environ))
        what = "make room" if error.errno in _FULL else "name a directory in which files can be made"
        raise FilesystemError(
            f"{shown(root / CONTROL)} cannot be made: {error.strerror}",
            remedy=f"{what}, or keep the state on another filesystem: [store] state",
        ) from error
    finally:
        os.close(place)
    if elsewhere is not None:
        _made(elsewhere)
    return root / CONTROL


def _private(root: Path, environ: Mapping[str, str]) -> Path:
    """Return the caller's private state for this very tree, or the path of a new one."""
    return private_state(root, environ, exact=True) or state_home(environ) / str(uuid.uuid4())


def _made(directory: Path) -> Path:
    """Make a directory, 0700 as all that had to be made above it."""
    missing = [level for level in (directory, *directory.parents) if not os.path.lexists(level)]
    for level in reversed(missing):
        try:
            os.mkdir(level)
            os.chmod(level, 0o700)  # whatever the umask
        except FileExistsError:
            continue
        except OSError as error:
            raise FilesystemError(
                f"{shown(level)} cannot be made: {error.strerror}",
                remedy="name a directory that you may write to: [store] state, or XDG_STATE_HOME",
            ) from error
    return directory


@contextmanager
def _exclusive(directory: Path) -> Iterator[int]:
    """Hold a control directory, so that two processes that start together make one store."""
    try:
        fd = open_private_directory(directory)
    except TrustError as error:
        raise outside_of_tree(error) from error
    except PermissionError as error:
        raise FilesystemError(
            f"{shown(directory)} is private to the user whose store it is", remedy="run as that user (sudo -u …)"
        ) from error
    try:
        if os.fstat(fd).st_uid == os.geteuid():
            os.fchmod(fd, 0o700)  # whatever the umask
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    except OSError as error:
        raise FilesystemError(
            f"{shown(directory)}: {error.strerror}", remedy="make room, or mount it writable"
        ) from error
    finally:
        os.close(fd)


def make_marker(
    root: Path, control: Path, config: Config, *, adopt: bool, settle: Callable[[Store], None] | None = None
) -> None:
    """Write the marker, and a second one into a state of its own, unless they are there.

    `adopt` takes the trashes along, also those that an adoption which was cut off has left behind. A crash at any
    point leaves a store that is refused until it is adopted again. `settle`: see `initialise_store`.
    """
    names = config.store.filesystems
    own_state = Path(os.path.realpath(config.store.state)) if config.store.state else control
    with _exclusive(control) as fd, ExitStack() as locks:
        marker, former = _marker(root, control, fd, adopt=adopt)
        if adopt and former != "":
            locks.enter_context(locked(control / "service.lock", "service"))
            locks.enter_context(locked(control / "run.lock", "run"))
            before = read_marker(fd, control)
            move_trash(root, names, before)
            if settle is not None:
                settle(as_store(root, config, control, before, own_state))
        if former:
            _drop_index(own_state)
        if own_state != control:
            _mark_state(own_state, control, marker, former)
        else:
            _refuse_other_state(marker, control)
        noted = replace(marker, state=os.fspath(own_state) if own_state != control else "")
        if former is not None:
            write_marker(fd, noted)
        elif noted != marker:
            _note(fd, noted)
        if former:
            move_trash(root, names, marker)


def _marker(root: Path, control: Path, fd: int, *, adopt: bool) -> tuple[Marker, str | None]:
    """Return (marker, former id: "" for a new store, None when the marker stands as it is)."""
    root_fd = os.open(root, PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            marker = read_marker(fd, control)
        except NoStoreError:
            marker = mark(root_fd, root, int(os.fstat(fd).st_mtime))
            # A private state is called by its id (CONTRACT §2).
            return (replace(marker, id=control.name) if _is_id(control.name) else marker), ""
        if adopt and difference(marker, root_fd):
            return mark(root_fd, root, marker.created, adopted_from=marker.id), marker.id
        return marker, None
    finally:
        os.close(root_fd)


def _is_id(name: str) -> bool:
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False


def _mark_state(state: Path, control: Path, marker: Marker, former: str | None) -> None:
    """Put the store's id into a state of its own: a ledger left behind elsewhere would be a second truth."""
    with _exclusive(state) as fd:
        try:
            there = read_marker(fd, state)
        except NoStoreError:
            _refuse_other_state(marker, state)
            if (control / "ledger.db").exists():
                raise FilesystemError(
                    f"this store's databases still lie in {shown(control)}",
                    remedy=f"stop the service, then: mv {shown(control)}/*.db* {shown(state)}/",
                ) from None
            write_marker(fd, marker)
            return
        # The third: an adoption that was cut off has marked the state and not the control directory.
        if there.id not in {marker.id, former} and not (former and there.adopted_from == former):
            raise FilesystemError(
                f"{shown(state)} is the state of another store", remedy="give each store a [store] state of its own"
            )
        if there.id != marker.id:
            write_marker(fd, marker)


def _note(fd: int, marker: Marker) -> None:
    """Note where the state is, unless there is no writing here now: the marker stands as it is."""
    try:
        write_marker(fd, marker)
    except OSError as error:
        if error.errno not in _UNWRITABLE | _FULL:
            raise


def _refuse_other_state(marker: Marker, state: Path) -> None:
    """Raise UsageError when this store's databases lie elsewhere than in `state`, which is not marked as theirs."""
    noted = Path(marker.state)
    if not marker.state or noted == state:
        return
    try:
        directory = open_private_directory(noted)
    except (OSError, TrustError):
        return  # lost, or moved
    try:
        still = read_marker(directory, noted).id == marker.id
    except NoStoreError:
        return
    finally:
        os.close(directory)
    if still:
        raise UsageError(
            f"this tree is a store already, whose databases lie in {shown(noted)}",
            remedy="one tree is one store: name that [store] state; to keep them elsewhere, stop the service, then: "
            f"mv {shown(noted)}/* {shown(state)}/",
        ) from None


def _drop_index(state: Path) -> None:
    """The handles in the index are those of the tree it was copied from; a scan makes a new one."""
    for name in _DERIVED:
        (state / name).unlink(missing_ok=True)  # by path: the state directory is 0700
