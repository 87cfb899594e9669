"""The removal recipe for the victims of one directory (DESIGN §6, docs/explanation/removal.md).

    open the directory → pin, examine, lease each → rename each into the trash → resolve the directory again
    → verify each → destroy it, or leave it in the trash, or put it back

Nothing is destroyed under the name it had; whatever differs after the rename is renamed back.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from indexer.enforce import hooks, system_trash
from indexer.enforce.directories import Blocked, Directories
from indexer.enforce.pin import NO_DESCRIPTORS, Recheck, pin
from indexer.enforce.places import Place, Places, describe
from indexer.enforce.victim import different
from indexer.errors import TrustError
from indexer.syscalls import lease
from indexer.syscalls.rename import rename_noreplace
from indexer.syscalls.stat import stat_at, stat_fd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from indexer.enforce.patience import Patience
    from indexer.enforce.reaper import Reaper
    from indexer.enforce.victim import Victim

CHUNK = 64
"""Victims held open at once: the directory is resolved again once for all of them, and a reader that comes waits for
that long at most (some milliseconds)."""

NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
"""No block, no inode, or no quota left."""

Lasting = tuple[tuple[int, int], int, int]
"""(device, inode, birth time in nanoseconds) of a directory: who it is while nothing holds it open."""


class Remover:
    """Runs the recipe for one run, in one thread (the leases' signals are sent to it)."""

    def __init__(
        self,
        places: Places,
        recheck: Recheck,
        now: Callable[[], float],
        owner: bytes,
        stop: Callable[[], bool],
        patience: Patience,
        reaper: Reaper,
        held: Callable[[int], bool] | None = None,
    ) -> None:
        """`reaper` closes what is destroyed; `held` tells whether the object of a descriptor carries a hold."""
        self._places = places
        self._directories = Directories(places, held)
        self._held = held
        self._recheck = recheck
        self._now = now
        self._owner = owner
        self._stop = stop
        self.patience = patience
        self._reaper = reaper
        self._one_by_one = False
        """The disk is full: each file is destroyed before the next is renamed."""

    @property
    def crowded(self) -> bool:
        """A rename into the trash found no room for one more name."""
        return self._one_by_one

    @property
    def directories(self) -> Directories:
        """The directories of this run, for those who remove empty ones."""
        return self._directories

    def remove(self, directory: bytes, victims: Sequence[Victim]) -> None:
        """Bring every victim, all of this directory, to an outcome; those left without were interrupted.

        No OSError leaves it: each becomes the outcome of the victim it concerns.
        """
        place = self._places.of(directory)
        try:
            place.open_trash(create=True)
        except (OSError, TrustError) as error:
            place.trash_error = describe(error)
            place.trash_full = isinstance(error, OSError) and error.errno in NO_ROOM
        attempt = 0
        waiting = list(victims)
        while waiting and not self._stop():
            chunk, later = different(waiting, 1 if self._one_by_one else CHUNK)
            waiting = self._chunk(directory, place, chunk) + later
            if not waiting:
                waiting = self._once_more(victims, attempt)
                attempt += 1

    def _once_more(self, victims: Sequence[Victim], attempt: int) -> list[Victim]:
        """Return the victims that failed with an error that may pass, after a while, ready to start over."""
        again = [one for one in victims if one.outcome == "failed" and self.patience.worth(one.code, attempt)]
        if again:
            self.patience.wait(attempt)
            for victim in again:
                victim.start_over()
        return again

    def _chunk(self, directory: bytes, place: Place, victims: list[Victim]) -> list[Victim]:
        """Take one chunk through the recipe; return those that must come again, for want of descriptors."""
        try:
            dir_fd = self._directories.open(directory)
        except Blocked as blocked:
            if blocked.code in NO_DESCRIPTORS and self._reaper.drain():
                return victims
            for victim in victims:
                if blocked.failed:
                    victim.fail(blocked.why, blocked.code)
                else:
                    victim.keep(blocked.why)
            return []
        try:
            held, again = self.pin_all(dir_fd, victims)
            again = self.rename_all(dir_fd, place, held) + again
            self._settle_all(directory, dir_fd, place, [one for one in held if one.outcome is None and one.fd >= 0])
        finally:
            # Only an exception that is no OSError (a fault in the policy, or in us) leaves renamed victims here.
            for victim in victims:
                if victim.renamed and victim.outcome is None:
                    self._put_back(dir_fd, place, victim, "interrupted")
            self.release(victims)
            os.close(dir_fd)
        return again

    def release(self, victims: Sequence[Victim]) -> None:
        """Let go of what is still held of them: of the destroyed by the reaper, except where room is needed at once."""
        ends: list[int] = []
        for victim in victims:
            if victim.outcome == "deleted" and victim.fd >= 0 and not self._one_by_one:
                ends.append(victim.fd)
                victim.fd = -1
            else:
                victim.close()
        if ends:
            self._reaper.take(ends)

    # ------------------------------------------------------------------------------------------ steps 2 and 3

    def pin_all(self, dir_fd: int, victims: list[Victim]) -> tuple[list[Victim], list[Victim]]:
        """Pin and lease each; return (those that are held, those that must come again, for want of descriptors)."""
        try:
            st = stat_fd(dir_fd)
        except OSError as error:
            for victim in victims:
                victim.fail(describe(error), error.errno)
            return [], []
        if not all(victim.lies_in(st) for victim in victims):
            # Exchanged since it was recorded: what left from here would go back into the other one.
            for victim in victims:
                victim.keep("directory_moved")
            return [], []
        device = st.dev
        now = int(self._now())
        held: list[Victim] = []
        for position, victim in enumerate(victims):
            try:
                if pin(dir_fd, device, victim, self._recheck, now, self._owner, self._held):
                    held.append(victim)
            except OSError as error:
                if error.errno in NO_DESCRIPTORS and (self._reaper.drain() or held):
                    return held, victims[position:]
                victim.fail(describe(error), error.errno)
        return held, []

    # ------------------------------------------------------------------------------------------ step 5

    def rename_all(self, dir_fd: int, place: Place, held: list[Victim]) -> list[Victim]:
        """Rename what is held into the trash; return those that must come again, one by one, for want of room."""
        for position, victim in enumerate(held):
            if victim.system:
                continue
            if not victim.staging and victim.destroy and (place.overlay or (place.trash_fd < 0 and place.trash_full)):
                continue
            if place.trash_fd < 0:
                victim.fail(place.trash_error or "no trash", errno.ENOSPC if place.trash_full else None)
                continue
            hooks.at("rename.before", victim.name)
            try:
                rename_noreplace(dir_fd, victim.name, place.trash_fd, victim.trash_name)
            except OSError as error:
                if error.errno != errno.EEXIST and self._arrived(place, victim):
                    pass  # a server that lost its answer reports the second try, not the first that succeeded
                elif error.errno == errno.ENOENT:
                    victim.keep("gone")
                elif error.errno in NO_ROOM and not (self._one_by_one and (victim.staging or not victim.destroy)):
                    # No room for one more entry in the trash (ext4: 252 of 1,000 renames, measured). What is renamed
                    # already is destroyed now, which makes room; where even one alone finds none, it is unlinked in
                    # its place by the caller.
                    if self._one_by_one:
                        continue
                    self._one_by_one = True
                    self._reaper.drain()
                    for later in held[position:]:
                        later.let_go()
                    return held[position:]
                elif error.errno == errno.EXDEV:
                    if stat_fd(dir_fd).dev != stat_fd(place.trash_fd).dev:
                        victim.keep("other_filesystem")
                    elif not victim.destroy:  # what is to be destroyed can be unlinked in its place
                        victim.keep("other_project")
                else:
                    victim.fail(describe(error), error.errno)
            else:
                victim.renamed = True
                hooks.at("rename.after", victim.name)
        return []

    def _arrived(self, place: Place, victim: Victim) -> bool:
        """True when an object lies under the victim's trash name, although the rename reported an error."""
        try:
            stat_at(place.trash_fd, victim.trash_name)
        except OSError:
            return False  # the rename's own error is what is reported
        victim.renamed = True
        return True

    # ------------------------------------------------------------------------------------------ steps 6 and 7

    def _settle_all(self, directory: bytes, dir_fd: int, place: Place, held: list[Victim]) -> None:
        if not held:
            return
        moved = self._directories.still(directory, dir_fd)
        hooks.at("directory.verified")
        for victim in held:
            if victim.renamed:
                self.settle(dir_fd, place, victim, moved)
            elif victim.system:
                self._send(dir_fd, victim, moved)
            else:
                self._unlink_in_place(dir_fd, victim, moved)
            if victim.outcome != "deleted":
                victim.close()

    def settle(self, dir_fd: int, place: Place, victim: Victim, moved: str | None) -> None:
        """Steps 6 and 7 for one victim that lies in the trash now."""
        try:
            why = self.differs(place.trash_fd, victim.trash_name, victim) or moved
        except FileNotFoundError:
            # The trash is ours alone (0700), so only root or we ourselves can have taken it out.
            victim.outcome, victim.error = "unknown", "it vanished from the trash"
            return
        except OSError as error:
            self._put_back(dir_fd, place, victim, None)
            victim.error, victim.code = victim.error or describe(error), error.errno
            return
        if why is not None:
            self._put_back(dir_fd, place, victim, why)
            return
        hooks.at("file.verified", victim.name)
        if victim.staging or not victim.destroy:
            victim.outcome = "staged" if victim.staging else "trashed"
            return
        hooks.at("unlink.before", victim.name)
        try:
            os.unlink(victim.trash_name, dir_fd=place.trash_fd)
        except OSError as error:
            self._put_back(dir_fd, place, victim, None)
            victim.error, victim.code = victim.error or describe(error), error.errno
            return
        self._destroyed(victim)

    def _unlink_in_place(self, dir_fd: int, victim: Victim, moved: str | None) -> None:
        """Destroy without the trash, on overlayfs or where there is no room for one more entry.

        Between the last look and the unlink another object can take the name: the one window that this way leaves.
        """
        try:
            why = self.differs(dir_fd, victim.name, victim) or moved
            if why is not None:
                victim.keep(why)
                return
            hooks.at("unlink.before", victim.name)
            os.unlink(victim.name, dir_fd=dir_fd)
        except FileNotFoundError:
            victim.keep("gone")
        except OSError as error:
            victim.fail(describe(error), error.errno)
        else:
            self._destroyed(victim)

    def _send(self, dir_fd: int, victim: Victim, moved: str | None) -> None:
        """Hand the victim to the desktop's trash, which goes by its path: looked at before and after."""
        try:
            why = self.differs(dir_fd, victim.name, victim) or moved
            if why is None:
                victim.fd = system_trash.unwatched(victim.fd)
                hooks.at("send.before", victim.name)
                why = system_trash.send(dir_fd, victim.name, victim.fd)
                hooks.at("send.after", victim.name)
        except FileNotFoundError:
            victim.keep("gone")
        except OSError as error:
            victim.fail(describe(error), error.errno)
        else:
            victim.outcome, victim.error = ("kept", why) if why else ("sent", None)

    def differs(self, parent_fd: int, name: bytes, victim: Victim) -> str | None:
        """Return why the object `name` may not be destroyed, or None: it is the pinned one, unused and unchanged.

        Raises OSError.
        """
        pinned = victim.stat
        assert pinned is not None  # noqa: S101 - it was pinned
        # os.stat and os.fstat cost 1.1 µs less than statx, whose birth time is not needed while the inode is held.
        found = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        if found.st_ino != pinned.inode or found.st_dev != os.makedev(*pinned.dev):
            return "replaced"
        if victim.lease is not None and lease.held(victim.fd) != victim.lease:
            return "opened"
        if found.st_mtime_ns != pinned.mtime_ns or found.st_size != pinned.size:
            return "changed"
        victim.freed = found.st_blocks * 512 if found.st_nlink == 1 else 0
        return None

    def _destroyed(self, victim: Victim) -> None:
        victim.outcome = "deleted"
        hooks.at("unlink.after", victim.name)

    def put_back(self, directory: bytes, known: Lasting | None, victims: Sequence[Victim], why: str) -> None:
        """Rename victims that have been staged out of the trash again, for the reason `why`.

        Only into the directory that they came from (`known`): another one of that name may be anybody's, who could
        read there what nobody else could before.
        """
        place = self._places.of(directory)
        try:
            dir_fd = self._places.open(directory)
        except OSError as error:
            for victim in victims:
                self.astray(place, victim, why, describe(error))
            return
        try:
            st = stat_fd(dir_fd)
            same = (st.dev, st.inode, st.btime_ns) == known
            for victim in victims:
                if same:
                    self._put_back(dir_fd, place, victim, why)
                else:
                    self.astray(place, victim, why, "its directory is another one now")
        finally:
            os.close(dir_fd)

    def _put_back(self, dir_fd: int, place: Place, victim: Victim, why: str | None) -> None:
        """Rename out of the trash again, never over anything: kept for the reason `why`, or failed without one.

        Where that is impossible it stays in the trash, with what it really is, and the run says so.
        """
        hooks.at("back.before", victim.name)
        try:
            self.patience.call(lambda: rename_noreplace(place.trash_fd, victim.trash_name, dir_fd, victim.name))
        except OSError as error:
            self.astray(place, victim, why, describe(error))
        else:
            victim.renamed = False
            victim.outcome, victim.error = ("kept", why) if why is not None else ("failed", None)
        hooks.at("back.after", victim.name)

    def astray(self, place: Place, victim: Victim, why: str | None, text: str) -> None:
        """It stays in the trash against the run's will: say so, with what it really is."""
        victim.outcome = "stray"
        victim.error = f"{why or 'failed'}; could not be put back: {text}"
        try:
            victim.stat = stat_at(place.trash_fd, victim.trash_name)
        except FileNotFoundError as gone:
            victim.outcome, victim.error = "unknown", describe(gone)
        except OSError as unseen:
            victim.error += f"; {describe(unseen)}"  # it is there, as far as anybody knows
