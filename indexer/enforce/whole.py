"""A child directory that goes as one (`unit = "child"`): all of its files, or none.

    look at all of it → each directory's files into the trash, by the recipe → look again → their end, or all back

Until the last file has been verified in the trash nothing is destroyed, so whatever speaks against one of them (in use,
changed, held, newly come) brings all of them back. Where files cannot be put aside first (overlayfs, a desktop's trash,
no room for one more name in ours), all of it is looked at, and then they go one after the other.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from indexer.enforce import hooks
from indexer.enforce.directories import Blocked, blocked_by
from indexer.enforce.places import describe, split
from indexer.enforce.remove import NO_ROOM
from indexer.syscalls.stat import stat_fd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.enforce.places import Places
    from indexer.enforce.recheck import Belongs
    from indexer.enforce.remove import Lasting, Remover
    from indexer.enforce.victim import Victim


class WholeChild:
    """One child of a run: its victims by directory, and the directories that it consists of."""

    def __init__(self, path: bytes, groups: Sequence[tuple[bytes, list[Victim]]], belongs: Belongs) -> None:
        """`path` and the groups' directories are relative to the store's root."""
        self.path = path
        self.groups = groups
        self.victims = [victim for _, group in groups for victim in group]
        self.directories: dict[bytes, Lasting] = {}
        """All that lie in it, itself included, as they were found before its files went, each with who it is."""
        self._belongs = belongs
        self._rule = self.victims[0].remove.rule

    @property
    def gone(self) -> bool:
        """Its files have left their place."""
        return any(victim.outcome in {"trashed", "deleted", "sent", "staged"} for victim in self.victims)

    def stage(self, remover: Remover, places: Places) -> bool:
        """Take all of its files to where their end can be decided; False with their outcomes set when they stay."""
        if any(victim.outcome is not None for victim in self.victims):  # a hold, since it was planned
            self._all_stay(next(victim.error or "" for victim in self.victims if victim.outcome is not None))
            return False
        if (why := self._look(remover, before=True)) is not None:
            self._all_stay(why.why, failed=why)
            return False
        direct = any(victim.system or (victim.destroy and places.of(split(victim.path)[0]).overlay)
                     for victim in self.victims)  # fmt: skip
        if not direct:
            for victim in self.victims:
                victim.staging = True
            obstacle = self._aside(remover)
            if obstacle is None:
                return True
            self._back(remover, obstacle)
            stray = any(victim.outcome in {"stray", "unknown"} for victim in self.victims)
            if stray or not (self.victims[0].destroy and obstacle.code in NO_ROOM):
                return False
            for victim in self.victims:
                victim.start_over()
        for victim in self.victims:
            victim.staging = False
        for directory, group in self.groups:
            remover.remove(directory, group)
        return False

    def end(self, places: Places) -> None:
        """Destroy what lies in the trash to be destroyed; what is kept there is there already."""
        for victim in self.victims:
            if victim.outcome != "staged":
                continue
            victim.staging = False
            if not victim.destroy:
                victim.outcome = "trashed"
                continue
            place = places.of(split(victim.path)[0])
            hooks.at("unlink.before", victim.name)
            try:
                found = os.stat(victim.trash_name, dir_fd=place.trash_fd, follow_symlinks=False)
                os.unlink(victim.trash_name, dir_fd=place.trash_fd)
            except OSError as error:
                victim.outcome, victim.error = "stray", f"could not be destroyed: {describe(error)}"
                continue
            victim.outcome = "deleted"
            victim.freed = found.st_blocks * 512 if found.st_nlink == 1 else 0
            hooks.at("unlink.after", victim.name)

    def bring_back(self, remover: Remover, why: str) -> None:
        """Bring back what is still put aside, for the reason `why`."""
        if any(victim.outcome == "staged" for victim in self.victims):
            self._back(remover, Blocked(why))

    def _aside(self, remover: Remover) -> Blocked | None:
        """Rename all of it into the trash, directory by directory; return what speaks against it, None: nothing."""
        for directory, group in self.groups:
            remover.remove(directory, group)
            for victim in group:
                if victim.outcome is None:
                    return Blocked("interrupted")
                if victim.outcome == "kept" and victim.error != "gone":
                    return Blocked(victim.error or "")
                if victim.outcome not in {"staged", "kept"}:
                    return Blocked("incomplete", failed=True, code=victim.code)
        hooks.at("child.staged", self.path)
        return self._look(remover, before=False)

    def _back(self, remover: Remover, why: Blocked) -> None:
        """Bring back what has been put aside, the last directory first; what never went stays for the same reason."""
        for directory, group in reversed(self.groups):
            staged = [victim for victim in group if victim.outcome == "staged"]
            if staged:
                remover.put_back(directory, self.directories.get(directory), staged, why.why)
        for victim in self.victims:
            if victim.outcome is None or (victim.outcome, victim.error) == ("kept", why.why):
                victim.keep(why.why)
                if why.why == "interrupted":  # as if its turn had not come
                    victim.start_over()

    def _all_stay(self, why: str, failed: Blocked | None = None) -> None:
        first = True
        for victim in self.victims:
            if victim.outcome is None:
                if failed is not None and failed.failed and first:
                    victim.fail(failed.why, failed.code)
                    first = False
                else:
                    victim.keep("incomplete" if failed is not None and failed.failed else why)

    def _look(self, remover: Remover, *, before: bool) -> Blocked | None:
        """Go through all of the child as it is now; return what speaks against it: a file that no plan has named.

        Once its files lie in the trash (not `before`) whatever has the name of one of them is another file, and each
        directory that one was taken from must be where it was: somebody who has moved it away wants what was in it.
        """
        named = {directory: {victim.name for victim in group} if before else set() for directory, group in self.groups}
        found: dict[bytes, Lasting] = {}
        waiting = [self.path]
        while waiting:
            directory = waiting.pop()
            known = named.get(directory, set())
            try:
                fd = remover.directories.open(directory)
            except Blocked as blocked:
                return blocked
            try:
                st = stat_fd(fd)
                found[directory] = st.dev, st.inode, st.btime_ns
                with os.scandir(fd) as entries:
                    for entry in entries:
                        name = os.fsencode(entry.name)
                        path = directory + b"/" + name
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(path)
                        elif name not in known and self._belongs(self._rule, path):
                            return Blocked("new_file")
            except OSError as error:
                return blocked_by(error)
            finally:
                os.close(fd)
        if before:
            self.directories = found
            return None
        taken = [directory for directory, group in self.groups if any(one.outcome == "staged" for one in group)]
        moved = any(found.get(directory) != self.directories.get(directory, ()) for directory in taken)
        return Blocked("directory_moved") if moved else None
