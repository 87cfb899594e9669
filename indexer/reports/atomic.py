"""A file that appears whole or not at all: written under a temporary name beside its place, synced, then renamed."""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from indexer.errors import FilesystemError, UsageError
from indexer.units import show_name

_SUFFIX = ".partial"
_MASKED = 0o666


@contextmanager
def replacing(target: Path, *, mode: int | None = None, group: str | None = None) -> Iterator[Path]:
    """Yield the path of an empty file to write; when the body ends well it takes the place of `target`.

    It gets `mode` (else what the umask leaves of 0666) and `group` (else the writer's) before it can be seen; until
    then it is 0600. What was there before stays whole until the rename, and stays when the body fails. Raises
    UsageError for a target that is not a file or a group that does not exist, FilesystemError when it cannot be
    written.
    """
    gid = _group_id(group) if group is not None else -1
    try:
        _check(target)
        directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _failed(target, error) from error
    try:
        _remove_leftovers(directory, target)
        fd, name = tempfile.mkstemp(prefix=_prefix(target), suffix=_SUFFIX, dir=target.parent)
    except OSError as error:
        os.close(directory)
        raise _failed(target, error) from error
    temporary = Path(name)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield temporary
        at = os.stat(temporary.name, dir_fd=directory)
        if at.st_ino != os.fstat(fd).st_ino or not stat.S_ISREG(at.st_mode):
            raise UsageError(f"{show_name(os.fsencode(temporary))} was exchanged while it was written", remedy=_PRIVATE)
        os.fchown(fd, -1, gid)
        os.fchmod(fd, _MASKED & ~_umask() if mode is None else mode)
        os.fsync(fd)
        os.rename(temporary.name, target.name, src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)
    except BaseException as error:
        with suppress(FileNotFoundError):
            os.unlink(temporary.name, dir_fd=directory)
        if isinstance(error, OSError):
            raise _failed(target, error) from error
        raise
    finally:
        os.close(fd)
        os.close(directory)


_PRIVATE = "Choose a directory that only you can write to."


def _prefix(target: Path) -> str:
    return f".{target.name}."


def _check(target: Path) -> None:
    """Refuse what a rename would replace though it is no file, a device above all."""
    try:
        found = os.lstat(target)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode):
        raise UsageError(
            f"{show_name(os.fsencode(target))} is there and is not a regular file", remedy="name another file"
        )


def _remove_leftovers(directory: int, target: Path) -> None:
    """Remove what a killed writer left: files of our own under temporary names that nobody holds."""
    for name in os.listdir(directory):
        if not (name.startswith(_prefix(target)) and name.endswith(_SUFFIX)):
            continue
        try:
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.ELOOP, errno.EACCES, errno.ENXIO}:
                raise
            continue  # gone, or not one of ours
        try:
            found = os.fstat(fd)
            if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name, dir_fd=directory)
        except (BlockingIOError, FileNotFoundError):
            pass  # another writer is at work, or has just finished
        finally:
            os.close(fd)


def _group_id(group: str) -> int:
    try:
        return int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise UsageError(
            f"there is no group {group!r}", remedy="name a group of this machine, or its number"
        ) from error


def _umask() -> int:
    """Return the process's umask without the moment in which os.umask() would change it for other threads."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as status:
            return next(int(line.split()[1], 8) for line in status if line.startswith("Umask:"))
    except (FileNotFoundError, StopIteration):  # not Linux
        return 0o077


def _failed(target: Path, error: OSError) -> FilesystemError:
    return FilesystemError(
        f"{show_name(os.fsencode(target))} cannot be written: {error.strerror}",
        remedy="check that its directory exists, is yours to write to, and has room",
    )
