"""After a crash: directories that were going in one piece (`enforce.whole_directory`), before their files."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indexer.enforce.homes import open_home_of
from indexer.enforce.places import Place, Places, describe, split
from indexer.enforce.rows import Action, Ending, ending_of
from indexer.errors import TrustError
from indexer.syscalls.beneath import open_beneath
from indexer.syscalls.rename import rename_noreplace
from indexer.syscalls.stat import FileStat, stat_at

if TYPE_CHECKING:
    from indexer.enforce.ledger import Ledger


@dataclass(slots=True)
class Directories:
    """What became of those that lay in the trash."""

    endings: list[Ending] = field(default_factory=list)
    settled: set[int] = field(default_factory=set)
    """Their numbers in the run."""
    errors: list[tuple[bytes, str]] = field(default_factory=list)
    """The run stays unfinished until these can be looked at."""


def whole_directories(places: Places, ledger: Ledger, run: int, now: int) -> Directories:
    """Bring every directory of a run that lies in the trash back to its place, with what is left in it.

    Where its name is taken, or its parent is another directory now (`enforce.homes`), its files come out of it, each
    under its own name in the trash, as if it had been renamed there by itself; what else is in it stays there, a stray.
    """
    found = Directories()
    for action in ledger.actions(run):
        if action.action != "rmdir" or action.trash_name is None or action.outcome == "restored":
            continue
        place = places.named(action.filesystem)
        if place is None:
            continue  # its files will say that they have to wait
        try:
            st = stat_at(place.open_trash(create=False), action.trash_name.encode())
            ending = _settle(action, place, places, ledger, st, now)
        except FileNotFoundError:
            continue  # it is in its place, or gone
        except (OSError, TrustError) as error:
            found.errors.append((action.path, describe(error)))
            found.settled.add(action.seq)
            continue
        found.settled.add(action.seq)
        found.endings.append(ending)
    return found


def _settle(action: Action, place: Place, places: Places, ledger: Ledger, st: FileStat, now: int) -> Ending:
    name = (action.trash_name or "").encode()
    ours = (st.inode, st.btime_ns) == action.identity and stat.S_ISDIR(st.mode)
    # Also when it is empty: what was to be destroyed and has left it may not have been looked at, and comes back too.
    try:
        parent_fd = open_home_of(places, ledger, action, st)
        try:
            rename_noreplace(place.trash_fd, name, parent_fd, split(action.path)[1])
        finally:
            os.close(parent_fd)
    except (OSError, TrustError) as error:
        if ours:
            _take_out(action, place, ledger, name)
            if _removed(place, name):
                return ending_of(action, action.run, now, "deleted", None)
        text = f"rolled_back; could not be put back: {describe(error)}"
        return ending_of(action, action.run, now, "stray", text, st)
    return ending_of(action, action.run, now, "kept", "rolled_back" if ours else "replaced")


def _take_out(action: Action, place: Place, ledger: Ledger, name: bytes) -> None:
    """Give the run's files in it their own names in the trash."""
    fd = open_beneath(place.trash_fd, name)
    try:
        for file in ledger.actions(action.run):
            directory, own_name = split(file.path)
            if directory == action.path and file.trash_name is not None and file.action != "rmdir":
                try:
                    rename_noreplace(fd, own_name, place.trash_fd, file.trash_name.encode())
                except (FileNotFoundError, FileExistsError):
                    continue  # it had left it already
    finally:
        os.close(fd)


def _removed(place: Place, name: bytes) -> bool:
    """True when it was empty, and is gone."""
    try:
        os.rmdir(name, dir_fd=place.trash_fd)
    except OSError as error:
        if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
            return False
        raise
    return True
