"""What the machine offers: kernel, capabilities, mounts, SQLite."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

try:  # what the index picks as well
    from pysqlite3 import dbapi2 as sqlite3
except ImportError:
    import sqlite3

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOUND_SQLITE = (3, 51, 3)
"""Before it, a reset of the write-ahead log beside a checkpoint can corrupt a database (sqlite.org, 3.51.3)."""
CAPABILITIES = {
    21: ("CAP_SYS_ADMIN", "fanotify: one mark instead of a watch for each directory"),
    2: ("CAP_DAC_READ_SEARCH", "reaching directories by handle, and reading those of other users"),
    28: ("CAP_LEASE", "seeing whether somebody has another user's file open before it is removed"),
    3: ("CAP_FOWNER", "reading without touching access times"),
}
"""Bit in linux/capability.h: name, and what it buys."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding; `remedy` is empty when all is well."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Mount:
    """Where a directory lies."""

    point: str
    kind: str
    options: tuple[str, ...]


def platform_checks() -> Iterator[Check]:
    """Check the kernel's age and what this process may do."""
    release = platform.release()
    if sys.platform != "linux":
        yield Check("kernel", ok=True, detail=f"{platform.system()} {release}: the native backend")
        return
    numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
    new_enough = numbers >= (5, 9)
    remedy = "" if new_enough else "run Linux 5.9 or newer, which has fanotify with names"
    yield Check("kernel", ok=new_enough, detail=f"Linux {release}", remedy=remedy)
    effective = _capabilities()
    missing = [text for bit, text in CAPABILITIES.items() if not effective >> bit & 1]
    held = [name for bit, (name, _) in CAPABILITIES.items() if effective >> bit & 1]
    yield Check(
        "capabilities",
        ok=True,  # without them there is inotify, and a user's own files: what they would buy is advice
        detail=f"this process has {', '.join(held) or 'none of those that help'}",
        remedy="; ".join(f"{name} would buy {gain}" for name, gain in missing),
    )


def _capabilities() -> int:
    with open("/proc/self/status", encoding="utf-8", errors="replace") as status:
        return next((int(line.split()[1], 16) for line in status if line.startswith("CapEff:")), 0)


def mount_of(path: Path) -> Mount:
    """Return the mount that `path` lies on: the longest mount point above it, the last mounted where several are."""
    import psutil

    place = os.path.realpath(path)
    best = Mount("/", "unknown", ())
    for found in psutil.disk_partitions(all=True):
        point = found.mountpoint
        inside = point in ("/", place) or place.startswith(point + "/")
        if inside and len(point) >= len(best.point):
            best = Mount(point, found.fstype, tuple(found.opts.split(",")))
    return best


def sqlite_checks() -> Iterator[Check]:
    """Check the SQLite that the databases are opened with."""
    version = tuple(int(part) for part in sqlite3.sqlite_version.split("."))
    sound = version >= SOUND_SQLITE
    yield Check(
        "sqlite",
        ok=sound,
        detail=f"{sqlite3.sqlite_version} by {sqlite3.__name__.split('.')[0]}",
        remedy=""
        if sound
        else "pip install pysqlite3 where it has a wheel: SQLite before 3.51.3 has the WAL-reset bug",
    )
