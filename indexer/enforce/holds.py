"""Holds: recorded in the ledger, asked for before each batch."""

from __future__ import annotations

from typing import Any

from indexer.enforce.database import Database
from indexer.enforce.protection import Protection
from indexer.enforce.rows import Hold, Protector, path_columns, path_of


class Holds(Database):
    """What must not go."""

    def holds(self, now: float) -> list[Hold]:
        """Return the holds in force at `now`."""
        rows = self._query(
            'SELECT id, path, path_bytes, kind, until, reason, "by", created FROM hold WHERE until IS NULL OR until > ?'
            " ORDER BY path, id",
            (int(now),),
        )
        return [Hold(row[0], path_of(row[1], row[2]), *row[3:]) for row in rows]

    def add_hold(self, path: bytes, kind: str, *, until: int | None, reason: str, by: str, now: float) -> int:
        """Protect a `file`, a `tree` and all below it, or what a `glob` matches; return the hold's id.

        Until a time (Unix seconds) or (None) until released.
        """
        row = (*path_columns(path), kind, until, reason, by, int(now))
        statement = (
            'INSERT INTO hold (path, path_bytes, kind, until, reason, "by", created) VALUES (?, ?, ?, ?, ?, ?, ?)'
        )
        return self._write(lambda connection: int(connection.execute(statement, row).lastrowid))

    def release_hold(self, path: bytes) -> int:
        """End every hold on exactly this path; return how many there were."""
        statement = "DELETE FROM hold WHERE path = ? AND path_bytes IS ?"
        return self._write(lambda connection: int(connection.execute(statement, path_columns(path)).rowcount))

    def add_lease(self, path: bytes, holder: str, *, expires: int, now: float) -> int:
        """Protect a path and all below it, whether it exists or not, until `expires` (Unix seconds); return its id.

        Leases that have run out are forgotten on the way.
        """

        def work(connection: Any) -> int:
            connection.execute("DELETE FROM lease WHERE expires <= ?", (int(now),))
            statement = "INSERT INTO lease (path, path_bytes, holder, expires, created) VALUES (?, ?, ?, ?, ?)"
            return int(connection.execute(statement, (*path_columns(path), holder, expires, int(now))).lastrowid)

        return self._write(work)

    def renew_lease(self, lease: int, *, expires: int) -> bool:
        """Move the end of a lease; False when it is not there any more."""
        statement = "UPDATE lease SET expires = ? WHERE id = ?"
        return bool(self._write(lambda connection: int(connection.execute(statement, (expires, lease)).rowcount)))

    def lease_holder(self, lease: int) -> str | None:
        """Return who took a lease, None when there is none."""
        rows = self._query("SELECT holder FROM lease WHERE id = ?", (lease,))
        return next((str(row[0]) for row in rows), None)

    def end_lease(self, lease: int) -> None:
        """Give a lease back."""
        self._write(lambda connection: connection.execute("DELETE FROM lease WHERE id = ?", (lease,)))

    def protecting(self, path: bytes, now: float) -> list[Protector]:
        """Return the holds and leases in force that keep `path`, and those on something below it, by path."""
        below, found = path + b"/", []
        for hold in self.holds(now):
            if hold.kind == "glob":
                keeps = Protection((), [hold.path]).blocker(path) is not None
            else:
                keeps = (
                    hold.path.startswith(below)
                    or Protection([(hold.path, hold.kind == "tree", "held")]).blocker(path) is not None
                )
            if keeps:
                found.append(Protector(hold.kind, hold.path, hold.by, hold.reason, hold.until))
        leases = self._query("SELECT path, path_bytes, holder, expires FROM lease WHERE expires > ?", (int(now),))
        for text, exact, holder, expires in leases:
            leased = path_of(text, exact)
            if leased.startswith(below) or Protection([(leased, True, "leased")]).blocker(path) is not None:
                found.append(Protector("lease", leased, holder, "", expires))
        return found

    def protection(self, now: float) -> Protection:
        """Return the holds and leases in force at `now`, ready for many look-ups."""
        found = self.holds(now)
        holds = [(hold.path, hold.kind == "tree", "held") for hold in found if hold.kind != "glob"]
        leases = self._query("SELECT path, path_bytes FROM lease WHERE expires > ?", (int(now),))
        globs = [hold.path for hold in found if hold.kind == "glob"]
        return Protection([*holds, *((path_of(*row), True, "leased") for row in leases)], globs)
