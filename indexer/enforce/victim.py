"""One file on its way out: what the plan said, what is held of it, and what became of it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from indexer.enforce.origins import UNTELLABLE
from indexer.enforce.rows import Ending, Intent, Plain, path_columns, signed
from indexer.syscalls.lease import READ, WRITE

if TYPE_CHECKING:
    from indexer.enforce.origins import Origin
    from indexer.policy.plan import Remove
    from indexer.records import IndexedFile
    from indexer.syscalls.stat import FileStat

_BILLION = 1_000_000_000
_new = tuple.__new__

LEASES = {"readers": WRITE, "writers": READ}
"""Which lease answers `skip_in_use`; "no" takes none."""


class Victim:
    """A planned removal with the state of the recipe; lives for one batch and never leaves this room."""

    __slots__ = (
        "allocated",
        "code",
        "destroy",
        "error",
        "fd",
        "filesystem",
        "freed",
        "lease",
        "name",
        "origin",
        "outcome",
        "path",
        "remove",
        "renamed",
        "seq",
        "staging",
        "stat",
        "system",
        "trash_name",
    )

    def __init__(
        self, seq: int, remove: Remove, filesystem: str, trash_name: bytes, origin: Origin | None = None
    ) -> None:
        self.seq = seq
        self.remove = remove
        self.path = remove.file.path
        self.name = remove.file.name
        self.filesystem = filesystem
        self.destroy = remove.action == "delete"
        self.system = remove.action == "system-trash"
        self.trash_name = trash_name
        self.origin = origin
        """Who its directory is, as the ledger has it; None: it lies in the root, or that could not be told."""
        self.staging = False
        """It waits in the trash, `staged`, until it is known whether all of its child can go."""
        self.fd = -1
        """What pins it: O_RDONLY with the lease, or O_PATH where no lease is taken."""
        self.stat: FileStat | None = None
        """As it was when it was pinned; once in the trash and another object, that object's."""
        self.lease: int | None = None
        self.renamed = False
        self.outcome: str | None = None
        self.error: str | None = None
        self.code: int | None = None
        """The errno behind `failed`."""
        self.freed = 0
        """Allocated bytes that its destruction gives back: none while it has another name."""
        self.allocated = remove.file.allocated

    def lies_in(self, directory: FileStat) -> bool:
        """True when that is the directory that the ledger says it comes from, as far as can be told."""
        return self.origin is None or self.origin.facts.identity in {directory.identity, UNTELLABLE}

    def keep(self, why: str) -> None:
        """It stays where it is."""
        self.outcome, self.error = "kept", why

    def fail(self, text: str, code: int | None = None) -> None:
        """A system call failed, with the errno `code`."""
        self.outcome, self.error, self.code = "failed", text, code

    def start_over(self) -> None:
        """Forget how it ended: it goes through the recipe again."""
        self.let_go()
        self.outcome = self.error = self.code = None

    def close(self) -> None:
        """Let go of it; this ends the lease too.

        close(2) frees the descriptor whatever it reports. It reports the flush of a filesystem in user space: of what
        was only read there is nothing to flush, so an error says nothing about the removal.
        """
        if self.fd >= 0:
            with suppress(OSError):
                os.close(self.fd)
            self.fd = -1

    def let_go(self) -> None:
        """Forget what was found out, so that it can start the recipe again."""
        self.close()
        self.stat, self.lease = None, None

    def intent(self) -> Intent:
        """Return the row that announces it: the figures of the index, replaced by the object's where they differ."""
        remove = self.remove
        file, rule = remove.file, remove.rule
        path, exact = path_columns(self.path)
        # In the order of the fields: by their names it takes twice as long, and every file of every run is announced.
        return _new(Intent, (
            self.seq,
            path,
            exact,
            self.filesystem,
            rule.name,
            remove.action,
            remove.reason,
            file.size,
            file.allocated,
            file.links,
            file.uid,
            file.gid,
            file.mode,
            signed(file.identity.inode),
            file.identity.birth_ns,
            file.mtime * _BILLION,
            file.used_at,
            remove.clock_at,
            rule.ttl,
            self.trash_name.decode(),
            rule.trash_ttl if remove.action == "trash" else None,
            None if remove.child is None else path_columns(remove.child.path)[0],
            None if self.origin is None else self.origin.number,
        ))  # fmt: skip

    def ending(self, run: int, now: int) -> Ending | Plain:
        """Return the row that says what became of it at `now` (Unix seconds)."""
        assert self.outcome is not None  # noqa: S101 - the recipe ends every victim
        file, st = self.remove.file, self.stat
        in_trash = 1 if self.outcome in {"trashed", "stray"} else None
        until = now + self.remove.rule.trash_ttl if self.outcome == "trashed" else None
        if st is None or _as_announced(file, st, whole=in_trash is not None):
            return _new(Plain, (self.outcome, self.error, now, in_trash, until, run, self.seq))
        figures = (st.size, st.blocks * 512, st.links, st.uid, st.gid, st.mode)
        identity = (signed(st.inode), st.btime_ns, st.mtime_ns)
        return Ending(self.outcome, self.error, now, in_trash, until, *figures, *identity, run, self.seq)


def _as_announced(file: IndexedFile, st: FileStat, *, whole: bool) -> bool:
    """True when the object has the figures of the index; `whole`: also owner, mode, identity and time.

    The index keeps whole seconds. What lies in the trash with others keeps them there.
    """
    if (st.size, st.blocks * 512, st.links) != (file.size, file.allocated, file.links):
        return False
    return not whole or (
        (st.inode, st.btime_ns) == file.identity
        and st.mtime_ns // _BILLION == file.mtime
        and (st.uid, st.gid, st.mode) == (file.uid, file.gid, file.mode)
    )


def different(victims: list[Victim], size: int) -> tuple[list[Victim], list[Victim]]:
    """Return (up to `size` victims of different inodes, the others).

    Two names of one file in hand at once would each look like a reader of the other.
    """
    chunk, later = victims[:size], victims[size:]
    if any(victim.remove.file.links > 1 for victim in chunk):
        first = {victim.remove.file.identity: victim for victim in reversed(chunk)}
        twins = [victim for victim in chunk if first[victim.remove.file.identity] is not victim]
        chunk = [victim for victim in chunk if first[victim.remove.file.identity] is victim]
        later = twins + later
    return chunk, later
