"""Declared trees: a mapping becomes a real tree, and a real tree is read back by a plain walk, the oracle of the index.

make(root, {"uploads": {"a.mp4": b"film", "old.mp4": File(size=5, mtime=0)}, "latest": Symlink("uploads/a.mp4")})
walk(root)[b"uploads/a.mp4"].size == 4
"""

from __future__ import annotations

import os
import random
import stat
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

CONTROL = b".indexer"
CONFIGURATION = b"indexer.toml"


@dataclass(frozen=True, slots=True)
class File:
    """A regular file: `content`, or `size` bytes of a hole; times in Unix seconds (None: now)."""

    content: bytes = b""
    size: int | None = None
    mtime: float | None = None
    atime: float | None = None
    mode: int | None = None


@dataclass(frozen=True, slots=True)
class Symlink:
    """A symbolic link to `target`, which need not exist."""

    target: str | bytes


@dataclass(frozen=True, slots=True)
class HardLink:
    """A further name of a file declared earlier; `target` is relative to the root of the declared tree."""

    target: str | bytes


@dataclass(frozen=True, slots=True)
class Fifo:
    """A named pipe."""


Leaf = bytes | File | Symlink | HardLink | Fifo
Tree = Mapping[str, "Node"] | Mapping[bytes, "Node"] | Mapping[str | bytes, "Node"]
Node = Leaf | Tree


class Seen(NamedTuple):
    """What a plain walk sees of one name; times are whole Unix seconds, as in the views."""

    kind: str
    """file, symlink or other, as in the view `files`."""
    size: int
    mtime: int
    allocated: int
    links: int
    mode: int
    """Permission bits, as in the view."""
    uid: int
    gid: int
    inode: int
    mtime_ns: int
    atime_ns: int
    ctime_ns: int


def make(root: str | bytes | Path, tree: Tree) -> None:
    """Create `tree` below `root`, which is created too when it is missing."""
    top = os.fsencode(root)
    os.makedirs(top, exist_ok=True)
    for path, node in _declared(b"", tree):
        _create(top, path, node)


def _declared(prefix: bytes, tree: Tree) -> Iterator[tuple[bytes, Node]]:
    for name, node in tree.items():
        path = prefix + os.fsencode(name)
        yield path, node
        if isinstance(node, Mapping):
            yield from _declared(path + b"/", node)


def _create(top: bytes, path: bytes, node: Node) -> None:
    place = os.path.join(top, path)
    match node:
        case Symlink(target):
            os.symlink(os.fsencode(target), place)
        case HardLink(target):
            os.link(os.path.join(top, os.fsencode(target)), place)
        case Fifo():
            os.mkfifo(place)
        case bytes() as content:
            _write(place, File(content))
        case File():
            _write(place, node)
        case _:
            os.makedirs(place, exist_ok=True)


def _write(place: bytes, file: File) -> None:
    with open(place, "wb") as stream:
        stream.write(file.content)
        if file.size is not None:
            stream.truncate(file.size)
    if file.mode is not None:
        os.chmod(place, file.mode)
    if file.mtime is not None or file.atime is not None:
        now = os.stat(place)
        mtime = now.st_mtime if file.mtime is None else file.mtime
        atime = now.st_atime if file.atime is None else file.atime
        os.utime(place, (atime, mtime))


def walk(root: str | bytes | Path, *, enter: Collection[bytes] = ()) -> dict[bytes, Seen]:
    """Return every name below `root` that is not a directory, by its path relative to `root`.

    Plain on purpose: scandir and lstat, nothing shared with the program. It holds one descriptor, so depth is bounded
    by nothing, and never uses a path longer than one name. Symbolic links are not followed; other filesystems are not
    entered, except the directories in `enter`. The store's own control directory and configuration are left out.
    """
    return {path: entry for path, entry in _walk(root, enter) if entry.kind != "directory"}


def directories(root: str | bytes | Path, *, enter: Collection[bytes] = ()) -> set[bytes]:
    """Return the paths of all directories below `root`, relative to it, without the control directory."""
    return {path for path, entry in _walk(root, enter) if entry.kind == "directory"}


def _walk(root: str | bytes | Path, enter: Collection[bytes]) -> Iterator[tuple[bytes, Seen]]:
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        device = os.fstat(fd).st_dev
        pending = [_listed(fd, b"")]
        while pending:
            entry = next(pending[-1], None)
            if entry is None:
                pending.pop()
                if pending:
                    fd = _step(fd, b"..")
                continue
            path, name, status = entry
            yield path, _seen(status)
            if stat.S_ISDIR(status.st_mode) and (status.st_dev == device or path in enter):
                fd = _step(fd, name)
                pending.append(_listed(fd, path + b"/"))
    finally:
        os.close(fd)


def _step(fd: int, name: bytes) -> int:
    below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
    os.close(fd)
    return below


def _listed(fd: int, prefix: bytes) -> Iterator[tuple[bytes, bytes, os.stat_result]]:
    own = (CONTROL, CONFIGURATION) if not prefix else ()
    names = sorted(os.fsencode(name) for name in os.listdir(fd))
    return iter([(prefix + name, name, os.lstat(name, dir_fd=fd)) for name in names if name not in own])


def _seen(status: os.stat_result) -> Seen:
    mode = status.st_mode
    named = {stat.S_IFREG: "file", stat.S_IFLNK: "symlink", stat.S_IFDIR: "directory"}
    return Seen(
        kind=named.get(stat.S_IFMT(mode), "other"),
        size=status.st_size,
        mtime=status.st_mtime_ns // 10**9,
        allocated=status.st_blocks * 512,
        links=status.st_nlink,
        mode=stat.S_IMODE(mode),
        uid=status.st_uid,
        gid=status.st_gid,
        inode=status.st_ino,
        mtime_ns=status.st_mtime_ns,
        atime_ns=status.st_atime_ns,
        ctime_ns=status.st_ctime_ns,
    )


HOSTILE = (
    b"new\nline",
    b"\x1b[31mred\x1b[0m",
    b"not utf-8 \xff\xfe",
    b"\xed\xa0\x80",  # a lone surrogate, which Python's own escapes use
    b" leading and trailing ",
    b"-rf",
    b"--help",
    b"'; DROP TABLE file; --",
    b'quo"te',
    b"back\\slash\\xff",
    b"%s%n%d",
    b"*?[a]",
    b"!negated",
    b"#comment",
    b"tab\tbell\x07",
    "right-to-left \u202egnp.exe".encode(),
    "e\u0301".encode(),
    "é".encode(),
    b"n" * 255,
    b"...",
    b"~",
    b"CON",
)
"""Legal names that have broken programs."""


def hostile_names(seed: int, count: int) -> list[bytes]:
    """Return `count` different legal names: the known trouble makers first, then random bytes, the same for a seed."""
    chance = random.Random(seed)
    names = dict.fromkeys(HOSTILE[:count])
    alphabet = [bytes([byte]) for byte in range(1, 256) if byte != ord("/")]
    while len(names) < count:
        name = b"".join(chance.choices(alphabet, k=chance.randint(1, 40)))
        if name not in {b".", b".."}:
            names[name] = None
    return list(names)
