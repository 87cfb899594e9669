"""An index over a real tree with a real watcher: what happens reaches it by events, and `settle` is a barrier."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from indexer.events import Barrier, Batch
from indexer.index.quick import quick_pass
from indexer.watch.inotify import InotifyWatcher
from indexer.watch.source import Watcher
from tests.index.rig import NOW, Rig

DEADLINE = 30.0


class Live(Rig):
    """A `Rig` whose index is told by inotify."""

    def __init__(self, folder: Path, tree: Any = None, **wishes: Any) -> None:
        self.live = wishes.pop("watcher", None) or InotifyWatcher(clock=lambda: float(NOW), nap=0.001)
        self.live.start()
        super().__init__(folder, tree, watcher=self.live, **wishes)
        if tree is None:
            self.first()
        self.settled()

    def settled(self) -> Batch:
        """Take and apply until all that has happened is in the index; return all that was taken, merged."""
        barrier = self.live.barrier()
        whole = Batch(self.now)
        deadline = time.monotonic() + DEADLINE
        while barrier not in whole.barriers or not self.index.settled:
            assert time.monotonic() < deadline, f"not settled: {self.index.pending} pending"
            batch = self.live.take(0.01)
            self.index.apply(batch)
            merge(whole, batch)
        return whole

    def restart(self, while_down: Any = None) -> int:
        """Stop, let `while_down` happen, and start as the service does; return how many directories were doubted."""
        self.live.stop()
        self.close()
        if while_down is not None:
            while_down()
        self.live = InotifyWatcher(clock=lambda: float(NOW), nap=0.001)
        self.live.start()
        self.open(watcher=self.live)
        for _ in quick_pass(self.index):
            pass
        return len(self.index.backlog)

    def watched(self) -> set[int]:
        """Return the ids of the directories that have a watch."""
        return set(self.live._watches)

    def known(self) -> set[int]:
        """Return the ids of the directories in the index."""
        return {row[0] for row in self.index.connection.execute("SELECT id FROM directory")}

    def __exit__(self, *_: object) -> None:
        self.live.stop()
        self.close()


def merge(whole: Batch, batch: Batch) -> None:
    """Add one batch to another."""
    for directory, names in batch.hints.items():
        for name, kinds in names.items():
            whole.hint(directory, name, kinds)
    whole.rescans += batch.rescans
    whole.barriers += batch.barriers
    whole.events += batch.events


def taken(watcher: Watcher, barrier: Barrier | None = None) -> Batch:
    """Take until a barrier rides, without any index; return all that came, merged."""
    barrier = barrier or watcher.barrier()
    whole = Batch(0)
    deadline = time.monotonic() + DEADLINE
    while barrier not in whole.barriers:
        assert time.monotonic() < deadline, "the barrier did not come"
        merge(whole, watcher.take(0.1))
    return whole
