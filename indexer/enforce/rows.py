"""The rows of the ledger as plain values, and how bytes become its columns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from indexer.records import Identity
from indexer.units import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from indexer.syscalls.stat import FileStat

_SIGNED = 2**63
_WORD = 2**64


def path_columns(path: bytes) -> tuple[str, bytes | None]:
    """Return (path, path_bytes): the text alone where it is exact, else the escaped text and the bytes."""
    try:
        return path.decode(), None
    except UnicodeDecodeError:
        return text_of(path), path


def path_of(text: str, exact: bytes | None) -> bytes:
    """Return the bytes of a path from its two columns."""
    return text.encode() if exact is None else bytes(exact)


def signed(inode: int) -> int:
    """Return a 64-bit inode number as SQLite stores it; NFS and FUSE use the highest bit."""
    return inode - _WORD if inode >= _SIGNED else inode


def unsigned(inode: int) -> int:
    """The inverse of `signed`."""
    return inode + _WORD if inode < 0 else inode


class Intent(NamedTuple):
    """What a run is about to do, in the order of the columns; `seq` counts from 1 within the run."""

    seq: int
    path: str
    path_bytes: bytes | None
    filesystem: str
    class_name: str | None
    action: str
    reason: str
    size: int
    allocated: int
    links: int
    uid: int
    gid: int
    mode: int
    inode: int
    birth_ns: int
    mtime_ns: int
    used_at: int | None
    clock_at: int | None
    ttl: int | None
    trash_name: str | None
    trash_ttl: int | None = None
    """Seconds that the trash will keep it, by the class as it is now."""
    child: str | None = None
    """The child directory that it goes with, as text; None: by itself."""
    origin: int | None = None
    """The number, in this run, of the directory that it lies in (of a directory that goes: its own); None: unknown."""


class Ending(NamedTuple):
    """What became of an intent, in the order of the statement; the figures are those of the object itself."""

    outcome: str
    error: str | None
    at: int
    in_trash: int | None
    restorable_until: int | None
    size: int
    allocated: int
    links: int
    uid: int
    gid: int
    mode: int
    inode: int
    birth_ns: int
    mtime_ns: int
    run: int
    seq: int


class Plain(NamedTuple):
    """An ending that leaves the figures as they were announced."""

    outcome: str
    error: str | None
    at: int
    in_trash: int | None
    restorable_until: int | None
    run: int
    seq: int


def ranges(rows: Iterable[Plain]) -> Iterator[tuple[Any, ...]]:
    """Yield endings that say the same of consecutive numbers as one row each: what is said, run, first and last number.

    Files of one batch mostly end alike: 0.3 µs a file instead of 3 (measured).
    """
    first = last = None
    for row in rows:
        if last is not None and row[:6] == last[:6] and row.seq == last.seq + 1:
            last = row
            continue
        if first is not None and last is not None:
            yield (*first, last.seq)
        first = last = row
    if first is not None and last is not None:
        yield (*first, last.seq)


class Action(NamedTuple):
    """One row of `action`. Times are Unix seconds unless they end in _ns; sizes are bytes."""

    run: int
    seq: int
    path: bytes
    filesystem: str
    class_name: str | None
    action: str
    """trash | delete | rmdir."""
    reason: str
    size: int
    allocated: int
    links: int
    uid: int
    gid: int
    mode: int
    identity: Identity
    mtime_ns: int
    used_at: int | None
    clock_at: int | None
    ttl: int | None
    trash_name: str | None
    outcome: str | None
    """None: an intent in flight, or cut off by a crash; else one of outcomes.OUTCOMES."""
    error: str | None
    at: int | None
    in_trash: bool
    restorable_until: int | None
    left_run: int | None
    left_at: int | None
    restored_to: bytes | None
    trash_ttl: int | None
    child: str | None
    """The child directory that it went with, as text."""
    origin: int | None
    """The number of the directory that it lay in (of a directory: its own) in `origin`; None: unknown, or the root."""


ACTION_COLUMNS = (
    "run_id, seq, path, path_bytes, filesystem, class, action, reason, size, allocated, links, uid, gid, mode, inode,"
    " birth_ns, mtime_ns, used_at, clock_at, ttl, trash_name, outcome, error, at, in_trash, restorable_until,"
    " left_run, left_at, restored_to, restored_to_bytes, trash_ttl, child, origin"
)


def action_of(row: tuple[Any, ...]) -> Action:
    """Make an Action of a row of ACTION_COLUMNS."""
    (run, seq, path, path_bytes, filesystem, class_name, action, reason, size, allocated, links, uid, gid, mode) = row[
        :14
    ]
    inode, birth_ns, mtime_ns, used_at, clock_at, ttl, trash_name, outcome, error, at, in_trash, until = row[14:26]
    left_run, left_at, restored_to, restored_to_bytes, trash_ttl, child, origin = row[26:]
    return Action(
        run,
        seq,
        path_of(path, path_bytes),
        filesystem,
        class_name,
        action,
        reason,
        size,
        allocated,
        links,
        uid,
        gid,
        mode,
        Identity(unsigned(inode), birth_ns),
        mtime_ns,
        used_at,
        clock_at,
        ttl,
        trash_name,
        outcome,
        error,
        at,
        bool(in_trash),
        until,
        left_run,
        left_at,
        path_of(restored_to, restored_to_bytes) if restored_to is not None else None,
        trash_ttl,
        child,
        origin,
    )


def ending_of(
    action: Action,
    run: int,
    now: int,
    outcome: str,
    error: str | None,
    st: FileStat | None = None,
    until: int | None = None,
) -> Ending:
    """Return what became of an action, told after a crash; `st`, where it differs from what was announced."""
    in_trash = 1 if outcome in {"trashed", "stray"} else None
    if st is None:
        return Ending(
            outcome, error, now, in_trash, until, action.size, action.allocated, action.links, action.uid, action.gid,
            action.mode, signed(action.identity.inode), action.identity.birth_ns, action.mtime_ns, run, action.seq,
        )  # fmt: skip
    return Ending(
        outcome, error, now, in_trash, until, st.size, st.blocks * 512, st.links, st.uid, st.gid, st.mode,
        signed(st.inode), st.btime_ns, st.mtime_ns, run, action.seq,
    )  # fmt: skip


class RunRow(NamedTuple):
    """One row of `run`."""

    id: int
    kind: str
    trigger: str
    user: str
    mode: str
    policy: str
    started: int
    finished: int | None
    planned: int
    files_removed: int
    bytes_freed: int
    bytes_trashed: int
    directories_removed: int
    errors: int
    kept: dict[str, int]
    classes: dict[str, dict[str, int]]
    truncated: bool
    interrupted: bool
    refused: str | None


RUN_COLUMNS = (
    'id, kind, "trigger", user, mode, policy, started, finished, planned, files_removed, bytes_freed, bytes_trashed,'
    " directories_removed, errors, kept, classes, truncated, interrupted, refused"
)


def run_of(row: tuple[Any, ...]) -> RunRow:
    """Make a RunRow of a row of RUN_COLUMNS."""
    (number, kind, trigger, user, mode, policy, started, finished, planned, files, freed, trashed, directories) = row[
        :13
    ]
    errors, kept, classes, truncated, interrupted, refused = row[13:]
    return RunRow(
        number,
        kind,
        trigger,
        user,
        mode,
        policy,
        started,
        finished,
        planned,
        files,
        freed,
        trashed,
        directories,
        errors,
        json.loads(kept),
        json.loads(classes),
        bool(truncated),
        bool(interrupted),
        refused,
    )


class Hold(NamedTuple):
    """Absolute protection of a path (`file`) or of it and all below it (`tree`)."""

    id: int
    path: bytes
    kind: str
    until: int | None
    reason: str
    by: str
    created: int


class Protector(NamedTuple):
    """One hold, or lease, that keeps something, and whose it is."""

    kind: str
    """file | tree | glob | lease."""
    path: bytes
    by: str
    reason: str
    until: int | None
    """Unix seconds; None: until it is released."""
