"""Old runs leave the ledger: which may go, what is written of them, and their end; a crash may cut it off."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from indexer.enforce.database import Database
from indexer.enforce.rows import ACTION_COLUMNS, RUN_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "archiving"
"""In meta: the archive that is just being written, {file, runs, usage_before}; nothing where none is."""
DAY = 86_400
LEAST = 2 * DAY
"""Runs younger than this stay whatever the configuration says: guards look back a day."""
MOST_ROWS = 200_000
"""Actions in one archive, unless a single run has more."""
MOST_RUNS = 2_000

# What lies in the trash, or is on its way out of it, can still be undone; the last runs of each kind say when the next
# one is due, so they stay.
_OLD = """
    SELECT id, (SELECT count(*) FROM action a WHERE a.run_id = run.id), started FROM run
    WHERE finished IS NOT NULL AND finished < ?1
        AND id NOT IN (SELECT max(id) FROM run GROUP BY kind, "trigger", refused IS NULL AND NOT interrupted)
        AND NOT EXISTS (SELECT 1 FROM action a WHERE a.run_id = run.id
            AND (a.in_trash IS NOT NULL OR a.outcome IS NULL OR a.outcome IN ('restoring', 'purging')))
    ORDER BY id LIMIT ?2
"""


class Archive(Database):
    """What leaves the ledger in the end."""

    def next_archive(self, before: int, usage_before: int) -> dict[str, Any] | None:
        """Return the archive to be made of what ended before `before` (Unix seconds); None: there is nothing.

        One that a crash has cut off is returned again, the very same.
        """
        noted = self.noted(KEY)
        if noted is not None:
            found: dict[str, Any] = json.loads(noted)
            return found
        runs: list[int] = []
        rows = first = 0
        for number, actions, started in self._query(_OLD, (before, MOST_RUNS)):
            if runs and rows + actions > MOST_ROWS:
                break
            first = first if runs else started
            runs.append(number)
            rows += actions
        samples = self._query("SELECT count(*) FROM usage_history WHERE at < ?", (usage_before,))[0][0]
        if not runs and not samples:
            return None
        # A ledger that was made anew counts from 1 again: the time keeps it from what another one has archived.
        name = f"runs-{runs[0]:09}-{runs[-1]:09}-{first}.jsonl" if runs else f"usage-{usage_before}.jsonl"
        document = {"file": name, "runs": runs, "usage_before": usage_before}
        self.note(KEY, json.dumps(document))
        return document

    def archive_lines(self, archive: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield what is written of an archive's runs: each run, then its actions; then the samples of usage."""
        for number in archive["runs"]:
            for row in self._query(f"SELECT {RUN_COLUMNS} FROM run WHERE id = ?", (number,)):  # noqa: S608
                run = _named(RUN_COLUMNS, row)
                yield {"run": {**run, "kept": json.loads(run["kept"]), "classes": json.loads(run["classes"])}}
            for row in self._query(f"SELECT {ACTION_COLUMNS} FROM action WHERE run_id = ? ORDER BY seq", (number,)):  # noqa: S608
                action = _named(ACTION_COLUMNS, row)
                action.pop("origin", None)  # for the way back: nothing of these runs can come back any more
                yield {"action": action}
        columns = "at, class, files, bytes, allocated"
        for row in self._query(
            f"SELECT {columns} FROM usage_history WHERE at < ? ORDER BY at, class",  # noqa: S608
            (archive["usage_before"],),
        ):
            yield {"usage": _named(columns, row)}

    def end_archive(self, archive: dict[str, Any]) -> None:
        """Take what an archive holds out of the ledger, in one durable transaction; it must be on disk by now."""
        runs = [(number,) for number in archive["runs"]]

        def work(connection: Any) -> None:
            connection.executemany("DELETE FROM action WHERE run_id = ?", runs)
            connection.executemany("DELETE FROM origin WHERE run_id = ?", runs)
            connection.executemany("DELETE FROM run WHERE id = ?", runs)
            connection.execute("DELETE FROM usage_history WHERE at < ?", (archive["usage_before"],))
            connection.execute("DELETE FROM meta WHERE key = ?", (KEY,))

        self._write(work)


def _named(columns: str, row: tuple[Any, ...]) -> dict[str, Any]:
    names = [name.strip().strip('"') for name in columns.split(",")]
    return {
        name: value.hex() if isinstance(value, bytes) else value
        for name, value in zip(names, row, strict=True)
        if value is not None
    }
