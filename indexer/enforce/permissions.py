"""Modes and owners as `[permissions]` wants them: looked at through descriptors, and set only where that is safe.

The old trap is a hard link: whoever may write into the tree links somebody else's file into it and has root give it to
them, or open it to all. So a file with several names is named and left alone, and every change goes to the object that
was looked at, by descriptor, never by its path.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indexer.enforce.places import Places, describe, object_of
from indexer.syscalls.acl import ACCESS_ACL, DEFAULT_ACL, acl_of
from indexer.syscalls.beneath import O_PATH
from indexer.syscalls.stat import FileStat, stat_fd

if TYPE_CHECKING:
    from indexer.config.model import PermissionsConfig

EXAMPLES = 20
"""Paths that are named of each kind of finding."""
_SET_ID = stat.S_ISUID | stat.S_ISGID


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the tree should look like; None: any."""

    dir_mode: int | None
    file_mode: int | None
    uid: int | None
    gid: int | None

    @classmethod
    def of(cls, config: PermissionsConfig) -> Wanted:
        """Look up the names. Raises LookupError with the name that this machine does not know."""
        import grp
        import pwd

        return cls(
            config.dir_mode,
            config.file_mode,
            None if config.owner is None else pwd.getpwnam(config.owner).pw_uid,
            None if config.group is None else grp.getgrnam(config.group).gr_gid,
        )

    def differences(self, st: FileStat) -> tuple[str, ...]:
        """Return which of mode, owner and group of a file or directory are not as they should be."""
        mode = self.dir_mode if stat.S_ISDIR(st.mode) else self.file_mode
        found = []
        if mode is not None and stat.S_IMODE(st.mode) != mode:
            found.append("dir_mode" if stat.S_ISDIR(st.mode) else "file_mode")
        if self.uid is not None and st.uid != self.uid:
            found.append("owner")
        if self.gid is not None and st.gid != self.gid:
            found.append("group")
        return tuple(found)


@dataclass(slots=True)
class Finding:
    """How many entries have one kind of difference, and which for instance."""

    count: int = 0
    examples: list[bytes] = field(default_factory=list)

    def add(self, path: bytes) -> None:
        """Count one entry."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(path)


@dataclass(slots=True)
class Survey:
    """What a walk found, by kind: dir_mode, file_mode, owner, group, acl, hard_link."""

    findings: dict[str, Finding] = field(default_factory=dict)
    entries: int = 0
    differing: int = 0
    """Entries with at least one difference."""
    changed: int = 0
    """Entries that were mended."""
    errors: list[tuple[bytes, str]] = field(default_factory=list)

    def add(self, kind: str, path: bytes) -> None:
        """Count one difference."""
        self.findings.setdefault(kind, Finding()).add(path)

    def count(self, *kinds: str) -> int:
        """Return how many differences of these kinds there are."""
        return sum(self.findings[kind].count for kind in kinds if kind in self.findings)


def examine(places: Places, wanted: Wanted, *, mend: bool = False, stop: Callable[[], bool] = lambda: False) -> Survey:
    """Compare every directory and regular file of the store, and with `mend` set what differs, contents first.

    Symbolic links, devices and the store's own directories are passed by. What cannot be opened or changed is an item
    of `errors`.
    """
    survey = Survey()
    for path in _directories(places, survey):
        if stop():
            break
        try:
            fd = places.open(path)
        except OSError as error:
            survey.errors.append((path, describe(error)))
            continue
        try:
            device = stat_fd(fd).dev
            with os.scandir(fd) as entries:
                names = [os.fsencode(entry.name) for entry in entries if entry.is_file(follow_symlinks=False)]
            for name in names:
                _entry(fd, name, path + b"/" + name if path else name, device, wanted, survey, places, mend=mend)
            _settle(fd, stat_fd(fd), path, wanted, survey, mend=mend)
        except OSError as error:
            survey.errors.append((path, describe(error)))
        finally:
            os.close(fd)
    return survey


def _directories(places: Places, survey: Survey) -> Iterator[bytes]:
    """Yield every directory of the store, what lies below one before it, so that taking a right away comes last."""
    found = [place.base for place in places.places]
    seen = set(found)
    for path in found:  # grows while it is walked
        try:
            fd = places.open(path)
        except OSError as error:
            survey.errors.append((path, describe(error)))
            continue
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    below = path + b"/" + os.fsencode(entry.name) if path else os.fsencode(entry.name)
                    if entry.is_dir(follow_symlinks=False) and below not in seen and _ours(places, fd, below):
                        found.append(below)
        except OSError as error:
            survey.errors.append((path, describe(error)))
        finally:
            os.close(fd)
    yield from reversed(found)


def _ours(places: Places, parent_fd: int, path: bytes) -> bool:
    """True for a directory on the same filesystem that is not the store's own."""
    name = path.rpartition(b"/")[2]
    try:
        fd = os.open(name, O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=parent_fd)
    except OSError:
        return False  # gone, or exchanged for something else: the next walk meets it
    try:
        st = stat_fd(fd)
        return object_of(st) not in places.protected and st.dev == stat_fd(parent_fd).dev and not st.mount_root
    finally:
        os.close(fd)


def _entry(
    dir_fd: int,
    name: bytes,
    path: bytes,
    device: tuple[int, int],
    wanted: Wanted,
    survey: Survey,
    places: Places,
    *,
    mend: bool,
) -> None:
    try:
        fd = os.open(name, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    except FileNotFoundError:
        return
    except OSError as error:
        survey.errors.append((path, describe(error)))
        return
    try:
        st = stat_fd(fd)
        if stat.S_ISREG(st.mode) and st.dev == device and not st.mount_root and object_of(st) not in places.protected:
            _settle(fd, st, path, wanted, survey, mend=mend)
    finally:
        os.close(fd)


def _settle(fd: int, st: FileStat, path: bytes, wanted: Wanted, survey: Survey, *, mend: bool) -> None:
    """Count what differs about one pinned object, and set it."""
    survey.entries += 1
    if _has_acl(fd, directory=stat.S_ISDIR(st.mode)):
        survey.add("acl", path)
    differences = wanted.differences(st)
    if not differences:
        return
    survey.differing += 1
    for kind in differences:
        survey.add(kind, path)
    if not stat.S_ISDIR(st.mode) and st.links > 1:
        survey.add("hard_link", path)
        return
    if mend:
        try:
            _set(fd, st, wanted)
        except OSError as error:
            survey.errors.append((path, describe(error)))
        else:
            survey.changed += 1


def _set(fd: int, st: FileStat, wanted: Wanted) -> None:
    """Set owner, then mode of the object that `fd` pins, whatever its name is now.

    A file that changes hands loses setuid and setgid, as chown(2) has it: whoever could write into the tree would have
    made a program that runs as its new owner. With a wanted mode it gets that one, which has neither (`Wanted.of`).
    """
    pinned = f"/proc/self/fd/{fd}"  # O_PATH has no fchmod (open(2)); this link leads to the object itself
    uid = -1 if wanted.uid is None or wanted.uid == st.uid else wanted.uid
    gid = -1 if wanted.gid is None or wanted.gid == st.gid else wanted.gid
    if (uid, gid) != (-1, -1):
        os.chown(pinned, uid, gid)
    now = stat.S_IMODE(os.stat(pinned).st_mode)
    if stat.S_ISDIR(st.mode):
        mode = stat.S_IMODE(st.mode) if wanted.dir_mode is None else wanted.dir_mode
    else:
        mode = (now if wanted.file_mode is None else wanted.file_mode) & ~_SET_ID
    if now != mode:
        os.chmod(pinned, mode)


def _has_acl(fd: int, *, directory: bool) -> bool:
    """True when the object has an access or a default ACL: then the mode's group bits are the ACL's mask (acl(5))."""
    pinned = f"/proc/self/fd/{fd}"
    return any(acl_of(pinned, name) for name in ((ACCESS_ACL, DEFAULT_ACL) if directory else (ACCESS_ACL,)))
