"""Steps 2 and 3 of the recipe: pin the object behind a name, ask the policy again, see that nobody uses it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

from indexer.enforce import hooks
from indexer.enforce.places import describe
from indexer.enforce.victim import LEASES, Victim
from indexer.syscalls import lease
from indexer.syscalls.beneath import O_PATH
from indexer.syscalls.stat import FileStat, stat_fd

if TYPE_CHECKING:
    from indexer.policy.plan import Remove
    from indexer.records import IndexedFile

Recheck = Callable[["Remove", bytes, "IndexedFile", int], str | None]
"""(what was planned, path, the file as it is now, now) -> the word why it stays, or None: it still goes."""

NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE}

_PIN = O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC if os.name == "posix" else 0
_READ = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
_QUIET = getattr(os, "O_NOATIME", 0)
_BILLION = 1_000_000_000


def pin(
    dir_fd: int,
    device: tuple[int, int],
    victim: Victim,
    recheck: Recheck,
    now: int,
    owner: bytes,
    held: Callable[[int], bool] | None = None,
) -> bool:
    """Hold the victim so that it can be renamed; False with its outcome set when it stays.

    `device` is the directory's, `now` in Unix seconds, `owner` from `lease.signals_here()`, `held` tells whether the
    object of a descriptor carries the attribute that holds it. Raises OSError with EMFILE or ENFILE when there are no
    descriptors left: give some back and try again.
    """
    try:
        fd = os.open(victim.name, _PIN, dir_fd=dir_fd)
    except FileNotFoundError:
        victim.keep("gone")
        return False
    except OSError as error:
        if error.errno in NO_DESCRIPTORS:
            raise
        victim.fail(describe(error), error.errno)
        return False
    hooks.at("file.pinned", victim.name)
    victim.fd = fd
    try:
        st = victim.stat = stat_fd(fd)
        why = _examine(st, device, victim, recheck, now)
        if why is not None:
            victim.keep(why)
            return False
        hooks.at("file.examined", victim.name)
        kind = LEASES.get(victim.remove.rule.skip_in_use)
        # A symlink cannot be open, so nobody can be using it.
        if kind is not None and stat.S_ISREG(st.mode) and not _take_lease(victim, kind, owner):
            return False
        if held is not None and held(victim.fd):
            victim.keep("held")
            return False
    except OSError as error:
        if error.errno in NO_DESCRIPTORS:
            victim.close()
            raise
        victim.fail(describe(error), error.errno)
        return False
    finally:
        if victim.outcome is not None:
            victim.close()
    return True


def _examine(st: FileStat, device: tuple[int, int], victim: Victim, recheck: Recheck, now: int) -> str | None:
    """Return why it stays: another object, another place, or what the policy says of it as it is now."""
    file = victim.remove.file
    kind = stat.S_IFMT(st.mode)
    if kind not in {stat.S_IFREG, stat.S_IFLNK}:
        return "not_a_file"
    if (st.inode, st.btime_ns) != file.identity or kind != stat.S_IFMT(file.mode):
        return "changed"
    if st.dev != device or st.mount_root:
        return "other_filesystem"
    return recheck(victim.remove, victim.path, _fresh(file, st), now)


def _fresh(file: IndexedFile, st: FileStat) -> IndexedFile:
    """Return the indexed file with what the stat says; the same object where it says the same."""
    mtime, atime, ctime = st.mtime_ns // _BILLION, st.atime_ns // _BILLION, st.ctime_ns // _BILLION
    if (
        mtime == file.mtime
        and ctime == file.ctime
        and st.size == file.size
        and atime <= file.used_at
        and st.links == file.links
    ):
        return file
    return file._replace(
        mode=st.mode,
        uid=st.uid,
        gid=st.gid,
        size=st.size,
        allocated=st.blocks * 512,
        links=st.links,
        mtime=mtime,
        atime=atime,
        used_at=max(atime, file.used_at),
        ctime=ctime,
        btime=st.btime_ns // _BILLION if st.btime_ns else None,
        clock=None,
    )


def _take_lease(victim: Victim, kind: int, owner: bytes) -> bool:
    """Exchange the pin for an open with a lease on the same object; False with the outcome set when refused."""
    pinned = victim.fd
    path = f"/proc/self/fd/{pinned}"
    try:
        try:
            fd = os.open(path, _READ | _QUIET)
        except PermissionError as error:
            if error.errno != errno.EPERM:
                raise
            fd = os.open(path, _READ)  # O_NOATIME is for owners (open(2)); opening alone changes no atime anyway
    except OSError as error:
        if error.errno in NO_DESCRIPTORS:
            raise
        # EAGAIN: somebody else (a file server) holds a lease on it. The others: not ours to read, or no /proc here.
        victim.keep("in_use" if error.errno == errno.EAGAIN else "cannot_tell")
        return False
    # The new descriptor is the pin from here on; two at once would look like a reader to kernels before 5.3.
    victim.fd = fd
    os.close(pinned)
    hooks.at("file.reopened", victim.name)
    try:
        lease.take(fd, kind, owner)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            victim.keep("in_use")
        elif error.errno in {errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK}:
            victim.keep("cannot_tell")
        else:
            raise
        return False
    victim.lease = kind
    hooks.at("file.leased", victim.name)
    return True
