"""What the ledger knows: runs, what they did to a path, and what lies in the trash."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from indexer.enforce.database import Database
from indexer.enforce.origins import Facts
from indexer.enforce.rows import ACTION_COLUMNS, RUN_COLUMNS, action_of, path_columns, path_of, run_of, unsigned
from indexer.records import Identity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from indexer.enforce.rows import Action, RunRow


class History(Database):
    """The questions about the past."""

    def removed(self, path: bytes) -> Action | None:
        """Return the last action that took `path` (relative to the store) away, or None; also when it came back."""
        text, exact = path_columns(path)
        rows = self._query(
            f"SELECT {ACTION_COLUMNS} FROM action WHERE path = ? AND path_bytes IS ?"  # noqa: S608
            " AND outcome IS NOT NULL AND outcome NOT IN ('kept', 'failed') ORDER BY run_id DESC, seq DESC LIMIT 1",
            (text, exact),
        )
        return action_of(rows[0]) if rows else None

    def child(self, run: int, child: str) -> list[Action]:
        """Return the files that went with a child directory (as text) in a run, in the order they were intended."""
        wanted = "WHERE child = ? AND run_id = ? AND action <> 'rmdir' ORDER BY seq"
        rows = self._query(f"SELECT {ACTION_COLUMNS} FROM action {wanted}", (child, run))  # noqa: S608
        return [action_of(row) for row in rows]

    def actions(self, run: int) -> Iterator[Action]:
        """Yield the actions of a run in the order they were intended."""
        return map(action_of, self._query(f"SELECT {ACTION_COLUMNS} FROM action WHERE run_id = ? ORDER BY seq", (run,)))  # noqa: S608

    def origins(self, run: int, number: int | None) -> list[Facts]:
        """Return who the directory of that number was, then who those above it were, up to below the root."""
        found: list[Facts] = []
        while number is not None:
            rows = self._query(
                "SELECT parent, inode, birth_ns, uid, gid, mode, acl, default_acl FROM origin"
                " WHERE run_id = ? AND number = ?",
                (run, number),
            )
            if not rows:
                break
            number, inode, birth_ns, *rest = rows[0]
            found.append(Facts(Identity(unsigned(inode), birth_ns), *rest))
        return found

    def trash(self, *, until: int | None = None) -> Iterator[Action]:
        """Yield what lies in the trash, first what goes first; with `until` only what is restorable until then."""
        return map(
            action_of,
            self._query(
                f"SELECT {ACTION_COLUMNS} FROM action WHERE in_trash = 1 AND (? IS NULL OR restorable_until <= ?)"  # noqa: S608
                " ORDER BY restorable_until, run_id, seq",
                (until, until),
            ),
        )

    def trash_totals(self) -> tuple[int, int]:
        """Return (files, allocated bytes) that lie in the trash."""
        row = self._query("SELECT count(*), coalesce(sum(allocated), 0) FROM action WHERE in_trash = 1")[0]
        return row[0], row[1]

    def runs(self, limit: int = 20) -> list[RunRow]:
        """Return the last runs, the latest first."""
        return self._runs(f"SELECT {RUN_COLUMNS} FROM run ORDER BY id DESC LIMIT ?", (limit,))  # noqa: S608

    def run(self, run: int) -> RunRow | None:
        """Return one run, or None."""
        found = self._runs(f"SELECT {RUN_COLUMNS} FROM run WHERE id = ?", (run,))  # noqa: S608
        return found[0] if found else None

    def last_run(self, kind: str, triggers: Sequence[str], *, whole: bool = False) -> RunRow | None:
        """Return the last run of a kind that one of `triggers` started (none named: any), or None.

        `whole`: the last that came to its end, neither cut off by a crash nor told to stop.
        """
        marks = ", ".join("?" * len(triggers))
        wanted = (
            "kind = ?"
            + (f' AND "trigger" IN ({marks})' if triggers else "")
            + (" AND finished IS NOT NULL AND NOT interrupted" if whole else "")
        )
        found = self._runs(f"SELECT {RUN_COLUMNS} FROM run WHERE {wanted} ORDER BY id DESC LIMIT 1", (kind, *triggers))  # noqa: S608
        return found[0] if found else None

    def run_totals(self) -> list[dict[str, Any]]:
        """Return one row a kind of run: how many, what they did, and when one last ended without error or refusal."""
        names = ("kind", "runs", "files_removed", "bytes_freed", "bytes_trashed", "errors", "refused", "last_success")
        rows = self._query(
            "SELECT kind, count(*), sum(files_removed), sum(bytes_freed), sum(bytes_trashed), sum(errors),"
            " count(refused), max(CASE WHEN refused IS NULL AND NOT interrupted AND NOT errors THEN finished END)"
            " FROM run GROUP BY kind ORDER BY kind"
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    def unfinished(self) -> list[RunRow]:
        """Return runs without an end: in flight if somebody holds the run lock, else cut off by a crash."""
        return self._runs(f"SELECT {RUN_COLUMNS} FROM run WHERE finished IS NULL ORDER BY id", ())  # noqa: S608

    def removed_since(self, since: float) -> dict[str, tuple[int, int]]:
        """Return {class: (files, bytes)} of all runs that ended at or after `since` (Unix seconds).

        A run that straddles the moment counts whole.
        """
        totals: dict[str, tuple[int, int]] = {}
        for (text,) in self._query(
            "SELECT classes FROM run WHERE finished >= ? AND kind IN ('expire', 'cleanup', 'quota', 'watermark')",
            (int(since),),
        ):
            for name, part in json.loads(text).items():
                files, size = totals.get(name, (0, 0))
                totals[name] = (files + part["files_removed"], size + part["bytes_freed"] + part["bytes_trashed"])
        return totals

    def missing_since(self, since: float) -> dict[str, int]:
        """Return {class: files} that runs have removed since (Unix seconds) and nobody has brought back: for guards."""
        files = {name: count for name, (count, _) in self.removed_since(since).items()}
        restores = self._query("SELECT 1 FROM run WHERE kind = 'restore' AND finished >= ? LIMIT 1", (int(since),))
        if restores:  # else no action of these runs need be looked at
            for name, count in self._query(
                "SELECT class, count(*) FROM action WHERE run_id IN (SELECT id FROM run WHERE finished >= ? AND kind IN"
                " ('expire', 'cleanup', 'quota', 'watermark')) AND outcome = 'restored' AND action <> 'rmdir'"
                " GROUP BY class",
                (int(since),),
            ):
                files[name] = max(0, files.get(name, 0) - count)
        return files

    def touched(self, since: float) -> Iterator[bytes]:
        """Yield paths of files that a run opened and then left since `since` (Unix seconds).

        Closing them was a read-only close like any reader's; the index must not take it for use.
        """
        rows = self._query(
            "SELECT path, path_bytes FROM action WHERE run_id IN (SELECT id FROM run WHERE finished IS NULL OR"
            " finished >= ?) AND (outcome IS NULL OR outcome IN ('kept', 'failed'))",
            (int(since),),
        )
        return (path_of(*row) for row in rows)

    def in_flight(self, path: bytes, *, tree: bool) -> bool:
        """True while an open intent concerns `path`, or with `tree` anything below it: a removal may be under way.

        Whoever has just recorded a hold waits for this to become False; a run looks at the holds after each commit
        of intents, so that one of the two always sees the other.
        """
        below = path + b"/" if path else b""
        return any(found == path or (tree and found.startswith(below)) for found in self.under_way())

    def under_way(self) -> Iterator[bytes]:
        """Yield the paths of open intents: removals, also out of the trash, that may be under way."""
        rows = self._query(
            "SELECT path, path_bytes FROM action WHERE run_id IN (SELECT id FROM run WHERE finished IS NULL)"
            " AND (outcome IS NULL OR outcome = 'destroying') UNION ALL"
            " SELECT path, path_bytes FROM action WHERE in_trash IS NOT NULL AND outcome = 'purging'"
            " AND left_run IN (SELECT id FROM run WHERE finished IS NULL)"
        )
        return (path_of(*row) for row in rows)

    def _runs(self, statement: str, values: tuple[Any, ...]) -> list[RunRow]:
        return [run_of(row) for row in self._query(statement, values)]
