"""A directory whose every entry goes: it vanishes in one rename, or stays as it is (`whole_directories`).

    pin and lease every entry → one rename into the trash → look at all of it there
    → each file to its own place in the trash, by the recipe → rmdir of the shell, which is the last look

Whoever has the directory open can go on exchanging names in it and making new ones. So nothing is destroyed under the
name that it has in there; and as long as there is something in it that was not planned, it cannot be removed, and goes
back. Whatever differs before that brings all of it back, in one rename too; its files then go one by one.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING

from indexer.enforce import hooks
from indexer.enforce.directories import Blocked
from indexer.enforce.empty import below_own_directory
from indexer.enforce.places import describe, object_of, split
from indexer.enforce.rows import Ending, Intent, path_columns, signed
from indexer.errors import TrustError
from indexer.syscalls.flock import locked
from indexer.syscalls.rename import rename_noreplace
from indexer.syscalls.stat import FileStat, stat_at, stat_fd

if sys.platform != "win32":
    import resource

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from indexer.enforce.places import Place, Places
    from indexer.enforce.remove import Remover
    from indexer.enforce.victim import Victim
    from indexer.policy.plan import Remove

MOST = 4096
"""Files of one directory, all held open at once: whoever comes to read one waits until it is back."""

_ACTIONS = frozenset({"trash", "delete"})
_GONE = frozenset({"trashed", "deleted", "stray", "unknown"})


def candidate(
    directory: bytes, removes: Sequence[Remove], remover: Remover, places: Places, own: Collection[bytes]
) -> FileStat | None:
    """Return the stat of a directory that may go in one piece, or None: its files go one by one.

    `own` are the classes' own directories, which never go. It is only looked at.
    """
    if not all(
        remove.rule.whole_directories and remove.rule.remove_empty_dirs and remove.action in _ACTIONS
        for remove in removes
    ):
        return None
    # Two names of one file would each look like a reader of the other.
    if len({remove.file.identity for remove in removes}) < len(removes) or len(removes) > _most():
        return None
    if directory in own or not below_own_directory(removes[0].rule, directory) or places.of(directory).overlay:
        return None
    parent, name = split(directory)
    try:
        fd = remover.directories.open(directory)
    except Blocked:
        return None
    try:
        if _names(fd) != {remove.file.name for remove in removes}:
            return None
        parent_fd = places.open(parent)
        try:
            st = stat_at(parent_fd, name)
        finally:
            os.close(parent_fd)
        return st if object_of(st) == object_of(stat_fd(fd)) and not st.mount_root else None
    except OSError:
        return None  # said of each of its files, when they go one by one
    finally:
        os.close(fd)


def _most() -> int:
    """Half of the descriptors that this process may have, and no more than MOST."""
    return min(MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2) if sys.platform != "win32" else 0


class WholeDirectory:
    """One directory on its way out, with all of its files."""

    def __init__(self, directory: bytes, victims: list[Victim], st: FileStat, seq: int, trash_name: bytes) -> None:
        """`directory` is relative to the store's root; `seq` is its own number in the run, after its files'."""
        self.directory = directory
        self.victims = victims
        self.outcome: str | None = None
        """None: it was not touched."""
        self.error: str | None = None
        self.rule = victims[0].remove.rule
        self._filesystem = victims[0].filesystem
        self._origin = victims[0].origin
        self._st = st
        self._seq = seq
        self._trash_name = trash_name
        self._name = split(directory)[1]
        self._names = {victim.name for victim in victims}
        self._aside = False
        """It lies in the trash."""

    @property
    def seq(self) -> int:
        """Its own number in the run."""
        return self._seq

    def intent(self) -> Intent:
        """Return the row that announces it."""
        st = self._st
        return Intent(
            self._seq, *path_columns(self.directory), self._filesystem, self.rule.name, "rmdir", "empty", st.size,
            st.blocks * 512, st.links, st.uid, st.gid, st.mode, signed(st.inode), st.btime_ns, st.mtime_ns, None, None,
            None, self._trash_name.decode(), origin=None if self._origin is None else self._origin.number,
        )  # fmt: skip

    def ending(self, run: int, now: int) -> Ending:
        """Return the row that says what became of it at `now` (Unix seconds)."""
        assert self.outcome is not None  # noqa: S101 - the caller withdraws what has none
        st = self._st
        return Ending(
            self.outcome, self.error, now, 1 if self.outcome == "stray" else None, None, st.size, st.blocks * 512,
            st.links, st.uid, st.gid, st.mode, signed(st.inode), st.btime_ns, st.mtime_ns, run, self._seq,
        )  # fmt: skip

    def go(self, remover: Remover, places: Places) -> None:
        """Bring its files to their outcomes; those left without one (all of them, mostly) are to go one by one."""
        place = places.of(self.directory)
        parent_fd = dir_fd = -1
        try:
            place.open_trash(create=True)
            parent_fd = remover.directories.open(split(self.directory)[0])
            dir_fd = remover.directories.open(self.directory)
            if object_of(stat_fd(dir_fd)) == object_of(self._st):
                self._go(remover, place, parent_fd, dir_fd)
        except (Blocked, OSError, TrustError):
            pass  # it is where it was, and each of its files will say the same
        finally:
            if self._aside:  # only a fault in the policy, or in us, leaves it there
                self._back(remover, place, parent_fd, dir_fd, "interrupted")
            for victim in self.victims:
                victim.close()
            for fd in (parent_fd, dir_fd):
                if fd >= 0:
                    os.close(fd)

    def _go(self, remover: Remover, place: Place, parent_fd: int, dir_fd: int) -> None:
        held, _ = remover.pin_all(dir_fd, self.victims)
        if len(held) < len(self.victims) or _names(dir_fd) != self._names:
            self._one_by_one()
            return
        hooks.at("rename.before", self._name)
        try:
            rename_noreplace(parent_fd, self._name, place.trash_fd, self._trash_name)
        except OSError:
            if not self._arrived(place, parent_fd):
                self._one_by_one()
                return
        self._aside = True
        hooks.at("directory.renamed", self._name)
        why = self._differs(remover, place, parent_fd, dir_fd)
        if why is not None:
            self._back(remover, place, parent_fd, dir_fd, why)
            return
        hooks.at("directory.checked", self._name)
        remover.rename_all(dir_fd, place, self.victims)
        for victim in self.victims:
            if victim.renamed and victim.outcome is None:
                remover.settle(dir_fd, place, victim, None)
            if victim.outcome != "deleted":
                victim.close()
        remover.release(self.victims)
        hooks.at("rmdir.before", self._name)
        try:
            os.rmdir(self._trash_name, dir_fd=place.trash_fd)
        except OSError:
            stays = any(victim.outcome not in _GONE for victim in self.victims)
            self._back(remover, place, parent_fd, dir_fd, "incomplete" if stays else "changed")
        else:
            self._aside, self.outcome = False, "deleted"
            hooks.at("rmdir.after", self._name)

    def _arrived(self, place: Place, parent_fd: int) -> bool:
        """True when it lies in the trash although the rename reported an error: a server may have lost its answer.

        Where neither place can be looked at nothing works any more; if it had arrived all the same, it would lie in the
        trash without a row, which nothing destroys.
        """
        for fd, name, there in ((place.trash_fd, self._trash_name, True), (parent_fd, self._name, False)):
            try:
                found = object_of(stat_at(fd, name))
            except FileNotFoundError:
                return not there
            except OSError:
                continue
            if found == object_of(self._st):
                return there
        return False

    def _one_by_one(self) -> None:
        """Nothing was moved, or all of it is back: its files start anew."""
        for victim in self.victims:
            if victim.outcome not in _GONE:
                victim.start_over()

    def _differs(self, remover: Remover, place: Place, parent_fd: int, dir_fd: int) -> str | None:
        """Return why it has to go back, or None: what lies in the trash is exactly what was pinned, and unused."""
        try:
            found = stat_at(place.trash_fd, self._trash_name)
            if object_of(found) != object_of(self._st):
                self._st = found
                return "replaced"
            moved = remover.directories.still(split(self.directory)[0], parent_fd)
            if moved is not None:
                return moved
            if locked(dir_fd):
                return "locked"
            if _names(dir_fd) != self._names:
                return "changed"
            return next(filter(None, (remover.differs(dir_fd, one.name, one) for one in self.victims)), None)
        except OSError:
            return "changed"  # somebody who has it open has taken something away, or it cannot be looked at

    def _back(self, remover: Remover, place: Place, parent_fd: int, dir_fd: int, why: str) -> None:
        """Rename it back with all that is in it, never over anything; where that is impossible say so."""
        hooks.at("back.before", self._name)
        self._aside = False
        try:
            remover.patience.call(lambda: rename_noreplace(place.trash_fd, self._trash_name, parent_fd, self._name))
        except OSError as error:
            if _there(place, self._trash_name):
                self._stays(remover, place, dir_fd, why, describe(error))
                return
        self.outcome, self.error = "kept", why
        if why == "incomplete":  # what failed or stayed says so itself
            for victim in self.victims:
                if victim.outcome is None:
                    victim.start_over()
        else:
            self._one_by_one()
        hooks.at("back.after", self._name)

    def _stays(self, remover: Remover, place: Place, dir_fd: int, why: str, text: str) -> None:
        """It cannot go back: its files stay in the trash, each under its own name there, and what else is in it."""
        self.outcome, self.error = "stray", f"{why}; could not be put back: {text}"
        if why == "replaced":  # another object: the files are elsewhere, with their directory
            self._one_by_one()
            return
        for victim in self.victims:
            if victim.outcome in _GONE:
                continue
            try:
                rename_noreplace(dir_fd, victim.name, place.trash_fd, victim.trash_name)
            except FileNotFoundError:
                victim.keep("gone")
            except OSError as error:
                victim.outcome, victim.error = "unknown", f"in its directory, in the trash: {describe(error)}"
            else:
                remover.astray(place, victim, why, text)
        try:
            os.rmdir(self._trash_name, dir_fd=place.trash_fd)
        except OSError:
            return  # what is in it was not planned: it comes back by `restore`
        self.outcome, self.error = "deleted", None


def _names(fd: int) -> set[bytes]:
    return {os.fsencode(name) for name in os.listdir(fd)}


def _there(place: Place, name: bytes) -> bool:
    """True when it lies in the trash, as far as anybody knows."""
    try:
        stat_at(place.trash_fd, name)
    except OSError as error:
        return error.errno != errno.ENOENT
    return True
