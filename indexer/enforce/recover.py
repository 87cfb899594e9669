"""After a crash: every file of an unfinished run is where it was, or in the trash with its record, or recorded as gone.

For each action the object in the trash is looked at first, then the original place. What was to be destroyed and lies
in the trash goes back: whether it had been verified is not known. What was to be trashed stays there, restorable.
Outcomes of an unfinished run count as provisional, since a power loss may have undone the renames behind them.
"""

from __future__ import annotations

import errno
import itertools
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from indexer.enforce import hooks
from indexer.enforce.homes import open_home_of
from indexer.enforce.places import Place, Places, beside, describe, split
from indexer.enforce.rebuild import workshop_prefix
from indexer.enforce.recover_directories import whole_directories
from indexer.enforce.recovered import Recovered, totals_of, with_endings
from indexer.enforce.rows import Action, Ending, ending_of
from indexer.errors import TrustError
from indexer.syscalls.rename import rename_noreplace
from indexer.syscalls.stat import FileStat, stat_at
from indexer.syscalls.sync import sync_filesystem

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.enforce.ledger import Ledger
    from indexer.enforce.places import StoreLike

DAY = 86400
"""Seconds that the trash keeps a file whose intent does not say how long (schema 1)."""
_BATCH = 1000


class _Later(Exception):  # noqa: N818 - not an error: it can be looked at later
    """It cannot be looked at now; the run stays unfinished until it can."""


def recover(*, places: Places, ledger: Ledger, now: Callable[[], float]) -> Recovered:
    """Bring every unfinished run to its end; the caller holds the run lock, so none of them is alive.

    Costs one query when there is none. A run with files on a filesystem that is not mounted now stays unfinished.
    Raises LedgerError; an OSError about a file is an item of `errors`.
    """
    found = Recovered()
    unfinished = ledger.unfinished()
    if any(run.kind in {"restore", "purge"} for run in unfinished):
        _undo_leaving(places, ledger, int(now()))
    for run in unfinished:
        if run.kind == "restore":
            _clear_workshop(places, workshop_prefix(ledger.id, run.id))
        hooks.at("recover.before")
        endings: list[Ending] = []
        errors: list[tuple[bytes, str]] = []
        apart = _torn_children(places, ledger, run.id)
        directories = whole_directories(places, ledger, run.id, int(now()))
        endings += directories.endings
        errors += directories.errors
        complete = not directories.errors
        for action in ledger.actions(run.id):
            if action.seq in directories.settled:
                continue
            try:
                ending = _settle(action, places, ledger, int(now()), back=action.child in apart)
            except _Later:
                complete = False
                continue
            except (OSError, TrustError) as error:
                errors.append((action.path, describe(error)))
                complete = False
                continue
            if ending is not None:
                endings.append(ending)
            if len(endings) >= _BATCH:
                ledger.outcomes(endings)
                found = with_endings(found, endings)
                endings = []
        ledger.outcomes(endings)
        found = with_endings(found, endings, run.id, errors)
        if complete:
            for place in places.places:
                if place.trash_fd >= 0:
                    sync_filesystem(place.trash_fd)
            ledger.finish_run(run.id, now(), totals_of(ledger.actions(run.id), truncated=run.truncated))
        hooks.at("recover.after")
    return found


def recover_at_start(*, store: StoreLike, root_fd: int, ledger: Ledger, now: Callable[[], float]) -> Recovered:
    """Do the same for those who are about to serve rather than to remove; the caller holds the run lock."""
    if not ledger.unfinished():
        return Recovered()
    with Places(root_fd, store) as places:
        return recover(places=places, ledger=ledger, now=now)


def _torn_children(places: Places, ledger: Ledger, run: int) -> set[str | None]:
    """Return the children that went as one and have not: some of it is in its place, or its end was not decided."""
    torn: set[str | None] = set()
    for action in ledger.actions(run):
        if action.child is None or action.child in torn or action.action == "rmdir":
            continue
        if action.outcome is None or (action.outcome, action.error) == ("kept", "rolled_back"):
            torn.add(action.child)  # the latter: an earlier recovery, cut off itself, has begun to bring it back
        elif action.outcome == "trashed" and (place := places.named(action.filesystem)) is not None:
            try:
                there = _in_trash(action, place) is None and original(action, places) is not None
            except (OSError, TrustError):
                continue  # said where it is settled
            if there:
                torn.add(action.child)
    return torn


def _settle(action: Action, places: Places, ledger: Ledger, now: int, *, back: bool = False) -> Ending | None:
    """Return the true outcome of one action, or None where what is recorded already holds.

    `back`: it goes back to its place, since it was to go with others and they have not.
    """
    if action.outcome in {"kept", "failed", "restored", "purged", "restoring", "purging"}:
        return None
    run = action.run
    place = places.named(action.filesystem)
    if place is None:
        raise _Later
    if action.action == "rmdir":
        if action.outcome is not None:
            return None
        there = original(action, places) is not None
        return ending_of(action, run, now, "kept" if there else "deleted", "rolled_back" if there else None)
    st = _in_trash(action, place)
    if action.outcome == "destroying":
        return _destroyed(action, place, places, st, run, now)
    if st is not None:
        return _from_trash(action, place, places, ledger, st, now, back=back)
    if original(action, places) is not None:
        return ending_of(action, run, now, "kept", "rolled_back")
    if action.outcome == "deleted":
        return None
    return ending_of(action, run, now, "unknown", "neither in the trash nor in its place after a crash")


def _destroyed(action: Action, place: Place, places: Places, st: FileStat | None, run: int, now: int) -> Ending:
    """The end of its child had been decided: destroy what is left of it, so that it is gone as a whole."""
    if st is not None and (st.inode, st.btime_ns) == action.identity:
        os.unlink((action.trash_name or "").encode(), dir_fd=place.trash_fd)
    elif original(action, places) is not None:
        return ending_of(action, run, now, "kept", "rolled_back")
    return ending_of(action, run, now, "deleted", None)


def _from_trash(
    action: Action, place: Place, places: Places, ledger: Ledger, st: FileStat, now: int, *, back: bool
) -> Ending | None:
    """An object lies under the action's trash name: keep it there, or put it back."""
    ours = (st.inode, st.btime_ns) == action.identity
    if ours and action.action == "trash" and not back:
        if action.outcome == "trashed":
            return None
        keep = DAY if action.trash_ttl is None else action.trash_ttl
        return ending_of(action, action.run, now, "trashed", None, st, now + keep)
    if action.outcome == "stray":
        return None
    # To be destroyed, or another object that had taken the name: back to where it was, never over anything, and never
    # into a directory that has taken the name of its own.
    try:
        dir_fd = open_home_of(places, ledger, action, st)
        try:
            rename_noreplace(place.trash_fd, (action.trash_name or "").encode(), dir_fd, split(action.path)[1])
        finally:
            os.close(dir_fd)
    except (OSError, TrustError) as error:
        text = f"rolled_back; could not be put back: {describe(error)}"
        return ending_of(action, action.run, now, "stray", text, st)
    return ending_of(action, action.run, now, "kept", "rolled_back" if ours else "replaced")


def _in_trash(action: Action, place: Place) -> FileStat | None:
    if action.trash_name is None:
        return None
    try:
        return stat_at(place.open_trash(create=False), action.trash_name.encode())
    except FileNotFoundError:
        return None


def _is_it(action: Action, st: FileStat) -> bool:
    return (st.inode, st.btime_ns) == action.identity


def original(action: Action, places: Places, same: Callable[[Action, FileStat], bool] = _is_it) -> FileStat | None:
    """Return the stat of the object in the action's place when it is the `same` one that the action was about."""
    directory, name = split(action.path)
    try:
        dir_fd = places.open(directory)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV}:
            return None
        raise
    try:
        st = stat_at(dir_fd, name)
    except FileNotFoundError:
        return None
    finally:
        os.close(dir_fd)
    return st if same(action, st) else None


def _undo_leaving(places: Places, ledger: Ledger, now: int) -> None:
    """Settle what a restore or a purge was about to take out of the trash when it was cut off."""
    rows: list[tuple[str, str | None, int | None, bytes | None, int, int]] = []
    for action in ledger.trash():
        if action.outcome not in {"restoring", "purging"}:
            continue
        place = places.named(action.filesystem)
        if place is None:
            continue
        if _in_trash(action, place) is not None:
            stayed = "trashed" if action.restorable_until is not None else "stray"
            rows.append((stayed, action.error, None, None, action.run, action.seq))
        elif action.outcome == "restoring":
            target = _landed(action, places)
            why = None if target is not None else "cut off: it went to another directory, or has been moved since"
            rows.append(("restored", why, now, target, action.run, action.seq))
        else:
            rows.append(("purged", None, now, None, action.run, action.seq))
    if rows:
        ledger.left(rows)


def _landed(action: Action, places: Places) -> bytes | None:
    """Return where a restore that was cut off has put an object: into its place or beside it; None: it is not there."""
    directory, name = split(action.restored_to or action.path)
    try:
        dir_fd = places.open(directory)
    except OSError:
        return None
    try:
        for candidate in itertools.islice(beside(name), 100):
            with suppress(OSError):
                if _is_it(action, stat_at(dir_fd, candidate)):
                    return directory + b"/" + candidate if directory else candidate
    finally:
        os.close(dir_fd)
    return None


def _clear_workshop(places: Places, prefix: bytes) -> None:
    """Remove the empty directories that a restore was making in the trash when it was cut off."""
    for place in places.places:
        try:
            trash_fd = place.open_trash(create=False)
        except (FileNotFoundError, TrustError):
            continue
        for name in os.listdir(trash_fd):
            if os.fsencode(name).startswith(prefix):
                os.rmdir(name, dir_fd=trash_fd)
