"""The index's few facts about itself: key and value, both text."""

from __future__ import annotations

from typing import Any


class Meta:
    """`meta` through the writer's connection.

    Keys: complete (Unix time of the first complete scan), last_event, last_reconcile, policy and ignore (fingerprints),
    rebuilt_at, has_links, doubted, heard_until and hearing_since (see `hearing`), own (of classes with
    `unit = "child"`: [class id, path] of each of their own directories).
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def get(self, key: str) -> str | None:
        """Return the value, None where there is none."""
        row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set(self, key: str, value: str) -> None:
        """Write the value in the caller's transaction."""
        self._connection.execute(
            "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value)
        )

    def discard(self, key: str) -> None:
        """Take a fact away in the caller's transaction."""
        self._connection.execute("DELETE FROM meta WHERE key = ?", (key,))
