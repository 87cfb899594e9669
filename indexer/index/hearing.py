"""When somebody listened to who read what: for `[store] ignore_readers`, where st_atime cannot be believed meanwhile.

The kernel moves st_atime for whoever reads. While a watcher tells uses and leaves out those of ignored programs, only
what it tells counts; st_atime counts at the first sight of a file, and where it lies in a time when nobody listened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.index.meta import Meta

EVER = float("inf")


class Hearing:
    """The gaps in which st_atime counts. Belongs to the writer; times are Unix seconds.

    `meta` keeps heard_until (when somebody last listened) and, while somebody does, hearing_since.
    """

    def __init__(self, meta: Meta, now: int, *, listening: bool) -> None:
        """`listening`: from `now` on, a watcher tells every use by a program that is not ignored."""
        self._meta = meta
        self.listening = listening
        self._heard = now
        until = meta.get("heard_until")
        self._gaps = [(-EVER if until is None else int(until), float(now) if listening else EVER)]
        if listening:
            meta.set("hearing_since", str(now))
        else:
            meta.discard("hearing_since")

    def counts(self, atime: int) -> bool:
        """Say whether a known file's st_atime (Unix seconds) lies in a gap."""
        return any(begin < atime <= end for begin, end in self._gaps)

    def heard(self, now: int, *, note: bool) -> None:
        """Everything up to `now` has been told; `note` it for the next life, where a transaction is written anyway."""
        if self.listening:
            self._heard = now
            if note:
                self._meta.set("heard_until", str(now))

    def lost(self, now: int) -> None:
        """Uses since the last time that all had been told are lost."""
        if self.listening and self._gaps[-1][1] < now:
            self._gaps.append((float(self._heard) - 1, float(now)))

    def close(self, now: int) -> None:
        """Nobody listens from now on."""
        if self.listening:
            self.listening = False
            self._meta.set("heard_until", str(now))
            self._meta.discard("hearing_since")
