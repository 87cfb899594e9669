"""An adopted store: what lies in its trashes are copies, with other identities than those that the ledger knows."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.enforce.places import Place, Places, describe, split
from indexer.enforce.recover import original
from indexer.enforce.rows import Action, Ending, ending_of
from indexer.errors import FilesystemError
from indexer.syscalls.beneath import open_beneath
from indexer.syscalls.stat import NS, FileStat, stat_at
from indexer.units import count, show_name, show_text, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from indexer.enforce.ledger import Ledger
    from indexer.enforce.places import StoreLike

STRAY = "when the store was adopted another object lay in the trash under its name"
_FINAL = frozenset({"kept", "failed", "restored", "purged", "sent", "unknown"})


@dataclass(frozen=True, slots=True)
class Adopted:
    """What was found in the trashes of a store that was taken over."""

    renewed: int = 0
    """Objects that are copies of those that the ledger knows, and are known by their new identity now."""
    strays: tuple[bytes, ...] = ()
    """What the objects were called that differ from those that were put there: no run destroys them."""

    def as_json(self) -> dict[str, Any]:
        """Return `trash` of the document of `init --adopt --json`."""
        return {"renewed": self.renewed, "strays": [text_of(path) for path in self.strays]}


def take_over(*, store: StoreLike, root_fd: int, ledger: Ledger, now: Callable[[], float]) -> Adopted:
    """Give the ledger the identities of what lies in the trashes now, where all else of it is as recorded.

    Also of what an unfinished run was about to remove, so that recovery finds it. The caller holds the store's locks.
    Raises FilesystemError, before anything is written, when a filesystem of the store is not mounted and something
    lies in its trash, and when an unfinished run's trash is not there and its files are not in their places; TrustError
    when others could reach into a trash.
    """
    with Places(root_fd, store) as places:
        looking = _Looking(places, ledger)
        renewed: list[tuple[Action, FileStat]] = []
        strays: list[Ending] = []
        for action, unfinished in _open_actions(ledger):
            st = looking.find(action, unfinished=unfinished)
            if st is None or (st.inode, st.btime_ns) == action.identity:
                continue
            if _agrees(action, st):
                renewed.append((action, st))
            elif not unfinished:  # recovery brings such a one back to its place
                strays.append(ending_of(action, action.run, int(now()), "stray", STRAY, st))
        looking.refuse()
        if renewed or strays:
            ledger.renew(renewed, strays)
    known = {(action.run, action.seq): action.path for action in ledger.trash()}
    return Adopted(len(renewed), tuple(known[one.run, one.seq] for one in strays))


def _open_actions(ledger: Ledger) -> Iterator[tuple[Action, bool]]:
    """Yield (action, whether its run is unfinished) of all that may lie in a trash."""
    unfinished = {run.id for run in ledger.unfinished()}
    for run in unfinished:
        yield from ((action, True) for action in ledger.actions(run) if action.outcome not in _FINAL)
    yield from ((action, False) for action in ledger.trash() if action.run not in unfinished)


def _agrees(action: Action, st: FileStat) -> bool:
    """True when it is a copy. The index keeps whole seconds; the size of directories is each filesystem's own."""
    if (st.mode, st.uid, st.gid) != (action.mode, action.uid, action.gid):
        return False
    return stat.S_ISDIR(st.mode) or (st.size == action.size and st.mtime_ns // NS == action.mtime_ns // NS)


class _Looking:
    """Where the objects of actions are."""

    def __init__(self, places: Places, ledger: Ledger) -> None:
        self._places = places
        self._ledger = ledger
        self._whole: dict[int, dict[bytes, bytes]] = {}
        self._without: dict[str, str] = {}
        """Filesystems whose trash is not there, with its path."""
        self._unmounted: dict[str, int] = {}
        self._lost: list[Action] = []

    def find(self, action: Action, *, unfinished: bool) -> FileStat | None:
        """Return the stat of the object of an action; for one of an unfinished run also in its own place."""
        place = self._places.named(action.filesystem)
        if place is None and action.filesystem not in self._places.missing:
            return None  # the configuration has given it up
        if place is None:
            self._unmounted[action.filesystem] = self._unmounted.get(action.filesystem, 0) + 1
            return None
        try:
            st = self._in_trash(action, place)
        except OSError as error:
            path = show_name(place.base + b"/" + place.trash if place.base else place.trash)
            raise FilesystemError(
                f"{path}, the store's trash, cannot be looked into: {describe(error)}",
                remedy="it must be a directory of yours alone, on the filesystem whose files lie in it",
            ) from error
        if st is None and unfinished:
            st = original(action, self._places, same=_agrees)
            if st is None and action.action != "rmdir" and action.outcome != "deleted":
                self._lost.append(action)
        return st

    def _in_trash(self, action: Action, place: Place) -> FileStat | None:
        if action.trash_name is None:
            return None
        try:
            trash_fd = place.open_trash(create=False)
        except FileNotFoundError:
            self._without[place.name] = show_name(place.base + b"/" + place.trash if place.base else place.trash)
            return None
        try:
            return stat_at(trash_fd, action.trash_name.encode())
        except FileNotFoundError:
            return self._in_directory(action, trash_fd)

    def _in_directory(self, action: Action, trash_fd: int) -> FileStat | None:
        """Look in the directory of a file that was going in one piece with it, where that lies in the trash."""
        directory, name = split(action.path)
        if action.run not in self._whole:
            self._whole[action.run] = {
                other.path: (other.trash_name or "").encode()
                for other in self._ledger.actions(action.run)
                if other.action == "rmdir" and other.trash_name is not None
            }
        if directory not in self._whole[action.run]:
            return None
        try:
            fd = open_beneath(trash_fd, self._whole[action.run][directory])
        except FileNotFoundError:
            return None
        try:
            return stat_at(fd, name)
        except FileNotFoundError:
            return None
        finally:
            os.close(fd)

    def refuse(self) -> None:
        """Raise FilesystemError when something could be lost by adopting the store as it is."""
        for name, number in self._unmounted.items():
            shown = show_text(name)
            raise FilesystemError(
                f"{shown} is not mounted, and the ledger has {count(number, 'file')} in its trash",
                remedy=f"mount {shown}, then adopt; or, where it is lost, take it out of [store] filesystems",
            )
        for action in self._lost:
            if action.filesystem in self._without:
                trash = self._without[action.filesystem]
                raise FilesystemError(
                    f"run {action.run} was cut off, and neither {show_name(action.path)} nor the trash {trash} is here",
                    remedy="bring that directory over from where the tree was copied from; if it is lost: "
                    f"mkdir -m 0700 -p {trash} in the root makes an empty one, and the ledger will say `unknown`",
                )
