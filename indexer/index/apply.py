"""The one writer: brings the index into agreement with the tree, a batch at a time.

A batch says which names may have changed. Each is stat'ed once, here, through a verified directory, and its row made
to agree with what is there. Order, duplicates and merged events do not matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.events import CHANGED, ROOT_ID, Batch, Rescan
from indexer.index import derived
from indexer.index.ahead import Ahead
from indexer.index.backlog import Backlog, Listing
from indexer.index.children import Children
from indexer.index.classes import RulesCache, sync_classes
from indexer.index.compare import Comparer
from indexer.index.database import connect_writer, damage_is_an_error, transaction
from indexer.index.directories import Directories
from indexer.index.doubts import Doubts
from indexer.index.files import Files
from indexer.index.hearing import Hearing
from indexer.index.hints import Hints
from indexer.index.limbo import Limbo
from indexer.index.links import Links
from indexer.index.lister import Lister
from indexer.index.meta import Meta
from indexer.index.passes import Pass
from indexer.index.prepare import prepare
from indexer.index.proofs import Proofs
from indexer.index.reclassify import Reclassifier
from indexer.index.rows import DELETE, NS, key_of, signed
from indexer.index.subtrees import Subtrees
from indexer.index.turn import Applied, Turn
from indexer.index.units import Units
from indexer.index.writes import Writes
from indexer.watch.source import DirectoryWatcher, NullWatcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from indexer.events import DirectoryKey
    from indexer.index.classes import Policy
    from indexer.index.directories import Filesystem
    from indexer.index.doubts import Names
    from indexer.index.rows import Key
    from indexer.index.stats import Fields
    from indexer.watch.source import Watcher

__all__ = ["BUDGET", "Applied", "Index"]

LOSSES = {"overflow", "folded"}
"""Reasons of a rescan that come with lost uses."""
BUDGET = 5_000
"""Names listed in one transaction beside the events: bounds their lag."""


class Index:
    """The write side of `index.db`. Confined to one thread; everyone else reads."""

    def __init__(
        self,
        path: Path,
        filesystems: list[Filesystem],
        *,
        policy: Policy,
        watcher: Watcher | None = None,
        exempt: frozenset[tuple[int, int]] = frozenset(),
        own_file: bytes | None = None,
        access_resolution: int = 60,
        ignores_readers: bool = False,
        now: float,
    ) -> None:
        """Open the index at `path` over opened filesystems, the root's first.

        `exempt` holds (st_dev, inode) of the control directory and the configuration file, `own_file` is the latter's
        name where it lies in the root (an editor replaces its inode), `access_resolution` is in seconds, `now` is Unix
        seconds. With `ignores_readers` st_atime counts only where nobody listened (`index.hearing`). Raises
        IndexDatabaseError.
        """
        self.path = path
        exempt = frozenset((dev, signed(inode)) for dev, inode in exempt)
        self.watcher = watcher if watcher is not None else NullWatcher()
        self.by_directory = self.watcher if isinstance(self.watcher, DirectoryWatcher) else None
        """The same watcher where it sees only directories that were registered, else None."""
        self.applied = Applied()
        self.connection = connection = connect_writer(path)
        self.meta = Meta(connection)
        try:
            with damage_is_an_error(path), transaction(connection):
                left_over = prepare(connection, filesystems, self.meta, policy)
                agings = sync_classes(connection, policy)
                derived.roll_up(connection)
        except BaseException:
            connection.close()
            raise
        telling = getattr(self.watcher, "tells_readers", False)
        self.hearing = Hearing(self.meta, int(now), listening=telling) if ignores_readers else None
        """When uses were told by somebody who knows who read; None where every st_atime counts."""
        self._agings = agings
        self._turn = turn = Turn(int(now), bulk=not derived.complete(connection))
        self._pass = Pass(self.meta, turn, self.applied)
        self._dropped: list[int] = []

        self.backlog = Backlog()
        self._subtrees = Subtrees(connection, turn)
        self.directories = Directories(connection, filesystems, self._subtrees)
        self._units = Units(connection, self.directories, turn)
        self._units.adopt(policy, agings)
        with damage_is_an_error(path), transaction(connection):
            self._subtrees.adopt(policy.rules)
        self.reclassifier = Reclassifier(connection, self.directories, turn, policy, agings, self._units)
        self._rules = RulesCache(self.directories, policy.classifier)
        self._limbo = Limbo(self.directories, self._rules, self.reclassifier, turn, left_over)
        self._doubts = Doubts(connection)
        self._proofs = Proofs(connection, self.directories)
        self._writes = Writes(connection, turn, agings)
        self._links = Links(connection, self.directories, turn)
        self._files = Files(
            connection, self.directories, self._writes, self._links, turn, agings, exempt=exempt, own_file=own_file,
            hearing=self.hearing,
        )  # fmt: skip
        children = Children(
            connection, self.directories, self._limbo, self.backlog, self.by_directory, turn, exempt, self._pass.doubt
        )
        compare = Comparer(
            connection, self.directories, self._rules, self._files, children, self._limbo, self._links, self._writes,
            turn,
        )  # fmt: skip
        self._lister = Lister(
            connection, self.directories, compare, self._limbo, self._doubts, self._proofs, self.backlog, self.watcher,
            turn,
        )  # fmt: skip
        self._pass.drive(self._lister)
        self._ahead = Ahead(connection, self._lister)
        self._hints = Hints(
            connection, self.directories, compare, self._writes, self._links, self._doubts, self._proofs, self.backlog,
            self._ahead, self._limbo, self.watcher, turn, access_resolution=access_resolution,
        )  # fmt: skip
        self._rooms = (
            self.backlog, self._ahead, self._doubts, self._limbo, self._proofs, self._links, self.reclassifier,
            self._units, self._subtrees, self._pass,
        )  # fmt: skip
        """All that remembers something between two transactions, and can take back what a failed one did to it."""
        if self.meta.get("policy") != policy.fingerprint:
            self.reclassifier.start_all(policy.fingerprint)

    # What the outside asks

    @property
    def complete(self) -> bool:
        """The whole tree has been listed at least once."""
        return self.meta.get("complete") is not None

    @property
    def bulk(self) -> bool:
        """A first scan is under way: counters, secondary indexes and charges are made at its end."""
        return self._turn.bulk

    @property
    def settled(self) -> bool:
        """Nothing is waiting: no listing, no directory in limbo, no postponed name, no reclassification."""
        return not (self.busy or self.unsettled or self._limbo.stranded)

    @property
    def busy(self) -> bool:
        """There is work that needs no event: call `apply` again soon."""
        return bool(self._to_list or self._doubts.later or self.reclassifier.pending or self._units.pending)

    @property
    def unsettled(self) -> bool:
        """Directories in limbo, names postponed, or names of one inode that disagree: an empty batch would decide."""
        return bool(self._limbo) or self._doubts.postponed or self._links.torn

    @property
    def unproven(self) -> bool:
        """Directory times wait to be confirmed: an empty drained batch, a moment later, would do it."""
        return bool(self._proofs)

    @property
    def pending(self) -> int:
        """How many directories and names wait."""
        return len(self.backlog) + len(self._ahead) + len(self._limbo) + len(self._doubts)

    @property
    def pass_running(self) -> str | None:
        """Reason of the pass over the whole tree that is under way: first, verify …; None when there is none."""
        return self._pass.reason

    @property
    def pass_directories(self) -> int:
        """How many directories have been listed since that pass began; 0 when there is none."""
        return self._pass.directories

    @property
    def parallel(self) -> bool:
        """Let a second process list ahead: set while somebody waits for a pass over the whole tree."""
        return self._ahead.allowed

    @parallel.setter
    def parallel(self, allowed: bool) -> None:
        self._ahead.allowed = allowed

    @property
    def on_access(self) -> Callable[[int, Key], bool] | None:
        """Asked before a use is noted; False drops it (our own reads while removing)."""
        return self._hints.on_access

    @on_access.setter
    def on_access(self, ask: Callable[[int, Key], bool] | None) -> None:
        self._hints.on_access = ask

    def wanted(self, directory_id: int, name: bytes, fields: Fields) -> bool:
        """Say whether a file with this stat belongs into the index. Raises DetachedError."""
        return self._files.wanted(directory_id, name, fields, self._rules.at(directory_id))

    def request_rescan(self, rescan: Rescan, *, verify: bool = False) -> None:
        """Put a doubt into the backlog; `verify` lets everything else go first."""
        directory_id = self.directories.id_of(rescan.directory)
        if directory_id is None:
            return
        if self.hearing is not None and rescan.reason in LOSSES:
            self.hearing.lost(self._turn.now)
        self._pass.request(rescan, directory_id)
        self.backlog.push(Listing(directory_id, rescan.tree, reason=rescan.reason), verify=verify)

    def doubt_everything(self) -> None:
        """There was a gap: until a pass over the tree ends, only what has been listed since now counts as verified."""
        self._pass.doubt_everything()

    def removed(self, places: list[tuple[int, bytes]]) -> None:
        """Drop the rows of files that a run in this process took away; one of several names belongs to `forget`.

        No stat and no question: 5 µs a row instead of 30 (measured). A name that somebody has taken again meanwhile is
        found by the next quick pass, as the directory's times have changed. Raises sqlite3.Error.
        """
        with damage_is_an_error(self.path), transaction(self.connection):
            self.connection.executemany(DELETE, [(directory_id, key_of(name)) for directory_id, name in places])
            self._subtrees.finish()

    def forget(self, places: list[tuple[int, bytes]]) -> None:
        """Stat these places again: a run in this process has removed what was there."""
        hints: dict[DirectoryKey, Names] = {}
        for directory_id, name in places:
            hints.setdefault(directory_id, {})[name] = CHANGED
        self.apply(Batch(self._turn.now, hints=hints, drained=False), budget=0)

    def apply(self, batch: Batch, budget: int = BUDGET) -> Applied:
        """Bring the index into agreement with the names in `batch`, and list up to `budget` names of the backlog.

        One transaction. When it fails (disk full, I/O error) everything it took up is put back and the error raised:
        apply the same batch again later. Raises sqlite3.Error, OSError.
        """
        self._begin(batch)
        try:
            with damage_is_an_error(self.path), transaction(self.connection):
                for rescan in batch.rescans:
                    self.request_rescan(rescan)
                self._hints.look(batch)
                self._ahead.list_some(budget)
                self._finish(batch, budget)
        except BaseException:
            self._rollback()
            raise
        finally:
            self.directories.close_all()
        for directory_id in self._dropped:  # only now: a transaction that fails may claim it after all
            self.watcher.forget(directory_id)
        self.applied.add(self._turn.done)
        return self._turn.done

    def adopt(self, policy: Policy, *, ignores_changed: bool = False) -> None:
        """Put another policy in force; files are reclassified in portions by the batches that follow.

        `ignores_changed`: other names are to be indexed than before, so that everything is listed again behind the
        events. Raises sqlite3.Error.
        """
        with damage_is_an_error(self.path), transaction(self.connection):
            self._agings[:] = sync_classes(self.connection, policy)  # the one list that all rooms hold
            self._units.adopt(policy, self._agings)
            self._subtrees.adopt(policy.rules)
        self._writes.adopt(self._agings)
        self._rules.adopt(policy.classifier)
        self.reclassifier.adopt(policy)
        self._ahead.abandon()
        if self.meta.get("policy") != policy.fingerprint or self.reclassifier.pending:
            self.reclassifier.start_all(policy.fingerprint)
        if ignores_changed:
            self.request_rescan(Rescan(ROOT_ID, tree=True, reason="policy"), verify=True)

    def close(self) -> None:
        """Give the connection back; the write-ahead log is folded into the file."""
        self._ahead.abandon()
        self.directories.close_all()
        self.connection.close()

    # One batch, from its beginning to its end

    def _begin(self, batch: Batch) -> None:
        self._turn.begin(int(batch.at), first=self._pass.reason == "first")
        self._dropped.clear()
        for room in self._rooms:
            room.begin()
        self._writes.begin()

    def _rollback(self) -> None:
        """Put everything back that the failed transaction took up."""
        for room in self._rooms:
            room.rollback()
        self.directories.forget_caches()
        self._files.forget_caches()
        self._rules.clear()
        self._turn.bulk = not derived.complete(self.connection)

    def _finish(self, batch: Batch, budget: int) -> None:
        """End of the batch: flush, drop what nobody claimed, settle charges, close the pass."""
        self._writes.flush()
        if batch.drained and not self._doubtful:
            self._drop(self._limbo.unclaimed())
        if batch.drained and not self._to_list:
            self._files.history.turn()
        self._limbo.release(self.backlog)
        if not self._turn.bulk:
            self._hints.look_at_links()
            self._links.refresh_charges()
        if batch.drained and not (self._doubtful or self._doubts.postponed or self._limbo.stranded):
            self._proofs.confirm(int(batch.at * NS))
            self._proofs.seek(int(batch.at * NS), self._hints.seen)
        self.reclassifier.step(budget)
        self._subtrees.finish()
        self._units.finish()
        self._units.step(quiet=not batch.hints)
        listed = not (self._to_list or self._doubts.later or self._limbo.stranded or self._limbo)
        if self._pass.reason is not None and listed:
            self._end_pass()
        if not self._to_list:
            self._ahead.abandon()
            self._lister.names = 0
        done = self._turn.done
        changed = bool(batch.hints) and bool(done.added or done.updated or done.removed)
        if changed:
            self.meta.set("last_event", str(self._turn.now))
        if self.hearing is not None and batch.drained:
            self.hearing.heard(self._turn.now, note=changed)

    @property
    def _doubtful(self) -> bool:
        """Names may be missing: something waits that is not mere verification."""
        return bool(self.backlog.urgent or self._ahead.urgent or self._doubts.later)

    @property
    def _to_list(self) -> bool:
        return bool(self.backlog) or bool(self._ahead)

    def _drop(self, unclaimed: list[int]) -> None:
        """These directories, with all below them, have left the tree."""
        for directory_id in unclaimed:
            if not self.directories.exists(directory_id):  # COMMIT failed after it had committed: in the checkpoint
                self._dropped.append(directory_id)
                continue
            for below in self.directories.below(directory_id):
                self._links.note_all_in(below)
            for gone in self.directories.drop(directory_id):
                self._dropped.append(gone)
                self.backlog.discard(gone)
                self._proofs.discard(gone)

    def _catch_up_on_links(self) -> None:
        """Rows of other names, listed before a hint on one name, may be older than that."""
        places = self._links.missed()
        if places is None:
            self.request_rescan(Rescan(ROOT_ID, reason="links"))
        for place in places or ():
            self._doubts.doubt(*place)

    def _end_pass(self) -> None:
        """The whole tree has been listed, unless its root went away meanwhile: then nothing has been seen."""
        if not self._pass.end():
            return
        if self._turn.bulk:
            self._links.charge_first()
            derived.make(self.connection)
            self._turn.bulk = False
            self._units.make()
            self._catch_up_on_links()
        else:
            derived.roll_up(self.connection)
        self._subtrees.make()
        now = str(self._turn.now)
        if not self.complete:
            self.meta.set("complete", now)
        self.meta.set("last_reconcile", now)
        self.meta.discard("doubted")
