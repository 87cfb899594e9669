"""The ledger: a durable record before each destructive act, and of what became of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from indexer.enforce import hooks
from indexer.enforce.archive import Archive
from indexer.enforce.history import History
from indexer.enforce.holds import Holds
from indexer.enforce.notices import Notices
from indexer.enforce.rows import Ending, Intent, Plain, path_columns, ranges, signed
from indexer.enforce.samples import Samples
from indexer.enforce.thrash import Thrash

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from indexer.enforce.origins import Origin
    from indexer.enforce.rows import Action
    from indexer.syscalls.stat import FileStat

_INTENT = (
    "INSERT INTO action (seq, path, path_bytes, filesystem, class, action, reason, size, allocated, links, uid, gid,"
    " mode, inode, birth_ns, mtime_ns, used_at, clock_at, ttl, trash_name, trash_ttl, child, origin, run_id)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {run:d})"
)
_ORIGIN = (
    "INSERT INTO origin (number, parent, inode, birth_ns, uid, gid, mode, acl, default_acl, run_id)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_ENDING = (
    "UPDATE action SET outcome = ?, error = ?, at = ?, in_trash = ?, restorable_until = ?, size = ?, allocated = ?,"
    " links = ?, uid = ?, gid = ?, mode = ?, inode = ?, birth_ns = ?, mtime_ns = ? WHERE run_id = ? AND seq = ?"
)
_PLAIN = (
    "UPDATE action SET outcome = ?, error = ?, at = ?, in_trash = ?, restorable_until = ?"
    " WHERE run_id = ? AND seq BETWEEN ? AND ?"
)
_RENEW = (
    "UPDATE action SET allocated = ?, links = ?, inode = ?, birth_ns = ?, mtime_ns = ? WHERE run_id = ? AND seq = ?"
)
_BEGIN = 'INSERT INTO run (kind, "trigger", user, mode, policy, started, planned) VALUES (?, ?, ?, ?, ?, ?, ?)'
_FINISH = (
    "UPDATE run SET finished = ?, files_removed = ?, bytes_freed = ?, bytes_trashed = ?, directories_removed = ?,"
    " errors = ?, kept = ?, classes = ?, truncated = ?, interrupted = ?, refused = ? WHERE id = ?"
)
_NOTICED = (
    "DELETE FROM notice WHERE path IN (SELECT path FROM action WHERE run_id = ?"
    " AND outcome IN ('trashed', 'deleted', 'sent', 'stray', 'unknown'))"
)


def _finished(run: int, now: float, result: dict[str, Any]) -> tuple[Any, ...]:
    return (
        int(now),
        result.get("files_removed", 0),
        result.get("bytes_freed", 0),
        result.get("bytes_trashed", 0),
        result.get("directories_removed", 0),
        len(result.get("errors", ())),
        json.dumps(result.get("kept", {}), sort_keys=True),
        json.dumps(result.get("classes", {}), sort_keys=True),
        int(result.get("truncated", False)),
        int(result.get("interrupted", False)),
        result.get("refused"),
        run,
    )


def _origin_row(origin: Origin, run: int) -> tuple[Any, ...]:
    identity, *rest = origin.facts
    return (origin.number, origin.parent, signed(identity.inode), identity.birth_ns, *rest, run)


class Ledger(Archive, History, Holds, Notices, Samples, Thrash):
    """`ledger.db` with all that a run writes into it; `Ledger.open(path)`."""

    def begin_run(
        self, kind: str, trigger: str, *, user: str, mode: str, policy: str, now: float, planned: int = 0
    ) -> int:
        """Record that a run begins, durably; return its id. Raises LedgerError."""
        row = (kind, trigger, user, mode, policy, int(now), planned)
        return self._write(lambda connection: int(connection.execute(_BEGIN, row).lastrowid))

    def whole_run(
        self,
        kind: str,
        trigger: str,
        result: dict[str, Any],
        *,
        user: str,
        mode: str,
        policy: str,
        now: float,
        planned: int,
    ) -> int:
        """Record a run that touches nothing, begun and ended in one durable commit; return its id."""
        row = (kind, trigger, user, mode, policy, int(now), planned)

        def work(connection: Any) -> int:
            run = int(connection.execute(_BEGIN, row).lastrowid)
            connection.execute(_FINISH, _finished(run, now, result))
            return run

        return self._write(work)

    def intents(self, run: int, rows: Sequence[Intent], origins: Sequence[Origin] = ()) -> None:
        """Record what is about to be done, in one durable commit; nothing may be touched before it returns."""
        self.advance(run, intents=rows, origins=origins)

    def outcomes(self, rows: Sequence[Ending]) -> None:
        """Record what became of intents, in one durable commit."""
        self.advance(0, endings=rows)

    def advance(
        self,
        run: int,
        *,
        endings: Sequence[Ending | Plain] = (),
        withdrawn: Sequence[tuple[int, int]] = (),
        intents: Sequence[Intent] = (),
        origins: Sequence[Origin] = (),
    ) -> None:
        """Record the end of one batch and announce the next, in one durable commit (two fsyncs fewer than in two).

        `withdrawn` are (run, seq) of intents whose turn never came: they are dropped. `origins` are the directories
        that the intents, or later ones, refer to.
        """
        places = [_origin_row(origin, run) for origin in origins]

        def work(connection: Any) -> None:
            connection.executemany(_PLAIN, ranges(row for row in endings if isinstance(row, Plain)))
            connection.executemany(_ENDING, [row for row in endings if not isinstance(row, Plain)])
            connection.executemany("DELETE FROM action WHERE run_id = ? AND seq = ? AND outcome IS NULL", withdrawn)
            connection.executemany(_ORIGIN, places)
            connection.executemany(_INTENT.format(run=run), intents)

        hooks.at("ledger.before")
        self._write(work)
        hooks.at("ledger.after")

    def renew(self, rows: Iterable[tuple[Action, FileStat]], strays: Sequence[Ending]) -> None:
        """Record which objects those of a copied tree are now, and which are not what they should be, in one commit."""
        values = [
            (st.blocks * 512, st.links, signed(st.inode), st.btime_ns, st.mtime_ns, action.run, action.seq)
            for action, st in rows
        ]

        def work(connection: Any) -> None:
            connection.executemany(_RENEW, values)
            connection.executemany(_ENDING, strays)

        self._write(work)

    def finish_run(self, run: int, now: float, result: dict[str, Any]) -> None:
        """Record the end of a run; `result` has the keys of CONTRACT §4. From here on its outcomes are final."""
        row = _finished(run, now, result)

        def work(connection: Any) -> None:
            connection.execute(_FINISH, row)
            # What went and comes back wants a new notice.
            if connection.execute("SELECT 1 FROM notice LIMIT 1").fetchone() is not None:
                connection.execute(_NOTICED, (run,))

        hooks.at("finish.before")
        self._write(work)
        hooks.at("finish.after")

    def leaving(self, run: int, outcome: str, rows: Iterable[tuple[bytes | None, int, int]]) -> None:
        """Record that objects are about to leave the trash: `rows` are (where to, run, seq) of their actions."""
        statement = (
            "UPDATE action SET outcome = ?, left_run = ?, restored_to = ?, restored_to_bytes = ?"
            " WHERE run_id = ? AND seq = ?"
        )
        values = [
            (outcome, run, *(path_columns(target) if target is not None else (None, None)), run_id, seq)
            for target, run_id, seq in rows
        ]
        self._write(lambda connection: connection.executemany(statement, values))

    def left(self, rows: Iterable[tuple[str, str | None, int | None, bytes | None, int, int]]) -> None:
        """Record what became of objects that were to leave the trash.

        `rows` are (outcome, error, left_at or None when it stays, where to, run, seq).
        """
        statement = (
            "UPDATE action SET outcome = ?, error = ?, left_at = ?, in_trash = ?, restorable_until ="
            " CASE WHEN ? IS NULL THEN restorable_until END, restored_to = ?, restored_to_bytes = ?"
            " WHERE run_id = ? AND seq = ?"
        )
        values = [
            (outcome, error, left, 1 if left is None else None, left)
            + (path_columns(target) if target is not None else (None, None))
            + (run, seq)
            for outcome, error, left, target, run, seq in rows
        ]
        self._write(lambda connection: connection.executemany(statement, values))
