"""A stream of stats against rows: the hot loop, and what it collects so that each row agrees."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from indexer.events import ROOT_ID
from indexer.index.children import Child
from indexer.index.history import History, Past
from indexer.index.rows import (
    ATIME,
    BIRTH_AFTER,
    CHARGED,
    CLASS,
    CLOCK,
    CTIME_AFTER,
    DIRECTORY,
    FAR,
    FIRST_SEEN,
    INODE,
    LINKS,
    MTIME,
    NAME,
    NONE,
    NS,
    SIZE,
    USED_AT,
    Key,
    Row,
    bounded,
    identity_of,
    key_of,
)
from indexer.syscalls.stat import FITS, STATX_ATTR_MOUNT_ROOT, STATX_BTIME

if TYPE_CHECKING:
    from collections.abc import Iterable

    from indexer.index.classes import Aging, DirectoryRules
    from indexer.index.directories import Directories
    from indexer.index.hearing import Hearing
    from indexer.index.links import Links
    from indexer.index.stats import Fields
    from indexer.index.turn import Turn
    from indexer.index.writes import Writes

_NOT_ITS_OWN = {errno.EACCES, errno.EPERM, errno.ENOMEM, errno.ENFILE, errno.EMFILE}
"""What a stat fails with because of its directory, or because of us."""


class Files:
    """Compares each name's stat with its row."""

    def __init__(
        self,
        connection: Any,
        directories: Directories,
        writes: Writes,
        links: Links,
        turn: Turn,
        agings: list[Aging],
        *,
        exempt: frozenset[tuple[int, int]],
        own_file: bytes | None,
        hearing: Hearing | None = None,
    ) -> None:
        self._connection = connection
        self._directories = directories
        self._writes = writes
        self._links = links
        self._turn = turn
        self._agings = agings
        self._exempt = exempt
        self._hearing = hearing
        self._exempt_inodes = {inode for _, inode in exempt}
        self._own_file = key_of(own_file) if own_file is not None else None
        self._permissions: dict[tuple[int, int, int], int] = {}
        self.problem: int | None = None
        """errno of a name that could not be looked at in the last comparison."""
        self.history = History()

    def forget_caches(self) -> None:
        """A transaction failed: what was interned in it is void."""
        self._permissions.clear()

    def wanted(self, directory_id: int, name: bytes, fields: Fields, rules: DirectoryRules) -> bool:
        """Say whether a file with this stat is to be in the index: not exempt, not ignored."""
        if directory_id == ROOT_ID and key_of(name) == self._own_file:
            return False
        if (os.makedev(fields[15], fields[16]), fields[7]) in self._exempt:
            return False
        return not (rules.ignores and rules.ignored(name, False))

    def compare(
        self,
        directory_id: int,
        names: list[bytes],
        keys: list[Key],
        stats: Iterable[Fields],
        rows: dict[Key, Row],
        rules: DirectoryRules,
        *,
        floor: int | None,
    ) -> tuple[list[Child], set[Key]]:
        """Compare each name's stat with its row: 2 µs of system call and as much of ours a name (measured).

        Nothing in it was first seen before `floor` (Unix seconds). Returns the directories among the names, and the
        keys that are gone.
        """
        children: list[Child] = []
        gone: set[Key] = set()
        permissions, exempt = self._permissions, self._exempt_inodes
        inserts, now, fresh = self._writes.inserts, self._turn.now, not rows
        own_file = self._own_file if directory_id == ROOT_ID else None
        constant, ignores = rules.constant, rules.ignores
        aging = self._agings[rules.index] if constant and rules.index is not None else None
        aged = rules.aged
        filesystem_id = self._directories.filesystem_of(directory_id).id
        remember, hearing = not self._turn.first, self._hearing
        last_mode = last_uid = last_gid = permission = -1
        seen = 0
        self.problem = None
        for name, key, fields in zip(names, keys, stats, strict=True):
            (mask, code, attributes, links, uid, gid, mode, inode, size, blocks, atime, birth, birth_ns, ctime, mtime,
             major, minor) = fields  # fmt: skip
            if not mask:
                self._failed(name, key, code, gone)
                continue
            ctime_after = ctime - mtime
            if not -FAR < ctime_after < FAR:  # nobody's touch(1) stops the writer
                mtime, ctime = bounded(mtime), bounded(ctime)
                ctime_after = ctime - mtime
            born, birth_after = 0, None
            if mask & STATX_BTIME:
                born = birth * NS + birth_ns
                birth_after = born - ctime * NS
                if not -FITS <= birth_after < FITS:
                    born, birth_after = 0, None
            if mode & 0o170000 == 0o040000:
                mounted = bool(attributes & STATX_ATTR_MOUNT_ROOT)
                children.append(Child(name, key, inode, (major, minor), mounted))
                continue
            if key == own_file or (inode in exempt and (os.makedev(major, minor), inode) in self._exempt):
                gone.add(key)
                continue
            if ignores and rules.ignored(name, False):
                gone.add(key)
                continue
            seen += 1
            if mode != last_mode or uid != last_uid or gid != last_gid:
                permission = permissions.get((mode, uid, gid), 0) or self._permission(mode, uid, gid)
                last_mode, last_uid, last_gid = mode, uid, gid
            if not fresh:
                old = rows.get(key)
                if old is not None:
                    stat_part = (size, blocks, links, permission, inode, mtime, ctime_after, birth_after, atime)
                    if stat_part != old[SIZE:USED_AT]:
                        if hearing is not None and (atime := _believed(stat_part, old, hearing)) != stat_part[-1]:
                            stat_part = (*stat_part[:-1], atime)
                            if stat_part == old[SIZE:USED_AT]:
                                continue
                        self._changed(directory_id, filesystem_id, key, name, old, stat_part, rules, floor)
                    continue
            # A new name. Copying, moving and unpacking set ctime, so it cannot have come before that.
            first_seen = ctime if floor is None or ctime > floor else floor
            if first_seen > now:
                first_seen = now
            used_at = None
            if remember:
                who = (filesystem_id, inode, born or (mtime, size))
                past = self.history.arrived(who, (directory_id, key))
                if past is not None:
                    first_seen, used_at = past
            if not constant:
                rule, aged = rules.of(name)
                aging = self._agings[rule] if rule is not None else None
            if aging is None:
                class_id = clock = NONE
            else:
                class_id = aging.class_id
                if not aged:
                    clock = NONE
                elif aging.plain:
                    clock = mtime if mtime > first_seen else first_seen
                else:
                    clock = aging.clock_of(
                        mtime, max(atime, used_at or 0), ctime, born // NS if born else None, first_seen, name
                    )
            if links > 1:
                self._links.note(filesystem_id, inode)
            inserts.append((
                directory_id, key, size, blocks, links, permission, inode, mtime, ctime_after,
                NONE if birth_after is None else birth_after, atime, NONE if used_at is None else used_at, first_seen,
                class_id, clock, 1,
            ))  # fmt: skip
        self._turn.done.seen += seen
        return children, gone

    def _changed(
        self,
        directory_id: int,
        filesystem_id: int,
        key: Key,
        name: bytes,
        old: Row,
        new: tuple[Any, ...],
        rules: DirectoryRules,
        floor: int | None,
    ) -> None:
        """A known name with another stat: the same file changed, or another file took its place."""
        size, _, links, _, inode, mtime, ctime_after, birth_after, atime = new
        ctime = mtime + ctime_after
        born = ctime * NS + birth_after if birth_after is not None else 0
        first_seen, used_at, charged = old[FIRST_SEEN], old[USED_AT], old[CHARGED]
        before = identity_of(old)
        if before != (inode, born):
            self._depart(filesystem_id, old)
            past = self.history.arrived((filesystem_id, inode, born or (mtime, size)), (directory_id, key))
            floored = ctime if floor is None else max(ctime, floor)
            first_seen, used_at = past if past is not None else (min(floored, self._turn.now), None)
            charged = 1
        if used_at is not None and used_at <= atime:
            used_at = None
        if links > 1 or old[LINKS] > 1:
            self._links.note(filesystem_id, inode)
            if old[INODE] != inode:
                self._links.departed(directory_id, key, filesystem_id, old[INODE])
        class_id, clock = self._clock(rules, name, mtime, atime, used_at, ctime, born, first_seen)
        if class_id == old[CLASS] and clock is not None and old[CLOCK] is not None and clock > old[CLOCK]:
            rule = rules.index if rules.constant else rules.of(name)[0]
            if rule is not None and self._agings[rule].lazy and mtime == old[MTIME] and before == (inode, born):
                clock = old[CLOCK]  # a lower bound will do: moving the index entry costs 30 times the write
        self._turn.done.updated += 1
        stat_part = (*new, NONE if used_at is None else used_at, first_seen)
        if class_id == old[CLASS] and clock == old[CLOCK] and charged == old[CHARGED]:
            self._writes.updates.append((*stat_part, directory_id, key))
        else:
            aged = (NONE if class_id is None else class_id, NONE if clock is None else clock)
            self._writes.moved_updates.append((*stat_part, *aged, charged, directory_id, key))

    def _clock(
        self,
        rules: DirectoryRules,
        name: bytes,
        mtime: int,
        atime: int,
        used_at: int | None,
        ctime: int,
        born: int,
        first_seen: int,
    ) -> tuple[int | None, int | None]:
        rule, aged = (rules.index, rules.aged) if rules.constant else rules.of(name)
        if rule is None:
            return None, None
        aging = self._agings[rule]
        if not aged:
            return aging.class_id, None
        return aging.class_id, aging.clock_of(
            mtime, max(atime, used_at or 0), ctime, born // NS if born else None, first_seen, name
        )

    def _failed(self, name: bytes, key: Key, code: int, gone: set[Key]) -> None:
        """A stat failed: the name is gone, or it cannot be looked at now and its row stays."""
        if code in {errno.ENOENT, errno.ENOTDIR}:
            gone.add(key)
        elif code in _NOT_ITS_OWN:
            raise OSError(code, os.strerror(code), name)
        else:  # EIO, EUCLEAN … of one inode: the others have nothing to do with it
            self.problem = code

    def vanished(self, directory_id: int, key: Key, row: Row) -> None:
        """The file is no longer at this place."""
        filesystem_id = self._directories.filesystem_of(directory_id).id
        self._writes.deletes.append((directory_id, key))
        self._depart(filesystem_id, row)
        if row[LINKS] > 1:
            self._links.departed(directory_id, key, filesystem_id, row[INODE])

    def _depart(self, filesystem_id: int, row: Row) -> None:
        identity = identity_of(row)
        who = (filesystem_id, identity.inode, identity.birth_ns or (row[MTIME], row[SIZE]))
        found = self.history.departed(who, (row[DIRECTORY], row[NAME]), Past(row[FIRST_SEEN], row[USED_AT]))
        if found is not None:
            place, past = found
            self._writes.inherited.append((*place, identity, past))

    def _permission(self, mode: int, uid: int, gid: int) -> int:
        """Return the id of a mode with its owner, which many files share."""
        connection, values = self._connection, (mode, uid, gid)
        connection.execute("INSERT INTO permission (mode, uid, gid) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", values)
        found = connection.execute(
            "SELECT id FROM permission WHERE mode = ? AND uid = ? AND gid = ?", values
        ).fetchone()[0]
        self._permissions[values] = found
        return int(found)


def _believed(new: tuple[Any, ...], old: Row, hearing: Hearing) -> int:
    """Return the st_atime to go by for a known name: the stored one where an ignored program may have moved it.

    A new file's counts, and so does one that goes back. Where the ctime has moved and the mtime has not, somebody may
    have set it (`touch -a`): a file is rather kept longer.
    """
    atime: int = new[ATIME - SIZE]
    stored: int = old[ATIME]
    if atime <= stored or hearing.counts(atime):
        return atime
    mtime, birth_after = new[MTIME - SIZE], new[BIRTH_AFTER - SIZE]
    ctime = mtime + new[CTIME_AFTER - SIZE]
    born = ctime * NS + birth_after if birth_after is not None else 0
    touched = mtime == old[MTIME] and ctime != mtime + old[CTIME_AFTER]
    return stored if identity_of(old) == (new[INODE - SIZE], born) and not touched else atime
