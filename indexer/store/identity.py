"""Which tree this is: `store.json`, the marker that says that the root is mounted and is the one that was indexed.

A path proves nothing: an empty mount point, another disk or a copy may stand there. So the marker remembers the
root's file handle and filesystem, and a root that does not agree is refused before anybody concludes from its
emptiness that files were deleted (DESIGN §4).
"""

from __future__ import annotations

import json
import os
import struct
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from indexer.config.trust import check_owner, check_unwritable, shown
from indexer.errors import FilesystemError, NoStoreError
from indexer.syscalls.fsuuid import filesystem_uuid
from indexer.syscalls.handles import handle_of, is_openable

MARKER = "store.json"
VERSION = 1


class RootMissingError(FilesystemError):
    """Nothing, or no directory, stands where the store's root was."""

    code: ClassVar[str] = "root_missing"


class RootChangedError(FilesystemError):
    """Another directory stands where the store's root was: an empty mount point, another disk, a copy."""

    code: ClassVar[str] = "root_changed"


class PrivateStoreError(FilesystemError):
    """The store's control directory is another user's; his service may answer all the same (`[service]`)."""

    code: ClassVar[str] = "private"


@dataclass(frozen=True, slots=True)
class Marker:
    """What `store.json` holds."""

    id: str
    root: str
    """Its path when it was made (undecodable bytes as surrogates): for people, and to find private state again."""
    root_handle: str
    """name_to_handle_at(2) of the root, hex."""
    root_inode: int
    fsid: str
    """f_fsid of statvfs, hex."""
    fsuuid: str
    """UUID of the filesystem, hex; "" where it is not known."""
    created: int
    """Unix seconds."""
    adopted_from: str = ""
    """Id of the store that this one was copied or restored from."""
    state: str = ""
    """Where its databases lie, if that is a directory of its own; "" also in markers from before this was noted."""
    version: int = VERSION


def mark(root_fd: int, root: Path, created: int, adopted_from: str = "") -> Marker:
    """Return a new marker, with an id of its own, for the root that `root_fd` is."""
    import uuid

    return Marker(
        id=str(uuid.uuid4()),
        root=os.fspath(root),
        root_handle=handle_of(root_fd).hex(),
        root_inode=os.fstat(root_fd).st_ino,
        fsid=f"{os.fstatvfs(root_fd).f_fsid:016x}",
        fsuuid=filesystem_uuid(root_fd),
        created=created,
        adopted_from=adopted_from,
    )


def difference(marker: Marker, root_fd: int) -> str:
    """Return in what the directory `root_fd` differs from the marked one, "" when it is the same."""
    if os.fstat(root_fd).st_ino != marker.root_inode or not _same_handle(marker.root_handle, handle_of(root_fd)):
        return "it is another directory"
    uuid_now = filesystem_uuid(root_fd)
    if uuid_now and marker.fsuuid:
        return "" if uuid_now == marker.fsuuid else "it lies on another filesystem"
    # Without UUIDs: f_fsid, which is made from the UUID on ext4 and btrfs, and from the device number on xfs.
    same = f"{os.fstatvfs(root_fd).f_fsid:016x}" == marker.fsid
    return "" if same else "it lies on another filesystem, or on another device than before"


def _same_handle(marked: str, now: bytes) -> bool:
    """Compare handles; a real one and a stand-in say nothing about each other (a container may show only stand-ins)."""
    try:
        then = bytes.fromhex(marked)
        return then == now or is_openable(then) != is_openable(now)
    except (ValueError, struct.error):  # a marker that somebody has edited
        return False


def read_marker(directory: int, path: Path) -> Marker:
    """Return the marker in a control directory (open, checked; `path` for messages).

    Raises NoStoreError when there is none, FilesystemError when it is damaged or newer than this program.
    """
    try:
        fd = os.open(MARKER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError as error:
        raise NoStoreError(f"{shown(path)} holds no {MARKER}", remedy="indexer init makes it a store") from error
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        check_owner(status, path / MARKER)
        check_unwritable(status, path / MARKER)
        content = file.read(65536)
    return parse_marker(content, path / MARKER)


def parse_marker(content: bytes, path: Path) -> Marker:
    """Return the marker that `content` says. Raises FilesystemError."""
    try:
        values: dict[str, Any] = json.loads(content)
        version = values["version"]
        known = {name: values[name] for name in Marker.__dataclass_fields__ if name in values}
        marker = Marker(**known)
    except (ValueError, TypeError, KeyError) as error:
        raise FilesystemError(
            f"{shown(path)} is damaged", remedy=f"restore it from a backup, or: rm {shown(path)}; indexer init"
        ) from error
    if version != VERSION:
        raise FilesystemError(
            f"{shown(path)} was written by a newer version of indexer", remedy="update this one: pip install -U"
        )
    return marker


def write_marker(directory: int, marker: Marker) -> None:
    """Write `store.json` into an open control directory: whole or not at all, and durably. Raises OSError."""
    temporary = f".{MARKER}.{os.getpid()}"
    content = json.dumps(asdict(marker), indent=1) + "\n"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=directory)  # of a process that died with the same id
    with open(os.open(temporary, flags, 0o600, dir_fd=directory), "w", encoding="ascii") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, MARKER, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)
