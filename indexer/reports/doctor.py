"""What stands between this machine and a store that works well, each with its remedy."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from indexer.errors import IndexDatabaseError, IndexerError, NotScannedError
from indexer.reports.class_order import class_check
from indexer.reports.limits import limit_checks
from indexer.reports.machine import Check, mount_of, platform_checks, sqlite_checks
from indexer.reports.permissions import lease_check, private_check, tree_checks
from indexer.reports.stray import trash_check
from indexer.syscalls.stat import stat_fd
from indexer.units import count, format_size, show_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from indexer.store import Store

ROOM = 256 * 1024**2
"""Bytes that should be free where the state lies: the ledger's ballast, the write-ahead log, and growth."""
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "fuse.sshfs", "9p", "lustre", "afs"}


def doctor(store: Store) -> list[Check]:
    """Look at the kernel, the capabilities, and every filesystem, database and file that the store depends on."""
    return [
        *examine_machine(),
        *_backends(store),
        *limit_checks(store),
        *_readers(store),
        *_mounts(store),
        *_leases(store),
        *_room(store),
        *_trust(store),
        private_check(store),
        *tree_checks(store),
        *_configuration(store),
        class_check(store.config.classes, store.config.store.ignore),
        *_index(store),
        trash_check(store),
    ]


def examine_machine() -> list[Check]:
    """Look only at what does not depend on a store."""
    return [*platform_checks(), *sqlite_checks()]


def _directories(store: Store) -> list[tuple[str, Path]]:
    """Return the name and path of each filesystem of the store, the root's first."""
    return [("root", store.root), *((name, store.root / name) for name in store.config.store.filesystems)]


def _absent(store: Store, name: str) -> bool:
    """Say whether a named filesystem is not mounted now."""
    if name not in store.config.store.filesystems:
        return False
    try:
        fd = os.open(store.root / name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return True
    try:
        return not stat_fd(fd).mount_root and os.fstat(fd).st_dev == os.stat(store.root).st_dev
    finally:
        os.close(fd)


def _backends(store: Store) -> Iterator[Check]:
    from indexer.watch.choose import choose_backend

    wanted = store.config.store.backend
    for name, path in _directories(store):
        if _absent(store, name):
            continue  # the check of its mount says so
        label = f"backend ({show_text(name)})"
        try:
            choice = choose_backend(path, wanted=wanted)
        except IndexerError as error:
            yield Check(label, ok=False, detail=error.message, remedy=error.remedy)
        except OSError as error:
            yield Check(
                label, ok=False, detail=f"cannot be opened: {error.strerror}", remedy="mount it, or check its mode"
            )
        else:
            poor = choice.name in {"native", "poll"} and wanted == "auto"
            remedy = "run the service as root, or with CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH" if poor else ""
            yield Check(label, ok=not poor, detail=f"{choice.name}: {choice.reason}", remedy=remedy)


def _readers(store: Store) -> Iterator[Check]:
    """Check that whoever reads can be told, where that matters."""
    from indexer.watch.choose import choose_backend

    ignored = ", ".join(show_text(name) for name in store.config.store.ignore_readers)
    if not ignored:
        return
    try:
        backend = choose_backend(store.root, store.config.store.filesystems, store.config.store.backend).name
    except (IndexerError, OSError):
        return  # the check of the backend says why
    told = backend == "fanotify"
    yield Check(
        "ignore_readers",
        ok=told,
        detail=f"{ignored}: their reading is no use, where they are still there when it is seen"
        if told
        else f"{ignored}: {backend} does not tell who reads, so their reading counts as use",
        remedy=""
        if told
        else "run the service as root, or with CAP_SYS_ADMIN, on a filesystem that fanotify can watch",
    )


def _mounts(store: Store) -> Iterator[Check]:
    by_use = [rule.name for rule in store.config.classes if "atime" in rule.clocks]
    for name, path in _directories(store):
        if _absent(store, name):
            yield Check(
                f"mount ({show_text(name)})",
                ok=False,
                detail="nothing is mounted there: its files stay in the index, and nothing of it is removed",
                remedy=f'mount it, or take "{show_text(name)}" out of [store] filesystems',
            )
            continue
        mount = mount_of(path)
        options = ",".join(mount.options)
        detail = f"{mount.kind} at {show_text(mount.point)} ({options})"
        problems, remedies = [], []
        if "ro" in mount.options:
            problems.append("read-only: it can be indexed, nothing can be removed")
            remedies.append("remount it read-write where files are to be removed")
        if "noatime" in mount.options and by_use:
            problems.append(f"noatime, and {', '.join(by_use)} age by atime: only the use that is observed counts")
            remedies.append("keep the service running, or mount with relatime")
        if mount.kind in NETWORK:
            problems.append("a network filesystem: what other hosts write raises no event here")
            remedies.append("run the service on the file server, or scan on a schedule")
        if mount.kind == "overlay":
            problems.append("overlayfs: readers through the lower layer are invisible")
            remedies.append("keep the store on a volume of its own")
        yield Check(
            f"mount ({show_text(name)})",
            ok=not problems,
            detail="; ".join([detail, *problems]),
            remedy="; ".join(remedies),
        )


def _leases(store: Store) -> Iterator[Check]:
    """Try a lease where a removal would rename to: in the control directory, and in the trash of a named filesystem."""
    yield lease_check("root", store.control)
    for name in store.config.store.filesystems:
        trash = store.trash_path(name)
        if trash.is_dir():
            yield lease_check(name, trash)


def _room(store: Store) -> Iterator[Check]:
    import psutil

    free = psutil.disk_usage(os.fspath(store.state)).free
    inodes = os.statvfs(store.state)
    enough = free >= ROOM and (inodes.f_files == 0 or inodes.f_favail > 100)
    yield Check(
        "room",
        ok=enough,
        detail=f"{format_size(free)} free for the databases",
        remedy="" if enough else f"free some space, or put [store] state where {format_size(ROOM)} are free",
    )


def _trust(store: Store) -> Iterator[Check]:
    mode = os.stat(store.control).st_mode & 0o777
    private = not mode & 0o077
    yield Check(
        "trust",
        ok=private,
        detail=f"{show_text(os.fspath(store.control))} has mode {mode:04o}; it and the configuration are obeyed",
        remedy="" if private else f"chmod 0700 {show_text(os.fspath(store.control))}",
    )
    writable = os.access(store.root, os.W_OK | os.X_OK)
    yield Check(
        "permission",
        ok=writable,
        detail="the root may be written" if writable else "this user may not write the root: nothing can be removed",
        remedy="" if writable else "run as the owner of the tree or as root",
    )


def _configuration(store: Store) -> Iterator[Check]:
    config = store.config
    where = show_text(os.fspath(config.path)) if config.path is not None else "none: index only"
    classes = f"{count(len(config.classes), 'class', 'classes')}, mode {config.store.mode}"
    yield Check(
        "configuration",
        ok=not config.warnings,
        detail="; ".join([f"{where}: {classes}", *config.warnings]),
        remedy="see `indexer config show`" if config.warnings else "",
    )


def _index(store: Store) -> Iterator[Check]:
    from indexer.index.queries import Reader

    try:
        with Reader.open(store.index_path) as reader:
            files, complete, problems = reader.live_files(), reader.complete, reader.problems()
    except NotScannedError as error:
        yield Check("index", ok=False, detail=error.message, remedy=error.remedy)
        return
    except IndexDatabaseError as error:
        yield Check("index", ok=False, detail=error.message, remedy=error.remedy)
        return
    yield Check(
        "index",
        ok=complete,
        detail=count(files) if complete else "the first scan is not complete",
        remedy="" if complete else "run `indexer scan` or `indexer watch`",
    )
    unread = [(path, code) for path, code in problems if code not in {errno.EXDEV, errno.ENODEV}]
    if unread:
        path, code = unread[0]
        first = f"{show_text(os.fsdecode(path)) or 'the root'}: {os.strerror(code)}"
        yield Check(
            "unreadable",
            ok=False,
            detail=f"{count(len(unread), 'directory', 'directories')} cannot be listed, first {first}",
            remedy="run as a user who may read them, or put them into [store] ignore",
        )
