"""Whose word counts: a configuration is obeyed only if root or the caller wrote it, and nobody else can replace it.

Otherwise whoever may write into a tree could have root delete files for them. Everything is checked on open
descriptors, from `/` downwards, and read through the descriptor that was checked: between look and use there is no
path that somebody could exchange.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from indexer.errors import TrustError
from indexer.units import show_text, user_name

LARGEST_FILE = 1024 * 1024
"""Bytes; a configuration is a few pages."""
MOST_LINKS = 8
_OTHERS = stat.S_IWGRP | stat.S_IWOTH
PATH = getattr(os, "O_PATH", os.O_RDONLY)
"""Flag for a descriptor to look through only: on Linux it needs search permission, elsewhere permission to read."""


def read_trusted(path: Path) -> tuple[bytes, os.stat_result]:
    """Return what a regular file holds, and its stat, if the caller may obey it.

    Symbolic links are followed if every directory on the way and every link passes the same test. Raises TrustError
    (owner, mode and remedy named), or OSError when it cannot be read.
    """
    for _ in range(MOST_LINKS):
        directory = open_place(Path(os.path.realpath(path.parent)))
        try:
            seen = os.stat(path.name, dir_fd=directory, follow_symlinks=False)
            check_owner(seen, path)
            if stat.S_ISLNK(seen.st_mode):
                path = path.parent / os.readlink(path.name, dir_fd=directory)
                continue
            _check_regular(seen, path)  # opening a device can do things; O_PATH would not let us read
            # O_NONBLOCK: a FIFO put here meanwhile must not hang us.
            fd = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        finally:
            os.close(directory)
        with open(fd, "rb") as file:
            opened = os.fstat(fd)
            check_owner(opened, path)
            check_unwritable(opened, path)
            _check_regular(opened, path)
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise TrustError(f"{shown(path)} is larger than 1 MiB", remedy="a configuration is a few pages of TOML")
        return content, opened
    raise TrustError(f"{shown(path)}: too many symbolic links", remedy="name the file itself")


def open_place(path: Path) -> int:
    """Open a directory (absolute, no symbolic links in it) in which only root and the caller can replace their files.

    So it is, and every directory above it: owned by root or the caller, and either not writable by others or with
    the sticky bit. Returns a descriptor for `dir_fd=` only (O_PATH). Raises TrustError, or OSError.
    """
    fd = os.open("/", PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    here = Path("/")
    try:
        _check_place(os.fstat(fd), here)
        for part in path.parts[1:]:
            here /= part
            below = os.open(part, PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            os.close(fd)
            fd = below
            _check_place(os.fstat(fd), here)
    except BaseException:
        os.close(fd)
        raise
    return fd


def open_private_directory(path: Path) -> int:
    """Open a control or state directory for reading: owned by root or the caller, not writable by others, well placed.

    Raises TrustError, or OSError when it cannot be opened.
    """
    place = open_place(Path(os.path.realpath(path.parent)))
    try:
        if stat.S_ISLNK(os.stat(path.name, dir_fd=place, follow_symlinks=False).st_mode):
            remedy = "remove the link; to keep the state elsewhere set [store] state"
            raise TrustError(f"{shown(path)} is a symbolic link", remedy=remedy)
        fd = os.open(path.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
    finally:
        os.close(place)
    try:
        opened = os.fstat(fd)
        check_owner(opened, path)
        check_unwritable(opened, path)
    except BaseException:
        os.close(fd)
        raise
    return fd


def check_owner(seen: os.stat_result, path: Path) -> None:
    """Raise TrustError unless root or the caller (effective user) owns it."""
    caller = os.geteuid()
    if seen.st_uid in {0, caller}:
        return
    remedy = f"if its contents are yours: chown {user_name(caller)} {shown(path)}"
    raise TrustError(f"{describe(seen, path)}: neither root nor you ({user_name(caller)})", remedy=remedy)


def check_unwritable(seen: os.stat_result, path: Path) -> None:
    """Raise TrustError if its group or everybody may write to it (an ACL's mask shows in the group's bits)."""
    if seen.st_mode & _OTHERS:
        raise TrustError(f"{describe(seen, path)}: others may write to it", remedy=f"chmod go-w {shown(path)}")


def _check_regular(seen: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(seen.st_mode):
        raise TrustError(f"{shown(path)} is not a regular file", remedy="put a plain file there")


def _check_place(seen: os.stat_result, path: Path) -> None:
    check_owner(seen, path)
    if seen.st_mode & _OTHERS and not seen.st_mode & stat.S_ISVTX:
        raise TrustError(
            f"{describe(seen, path)}: others could replace what lies in it",
            remedy=f"chmod go-w {shown(path)}, or chmod +t {shown(path)} if others must write there",
        )


def describe(seen: os.stat_result, path: Path) -> str:
    """Return `PATH belongs to mallory (uid 1001), mode 0775`."""
    name = user_name(seen.st_uid)
    who = f"uid {name}" if name == str(seen.st_uid) else f"{name} (uid {seen.st_uid})"
    return f"{shown(path)} belongs to {who}, mode {stat.S_IMODE(seen.st_mode):04o}"


def shown(path: Path) -> str:
    """Return a path that is safe in a message."""
    return show_text(os.fspath(path))
