"""The second socket of a service, for a group: where it lies, and that nobody can put another in its place."""

from __future__ import annotations

import errno
import grp
import hashlib
import os
import re
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from indexer.config.trust import open_place, shown
from indexer.errors import UsageError
from indexer.service.control import Place, answers
from indexer.service.running import SOCKET

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indexer.store import Store

RUN = Path("/run")
_PLAIN = re.compile(rb"[^A-Za-z0-9._]+")


def runtime_directory(root: bytes) -> Path:
    """Return the directory below /run in which whoever knows a store's root looks for its service's socket.

    Root makes it, or systemd (`RuntimeDirectory=`): nobody else can make a name in /run.
    """
    last = _PLAIN.sub(b"-", os.path.basename(root)).strip(b"-.")[:40].decode()
    return RUN / f"indexer-{last}-{hashlib.sha256(root).hexdigest()[:12]}"


@contextmanager
def shared_place(store: Store) -> Iterator[Place | None]:
    """Yield where the socket for others goes, None where there is to be none; tidies up what it made.

    Raises UsageError for a place that cannot be had, TrustError where others could replace the socket.
    """
    wanted = store.config.service
    if not wanted.shared:
        yield None
        return
    group = -1 if wanted.group is None else _group(wanted.group)
    usual = runtime_directory(store.root_bytes)
    socket = wanted.socket or usual / SOCKET
    made = _made(usual, needed=wanted.socket is None)
    link = None
    try:
        _check(socket)
        if wanted.socket is not None and made is not None:
            link = _signpost(usual / SOCKET, socket)
        yield Place(socket.parent, socket.name, wanted.bits, group, ours=False)
    finally:
        if link is not None:
            with suppress(FileNotFoundError):
                link.unlink()  # by path: our own directory in /run, 0755
        if made:
            with suppress(OSError):  # systemd's, or somebody put something there
                usual.rmdir()  # by path: only root writes to /run


def _group(name: str) -> int:
    try:
        return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError as error:
        raise UsageError(
            f"[service] group: there is no group {name!r}", remedy="name a group of this machine, or its number"
        ) from error


def _made(directory: Path, *, needed: bool) -> bool | None:
    """Make the directory below /run; True when it is new, False when it was there, None when it cannot be."""
    try:
        os.mkdir(directory)
        os.chmod(directory, 0o755)  # noqa: S103 - others reach the socket through it; whatever the umask
    except FileExistsError:
        return False
    except OSError as error:
        if needed:
            raise UsageError(
                f"{shown(directory)} cannot be made for the socket of [service]: {error.strerror}",
                remedy="name a socket in a directory of yours: [service] socket",
            ) from error
        return None
    return True


def _check(socket: Path) -> None:
    """Refuse a directory in which others could replace the socket, and a name that somebody has."""
    try:
        os.close(open_place(Path(os.path.realpath(socket.parent))))
        found = os.stat(socket, follow_symlinks=False)
    except FileNotFoundError as error:
        if os.path.isdir(socket.parent):
            return
        raise UsageError(
            f"[service] socket: {shown(socket.parent)} does not exist", remedy="make it, for the service's user only"
        ) from error
    except (PermissionError, NotADirectoryError) as error:
        raise UsageError(
            f"[service] socket: {shown(socket)}: {error.strerror}", remedy="name a place of the service's user"
        ) from error
    if not stat.S_ISSOCK(found.st_mode):
        raise UsageError(f"[service] socket: {shown(socket)} is there and is no socket", remedy="name another path")
    if answers(socket):
        raise UsageError(
            f"[service] socket: another process answers at {shown(socket)}", remedy="give each store one of its own"
        )


def _signpost(usual: Path, socket: Path) -> Path | None:
    """Let those who know only the root find the socket; as good as it goes."""
    try:
        if usual.is_symlink():
            usual.unlink()  # by path: our own directory in /run, 0755
        usual.symlink_to(socket)
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST}:
            raise
        return None
    return usual
