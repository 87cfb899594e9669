"""A run: the plan in batches, each announced in the ledger before it is touched, each recorded after.

for batch in batches(plan):  intents → hold? → recipe per directory → outcomes
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from indexer.enforce import hooks, system_trash
from indexer.enforce.attribute import held_by_descriptor
from indexer.enforce.batches import by_directory, next_size, stages, take
from indexer.enforce.context import Context, refusal_of
from indexer.enforce.empty import EmptyDirectories, own_directories
from indexer.enforce.interrupt import Stop
from indexer.enforce.pace import Pace
from indexer.enforce.patience import Patience
from indexer.enforce.places import Places, StoreLike, describe, split
from indexer.enforce.reaper import Reaper
from indexer.enforce.recheck import belongs_of
from indexer.enforce.recover import recover, recover_at_start
from indexer.enforce.remove import Remover
from indexer.enforce.result import RunResult, Tally
from indexer.enforce.rows import Plain
from indexer.enforce.victim import Victim
from indexer.enforce.who import current_user
from indexer.enforce.whole import WholeChild
from indexer.enforce.whole_directory import WholeDirectory, candidate
from indexer.syscalls.lease import signals_here
from indexer.syscalls.sync import sync_filesystem

if TYPE_CHECKING:
    from indexer.enforce.ledger import Ledger
    from indexer.enforce.pin import Recheck
    from indexer.enforce.recheck import Belongs
    from indexer.enforce.rows import Ending, Intent
    from indexer.policy.plan import Plan, Remove
    from indexer.rules import Rule
    from indexer.syscalls.stat import FileStat

CHILD_BATCH = 1024
"""Files after which no further child is put into the same batch."""

Rows = Callable[[list[tuple[int, bytes]]], None]
"""Takes (directory id, name) of index rows."""

TOLD_AT = 512
"""Rows that are told of at once: a transaction of the index for each directory would cost as much as the rows."""

_STALE = frozenset({"gone", "changed", "not_a_file", "replaced", "directory_moved", "other_filesystem"})


def execute(
    plan: Plan,
    *,
    store: StoreLike,
    root_fd: int,
    ledger: Ledger,
    recheck: Recheck,
    now: Callable[[], float],
    empty: Mapping[bytes, Rule] | None = None,
    on_removed: Rows | None = None,
    on_stale: Rows | None = None,
    on_progress: Callable[[int], None] | None = None,
    kind: str = "expire",
    trigger: str = "command",
    user: str | None = None,
    stop: Callable[[], bool] | None = None,
    index_age_seconds: int | None = None,
    suspend_after: int | None = None,
    patience: Patience | None = None,
) -> RunResult:
    """Do what the plan says, and record it.

    The caller holds the store's run lock; `root_fd` is the verified root. `recheck` is the policy's second look
    (`recheck.rechecker`), `now` the clock (Unix seconds). `empty` are directories that the index knows to be empty,
    with the rule of their class: those that were so for its min_age go too. `on_removed` gets the index rows of files
    that are gone, `on_stale` those that no longer agree with the tree and want a fresh look (and, before `on_removed`,
    those with other names), `on_progress` how many files are done. `stop` ends the run after the files in hand, as
    Ctrl-C does: the result says `interrupted`. After `suspend_after` failures in a row (default: the guard
    `suspend_errors`) it gives up: `suspended`. `patience` is how it waits for errors that may pass.

    A plan that a guard refused, a store in report mode and a platform without the recipe give a result with `refused`,
    recorded too, and nothing is touched. Raises LedgerError when the ledger cannot be written (what was done before
    is recovered at the next start); an OSError about a file is an item of `errors`.
    """
    context = Context(plan, store, ledger, now, kind, trigger, user or current_user(), index_age_seconds)
    refusal = refusal_of(plan, store)
    if refusal is not None:
        return context.refuse(*refusal)
    if not (plan.actions or empty):
        recover_at_start(store=store, root_fd=root_fd, ledger=ledger, now=now)
        return context.nothing()
    with ExitStack() as stack:
        places = stack.enter_context(Places(root_fd, store))
        recover(places=places, ledger=ledger, now=now)
        stopping = Stop(stop)
        stack.enter_context(stopping.listening())
        owner = stack.enter_context(signals_here())
        run = context.begin()
        hooks.at("run.begun")
        limit = store.config.guards.suspend_errors if suspend_after is None else suspend_after
        # A disk that is full has no time to spare for those who use it.
        rate = None if kind == "watermark" else store.config.guards.max_rate
        work = _Work(
            context,
            places,
            run,
            limit,
            stopping,
            on_removed,
            on_stale,
            on_progress,
            belongs_of(recheck),
            Pace(rate, stopping),
        )
        held = (lambda fd: held_by_descriptor(fd, now())) if store.config.holds.xattr else None
        reaper = stack.enter_context(Reaper())
        work.remover = Remover(places, recheck, now, owner, work.ends, patience or Patience(), reaper, held)
        try:
            work.files()
            work.empty_directories(empty or {})
        finally:
            # Also on the way out of a fault: what was done is recorded, what was not begun is withdrawn.
            result = work.finish()
    return result


def _always(word: str) -> Callable[[bytes], str]:
    return lambda _path: word


@dataclass(slots=True)
class _Work:
    """The state of a run under way."""

    context: Context
    places: Places
    run: int
    suspend_after: int
    stop: Stop
    on_removed: Rows | None
    on_stale: Rows | None
    on_progress: Callable[[int], None] | None
    belongs: Belongs
    pace: Pace
    remover: Remover = field(init=False)
    tally: Tally = field(default_factory=Tally)
    seq: int = 0
    done: int = 0
    gone: list[tuple[int, bytes]] = field(default_factory=list)
    stale: list[tuple[int, bytes]] = field(default_factory=list)
    """Index rows that the index has not been told of yet."""
    endings: list[Ending | Plain] = field(default_factory=list)
    """Of the last batch: recorded together with the intents of the next."""
    withdrawn: list[tuple[int, int]] = field(default_factory=list)
    emptied: dict[bytes, Rule] = field(default_factory=dict)
    desktop: str | None = None
    """What is missing for the desktop's trash, "" when nothing is; None until somebody asks."""
    refused: set[str] = field(default_factory=set)

    def ends(self) -> bool:
        """True when no further file may be begun."""
        return self.stop() or self.suspended

    @property
    def suspended(self) -> bool:
        return self.tally.failures_in_a_row >= self.suspend_after

    def files(self) -> None:
        """Take all files of the plan through the recipe, batch by batch."""
        for single, children in stages(self.context.plan):
            self._single(self._whole_directories(by_directory(single)))
            self._children(children)
        self._left_over(self.context.plan, "suspended" if self.suspended else "interrupted")

    def _single(self, groups: Iterator[tuple[bytes, list[Remove]]]) -> None:
        """Files that go by themselves."""
        size = 1024
        waiting: list[tuple[bytes, list[Remove]]] = []
        while not self.ends():
            batch, waiting = take(groups, waiting, self.pace.batch(size))
            if not batch:
                break
            began = time.monotonic()  # a stopwatch, not a clock
            self._batch([(directory, self._victims(directory, removes)) for directory, removes in batch])
            took = time.monotonic() - began
            self.pace.spend(sum(len(removes) for _, removes in batch))
            size = next_size(size, took)

    def _whole_directories(self, groups: Iterator[tuple[bytes, list[Remove]]]) -> Iterator[tuple[bytes, list[Remove]]]:
        """Remove the directories that go in one piece; yield the files of the others, and of those that could not."""
        own = own_directories(self.context.store.config.classes)
        batch: list[tuple[bytes, list[Remove], FileStat]] = []
        self.remover.directories.forget()
        for directory, removes in groups:
            wanted = removes[0].rule.whole_directories and not (self.remover.crowded or self.ends())
            st = candidate(directory, removes, self.remover, self.places, own) if wanted else None
            if st is None:
                yield directory, removes
                continue
            batch.append((directory, removes, st))
            if sum(len(removes) for _, removes, _ in batch) >= CHILD_BATCH:
                yield from self._directory_batch(batch)
                batch = []
        yield from self._directory_batch(batch)

    def _directory_batch(self, batch: list[tuple[bytes, list[Remove], FileStat]]) -> list[tuple[bytes, list[Remove]]]:
        """Remove directories in one piece each; return the files that are to go one by one after all."""
        if not batch:
            return []
        wholes = []
        for directory, removes, st in batch:
            victims = self._victims(directory, removes)
            self.seq += 1
            wholes.append(WholeDirectory(directory, victims, st, self.seq, self._trash_name(self.seq)))
        victims = [victim for whole in wholes for victim in whole.victims]
        self._record([victim.intent() for victim in victims] + [whole.intent() for whole in wholes])
        protection = self.context.ledger.protection(self.context.now())
        self.remover.directories.forget()
        try:
            for whole in wholes:
                if self.ends():
                    break
                if protection and (
                    protection.inside(whole.directory)
                    or any(protection.blocker(path) for path in (whole.directory, *(one.path for one in whole.victims)))
                ):
                    continue
                whole.go(self.remover, self.places)
                self._count(whole.directory, whole.victims)
                self._count_directory(whole)
        finally:
            self._note(victims)
            now = int(self.context.now())
            for whole in wholes:
                if whole.outcome is None:
                    self.withdrawn.append((self.run, whole.seq))
                else:
                    self.endings.append(whole.ending(self.run, now))
            self._tell()
        self.pace.spend(sum(victim.outcome is not None for victim in victims))
        left = [(one.directory, [victim.remove for victim in one.victims if victim.outcome is None]) for one in wholes]
        return [(directory, removes) for directory, removes in left if removes]

    def _count_directory(self, whole: WholeDirectory) -> None:
        if whole.outcome == "deleted":
            self.tally.directories += 1
            self.emptied.setdefault(split(whole.directory)[0], whole.rule)
        elif whole.outcome == "stray":
            self.tally.errors.append((whole.directory, f"stray: {whole.error}"))

    def _children(self, children: list[list[Remove]]) -> None:
        """Children that go as one, several small ones in a batch."""
        batch: list[list[Remove]] = []
        for number, removes in enumerate(children, start=1):
            batch.append(removes)
            if number < len(children) and sum(map(len, batch)) < CHILD_BATCH:
                continue
            if self.ends():
                return
            self._child_batch(batch)
            self.pace.spend(sum(map(len, batch)))
            batch = []

    def _child_batch(self, batch: list[list[Remove]]) -> None:
        wholes = []
        for removes in batch:
            groups = [(directory, self._victims(directory, here)) for directory, here in by_directory(removes)]
            child = removes[0].child
            assert child is not None  # noqa: S101 - `stages` has grouped them by it
            wholes.append(WholeChild(child.path, groups, self.belongs))
        victims = [victim for whole in wholes for victim in whole.victims]
        self._record([victim.intent() for victim in victims])
        protection = self.context.ledger.protection(self.context.now())
        self.remover.directories.forget()
        try:
            staged = []
            for whole in wholes:
                if self.ends():
                    break
                why = protection.inside(whole.path)
                self._protect(whole.victims, protection.blocker if why is None else _always(why))
                if whole.stage(self.remover, self.places):
                    staged.append(whole)
            self._decide([whole for whole in staged if not self._protected_since(whole)])
            for whole in wholes:
                whole.end(self.places)
                self._count_child(whole)
        finally:
            for whole in wholes:
                whole.bring_back(self.remover, "interrupted")  # only a fault in us, or in the ledger, leaves it so
            self._note(victims)
            self._tell()

    def _protected_since(self, whole: WholeChild) -> bool:
        """True, with all of it back in its place, when somebody has put a hold on a part while it was put aside."""
        protection = self.context.ledger.protection(self.context.now())
        word = protection.inside(whole.path)
        if protection and word is None:
            word = next(filter(None, (protection.blocker(victim.path) for victim in whole.victims)), None)
        if word is not None:
            whole.bring_back(self.remover, word)
        return word is not None

    def _decide(self, staged: list[WholeChild]) -> None:
        """Record that what lies in the trash to be destroyed may be: from here on a crash does not bring it back."""
        rows = [
            Plain("destroying", None, int(self.context.now()), None, None, self.run, victim.seq)
            for whole in staged
            for victim in whole.victims
            if victim.outcome == "staged" and victim.destroy
        ]
        if not rows:
            return
        for place in self.places.places:
            if place.trash_fd >= 0:
                sync_filesystem(place.trash_fd)
        self.context.ledger.advance(self.run, endings=rows)
        hooks.at("child.decided")

    def _count_child(self, whole: WholeChild) -> None:
        for directory, group in whole.groups:
            self._count(directory, group)
        if whole.gone:
            rule = replace(whole.victims[0].remove.rule, remove_empty_dirs=True)
            self.emptied.update(dict.fromkeys(whole.directories, rule))

    def _victims(self, directory: bytes, removes: list[Remove]) -> list[Victim]:
        place = self.places.of(directory)
        victims = []
        for remove in removes:
            self.seq += 1
            victims.append(Victim(self.seq, remove, place.name, self._trash_name(self.seq)))
        return victims

    def _trash_name(self, seq: int) -> bytes:
        return b"%s-%d-%d" % (self.context.ledger.id.encode(), self.run, seq)

    def _batch(self, groups: list[tuple[bytes, list[Victim]]]) -> None:
        victims = [victim for _, group in groups for victim in group]
        self._record([victim.intent() for victim in victims])
        # After the intents are durable: whoever holds a path now either sees them, or is seen here.
        protection = self.context.ledger.protection(self.context.now())
        self.remover.directories.forget()
        try:
            for directory, group in groups:
                if self.ends():
                    break
                self._protect(group, protection.blocker if protection else None)
                self.remover.remove(directory, [victim for victim in group if victim.outcome is None])
                self._count(directory, group)
        finally:
            self._note(victims)
            self._tell()

    def _protect(self, group: list[Victim], blocker: Callable[[bytes], str | None] | None) -> None:
        for victim in group:
            if victim.system and self._no_desktop(victim.remove.rule):
                victim.keep("unavailable")
            elif blocker is not None and (why := blocker(victim.path)) is not None:
                victim.keep(why)

    def _no_desktop(self, rule: Rule) -> bool:
        """True where the desktop's trash cannot be used: said once for each class, as an error of the run."""
        if self.desktop is None:
            self.desktop = system_trash.missing() or ""
        if self.desktop and rule.name not in self.refused:
            self.refused.add(rule.name)
            self.tally.errors.append((b"", f"class {rule.name}: system-trash: {self.desktop}"))
        return bool(self.desktop)

    def _count(self, directory: bytes, group: list[Victim]) -> None:
        removed, stale = self.gone, self.stale
        for victim in group:
            if victim.outcome is None:
                continue
            self.done += 1
            self.tally.victim(victim)
            if victim.outcome in {"trashed", "deleted", "sent", "stray", "unknown"}:
                removed.append((victim.remove.file.directory_id, victim.name))
                if victim.remove.file.links > 1:
                    stale.append(removed[-1])  # its other names have a row each, which tells how many there are
                self.emptied[directory] = victim.remove.rule
            elif victim.error in _STALE:
                stale.append((victim.remove.file.directory_id, victim.name))
        if len(removed) + len(stale) >= TOLD_AT:
            self._tell()
        if self.on_progress is not None:
            self.on_progress(self.done)

    def _tell(self) -> None:
        """Let the index know; what wants a look first, while the rows are there to be looked at."""
        stale, self.stale = self.stale, []
        removed, self.gone = self.gone, []
        if stale and self.on_stale is not None:
            self.on_stale(stale)
        if removed and self.on_removed is not None:
            self.on_removed(removed)

    def _note(self, victims: list[Victim]) -> None:
        now = int(self.context.now())
        for victim in victims:
            if victim.outcome is None:
                self.withdrawn.append((self.run, victim.seq))
            else:
                self.endings.append(victim.ending(self.run, now))

    def _record(self, intents: list[Intent]) -> None:
        if not (self.endings or self.withdrawn or intents):
            return
        self.context.ledger.advance(self.run, endings=self.endings, withdrawn=self.withdrawn, intents=intents)
        self.endings, self.withdrawn = [], []

    def _left_over(self, plan: Plan, why: str) -> None:
        left = len(plan.actions) - self.done
        if left:
            self.tally.keep(why, left)

    def empty_directories(self, old: Mapping[bytes, Rule]) -> None:
        """Remove what the run has emptied, and what has long been empty, where the class wants that."""
        emptied = {directory: rule for directory, rule in self.emptied.items() if rule.remove_empty_dirs}
        if not (emptied or old) or self.ends():
            return
        self._record([])
        context = self.context
        rules = (*context.store.config.classes, *emptied.values(), *old.values())
        empty = EmptyDirectories(
            self.places,
            self.remover.directories,
            context.ledger,
            self.run,
            context.now,
            own_directories(rules),
            self.remover.patience,
        )
        try:
            self.seq = empty.remove(emptied, old, self.seq, self.ends)
        finally:
            self.tally.directories += len(empty.removed)
            self.tally.errors += empty.errors

    def finish(self) -> RunResult:
        """Make what was done durable, then record it as final."""
        self.remover.settled()
        self._record([])
        for place in self.places.places:
            if place.trash_fd < 0:
                continue
            hooks.at("sync.before")
            try:
                sync_filesystem(place.trash_fd)
            except OSError as error:
                self.tally.errors.append((place.base, f"syncfs: {describe(error)}"))
            hooks.at("sync.after")
        context = self.context
        interrupted = self.done < len(context.plan.actions) and not self.suspended
        result = replace(
            self.tally.result(self.run, context.plan, interrupted=interrupted, suspended=self.suspended),
            index_age_seconds=context.index_age_seconds,
        )
        context.ledger.finish_run(self.run, context.now(), result.as_json())
        return result
