"""The pass over the whole tree that is under way: what it is for, how far it has come, since when all is in doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.events import ROOT_ID

if TYPE_CHECKING:
    from indexer.events import Rescan
    from indexer.index.lister import Lister
    from indexer.index.meta import Meta
    from indexer.index.turn import Applied, Turn


class Pass:
    """One at a time; there may be none."""

    def __init__(self, meta: Meta, turn: Turn, applied: Applied) -> None:
        self._meta = meta
        self._turn = turn
        self._applied = applied
        self._lister: Lister | None = None
        self._listed_before = 0
        self.reason: str | None = None
        """first, verify …; None when there is none."""
        self._before: tuple[str | None, int, bool] = None, 0, False

    def drive(self, lister: Lister) -> None:
        """This is who lists."""
        self._lister = lister

    @property
    def directories(self) -> int:
        """How many directories have been listed since it began; 0 when there is none."""
        return 0 if self.reason is None else self._applied.directories - self._listed_before

    @property
    def lister(self) -> Lister:
        """Who lists."""
        assert self._lister is not None  # noqa: S101 - made with the index
        return self._lister

    def begin(self) -> None:
        """Start a transaction."""
        self._before = self.reason, self.lister.names, self.lister.root_listed

    def rollback(self) -> None:
        """It failed."""
        self.reason, self.lister.names, self.lister.root_listed = self._before

    def request(self, rescan: Rescan, directory_id: int) -> None:
        """Somebody wants a directory listed: with all below the root, a pass begins, or goes on as this one."""
        if directory_id != ROOT_ID or not rescan.tree:
            return
        if self.reason in {None, "requested"}:
            self.reason = rescan.reason or "requested"
            self.lister.root_listed = False
            self._listed_before = self._applied.directories
        if rescan.reason not in {"first", "requested"}:
            self.doubt_everything()

    def doubt_everything(self) -> None:
        """There was a gap: until a pass over the tree ends, only what has been listed since now counts as verified."""
        self._meta.set("doubted", str(self._turn.now_ns))

    def doubt(self) -> tuple[int, bool]:
        """Return since when (Unix nanoseconds) everything has to be listed, and whether a pass does that now."""
        return int(self._meta.get("doubted") or 0), self.reason is not None

    def end(self) -> bool:
        """It has come to its end; False where the root went away meanwhile, so that nothing has been seen."""
        self.reason = None
        return self.lister.root_listed
