"""A filesystem of the store that is too full: the trash goes first, then files in the order of the watermark.

for each filesystem:  short? → trash, oldest first → short? → files, and after each part of them: did room really come?
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from indexer.enforce.run import execute
from indexer.enforce.trash import purge_trash, unprotected
from indexer.policy.quota import Used
from indexer.policy.watermark import Room, Shortage, disappoints, shortage
from indexer.service.giving_way import oldest_trash, plan_relief
from indexer.service.relief import Relief
from indexer.service.room import ROUNDS, room_of, taken_by
from indexer.store.filesystems import filesystems
from indexer.syscalls.sync import sync_filesystem

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.enforce.account import Rows
    from indexer.enforce.ledger import Ledger
    from indexer.enforce.pin import Recheck
    from indexer.enforce.result import RunResult
    from indexer.enforce.rows import Action
    from indexer.index.queries import Reader
    from indexer.policy.plan import Plan
    from indexer.rules import Watermark
    from indexer.service.planning import Chosen
    from indexer.store import Store

PARTS = 4
"""The need is met in so many parts, with a look at the real gain after each."""
TRASH_ROUNDS = 3
"""Looks at the room while emptying the trash: blocks that snapshots share come back late or never."""


@dataclass(slots=True)
class Relieving:
    """What all filesystems of one run have in common."""

    store: Store
    reader: Reader
    ledger: Ledger
    root_fd: int
    recheck: Recheck
    clock: Callable[[], float]
    on_removed: Rows | None = None
    trigger: str = "watermark"
    stop: Callable[[], bool] = lambda: False
    progress: Callable[[int], None] | None = None
    override: str | None = None
    chosen: Chosen = lambda _file: True

    def all(self) -> list[Relief]:
        """Look at each filesystem of the store, and make room on those above a mark. Raises LedgerError."""
        mark = self.store.config.watermark
        if mark is None:
            return []
        done = []
        taken = taken_by(mark, self.reader, self.ledger)
        for name, fd in filesystems(self.store.config.store.filesystems, self.root_fd):
            short = shortage(mark, room_of(fd), None if name else taken)
            if short is not None:
                done.append(self._filesystem(name, fd, mark, short))
        return done

    def _filesystem(self, name: str, fd: int, mark: Watermark, short: Shortage) -> Relief:
        before = room_of(fd)
        refused = self._refused(name, mark, short)
        if refused is not None:  # before the first action: the trash is not destroyed for a run that cannot help
            return Relief(name, short, 0, 0, 0, 0, "refused", (refused,))
        purged_files, purged_bytes = self._empty_trash(name, fd, short)
        results: list[RunResult] = []
        stopped = ""
        for _ in range(ROUNDS):  # the ledger and the index grow meanwhile, so that a plan may fall short by a little
            left = still_short(before, room_of(fd), short)
            if left is None or stopped:
                break
            result, stopped = self._files(name, fd, mark, left)
            results += [] if result is None else [result]
        if not stopped and still_short(before, room_of(fd), short) is not None:
            stopped = "exhausted"
        after = room_of(fd)
        return Relief(
            name,
            short,
            purged_files,
            purged_bytes,
            before.used - after.used,
            after.inodes_free - before.inodes_free,
            stopped,
            tuple(results),
        )

    def _refused(self, name: str, mark: Watermark, short: Shortage) -> RunResult | None:
        """Ask the guards about the files that would have to go once the trash is empty; None when they let it pass."""
        lying = self._oldest_trash(name, short)
        need = Used(max(short.files - len(lying), 0), max(short.bytes - sum(one.allocated for one in lying), 0))
        if not (need.files or need.allocated):
            return None
        plan = plan_relief(
            self.store.config, self.reader, self.ledger, name, mark, need, int(self.clock()), override=self.override,
            chosen=self.chosen,
        )  # fmt: skip
        if plan.refused is None:
            return None
        return execute(
            plan, store=self.store, root_fd=self.root_fd, ledger=self.ledger, recheck=self.recheck, now=self.clock,
            kind="watermark", trigger=self.trigger,
        )  # fmt: skip

    def _empty_trash(self, name: str, fd: int, short: Shortage) -> tuple[int, int]:
        """Destroy what lies in this filesystem's trash, the oldest first, as far as needed."""
        first = room_of(fd)
        files = size = 0
        for _ in range(TRASH_ROUNDS):
            need = still_short(first, room_of(fd), short)
            chosen = [] if need is None else self._oldest_trash(name, need)
            if not chosen or self.stop():
                break
            done = purge_trash(
                store=self.store, root_fd=self.root_fd, ledger=self.ledger, now=self.clock, trigger=self.trigger,
                stop=self.stop, only=chosen,
            )  # fmt: skip
            files, size = files + done.files_removed, size + done.bytes_freed
            if not done.files_removed:
                break
            _settle(fd)
        return files, size

    def _oldest_trash(self, name: str, need: Shortage) -> list[Action]:
        lying = unprotected(self.ledger, self.ledger.trash(), self.clock())
        return oldest_trash(lying, name, Used(need.files, need.bytes))

    def _files(self, name: str, fd: int, mark: Watermark, need: Shortage) -> tuple[RunResult | None, str]:
        plan = plan_relief(
            self.store.config, self.reader, self.ledger, name, mark, Used(need.files, need.bytes), int(self.clock()),
            override=self.override, chosen=self.chosen,
        )  # fmt: skip
        if not plan.actions and plan.refused is None:
            return None, "exhausted"
        watch = _Watch(fd, plan, max(need.bytes // PARTS, 1), max(need.files // PARTS, 1))

        def removed(rows: list[tuple[int, bytes]]) -> None:
            watch.removed(rows)
            if self.on_removed is not None:
                self.on_removed(rows)

        result = execute(
            plan, store=self.store, root_fd=self.root_fd, ledger=self.ledger, recheck=self.recheck, now=self.clock,
            on_removed=removed, on_progress=self.progress, kind="watermark", trigger=self.trigger,
            stop=lambda: self.stop() or watch.disappointed,
        )  # fmt: skip
        if result.refused is not None:
            return result, "refused"
        _settle(fd)
        if watch.disappointed:
            return replace(result, interrupted=False), "disappointed"
        if result.interrupted:
            return result, "interrupted"
        return result, "" if result.files_removed else "exhausted"


class _Watch:
    """Compares what a run claims to have removed with what has come free."""

    def __init__(self, fd: int, plan: Plan, size: int, files: int) -> None:
        self._fd = fd
        self._bytes = {
            (one.file.directory_id, one.file.name): one.file.allocated if one.file.links <= 1 else 0
            for one in plan.actions
        }
        self._part = Used(files, size)
        self._claimed = Used()
        self._room = room_of(fd)
        self.disappointed = False

    def removed(self, rows: list[tuple[int, bytes]]) -> None:
        """Count what has gone; after each part, look."""
        self._claimed += Used(len(rows), sum(self._bytes.get(row, 0) for row in rows))
        if self._claimed.allocated < self._part.allocated and self._claimed.files < self._part.files:
            return
        _settle(self._fd)
        now = room_of(self._fd)
        gained = Used(now.inodes_free - self._room.inodes_free, self._room.used - now.used)
        self.disappointed = disappoints(self._claimed, gained)
        self._claimed, self._room = Used(), now


def still_short(first: Room, now: Room, short: Shortage) -> Shortage | None:
    """Return what of a shortage is still needed, once work has begun: down to the low mark, not only the high one."""
    size = max(short.bytes - (first.used - now.used), 0) if short.bytes else 0
    files = max(short.files - (now.inodes_free - first.inodes_free), 0) if short.files else 0
    return Shortage(size, files, short.mark) if size or files else None


def _settle(fd: int) -> None:
    """Let the filesystem really free what was removed: btrfs does so at a commit, xfs in the background."""
    try:
        real = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
    except OSError:
        return  # only the measurement suffers: less seems to have come free, and the run stops earlier
    try:
        sync_filesystem(real)
    except OSError:
        return  # the same; a write error of the filesystem concerns others, and the run's own syncfs tells it
    finally:
        os.close(real)
