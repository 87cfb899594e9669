"""The account of a run under way: what became of what, told to the ledger, to the index and to whoever waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from indexer.enforce import hooks
from indexer.enforce.places import Places, describe, split
from indexer.enforce.result import RunResult, Tally
from indexer.syscalls.sync import sync_filesystem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.enforce.context import Context
    from indexer.enforce.origins import Origin
    from indexer.enforce.rows import Ending, Intent, Plain
    from indexer.enforce.victim import Victim
    from indexer.enforce.whole import WholeChild
    from indexer.enforce.whole_directory import WholeDirectory
    from indexer.rules import Rule

Rows = Callable[[list[tuple[int, bytes]]], None]
"""Takes (directory id, name) of index rows."""

TOLD_AT = 512
"""Rows that are told of at once: a transaction of the index for each directory would cost as much as the rows."""

_GONE = frozenset({"trashed", "deleted", "sent", "stray", "unknown"})
_STALE = frozenset({"gone", "changed", "not_a_file", "replaced", "directory_moved", "other_filesystem"})


@dataclass(slots=True)
class Account:
    """What a run has done so far; `run` is its id in the ledger."""

    context: Context
    places: Places
    run: int
    on_removed: Rows | None
    on_stale: Rows | None
    on_progress: Callable[[int], None] | None
    tally: Tally = field(default_factory=Tally)
    done: int = 0
    """Files of the plan that have an outcome."""
    emptied: dict[bytes, Rule] = field(default_factory=dict)
    """Directories that something was taken out of, with the rule that did it."""
    _gone: list[tuple[int, bytes]] = field(default_factory=list)
    _stale: list[tuple[int, bytes]] = field(default_factory=list)
    """Index rows that the index has not been told of yet."""
    _endings: list[Ending | Plain] = field(default_factory=list)
    """Of the last batch: recorded together with the intents of the next."""
    _withdrawn: list[tuple[int, int]] = field(default_factory=list)

    def count(self, directory: bytes, group: Sequence[Victim]) -> None:
        """Count the victims of one directory that have come to their outcome."""
        removed, stale = self._gone, self._stale
        for victim in group:
            if victim.outcome is None:
                continue
            self.done += 1
            self.tally.victim(victim)
            if victim.outcome in _GONE:
                removed.append((victim.remove.file.directory_id, victim.name))
                if victim.remove.file.links > 1:
                    stale.append(removed[-1])  # its other names have a row each, which tells how many there are
                self.emptied[directory] = victim.remove.rule
            elif victim.error in _STALE:
                stale.append((victim.remove.file.directory_id, victim.name))
        if len(removed) + len(stale) >= TOLD_AT:
            self.tell()
        if self.on_progress is not None:
            self.on_progress(self.done)

    def count_directory(self, whole: WholeDirectory) -> None:
        """Count one that was to go in one piece."""
        if whole.outcome == "deleted":
            self.tally.directories += 1
            self.emptied.setdefault(split(whole.directory)[0], whole.rule)
        elif whole.outcome == "stray":
            self.tally.errors.append((whole.directory, f"stray: {whole.error}"))

    def count_child(self, whole: WholeChild) -> None:
        """Count one child's files; where they are gone its directories may go too."""
        for directory, group in whole.groups:
            self.count(directory, group)
        if whole.gone:
            rule = replace(whole.victims[0].remove.rule, remove_empty_dirs=True)
            self.emptied.update(dict.fromkeys(whole.directories, rule))

    def tell(self) -> None:
        """Let the index know; what wants a look first, while the rows are there to be looked at."""
        stale, self._stale = self._stale, []
        removed, self._gone = self._gone, []
        if stale and self.on_stale is not None:
            self.on_stale(stale)
        if removed and self.on_removed is not None:
            self.on_removed(removed)

    def note(self, victims: Sequence[Victim], directories: Sequence[WholeDirectory] = ()) -> None:
        """Keep the outcomes for the ledger; what has none is withdrawn from it."""
        now = int(self.context.now())
        for victim in victims:
            if victim.outcome is None:
                self._withdrawn.append((self.run, victim.seq))
            else:
                self._endings.append(victim.ending(self.run, now))
        for whole in directories:
            if whole.outcome is None:
                self._withdrawn.append((self.run, whole.seq))
            else:
                self._endings.append(whole.ending(self.run, now))

    def record(self, intents: Sequence[Intent] = (), origins: Sequence[Origin] = ()) -> None:
        """Record what was kept for the ledger and announce `intents`, in one durable commit. Raises LedgerError.

        `origins` are the directories that they refer to and that the ledger does not know yet.
        """
        if not (self._endings or self._withdrawn or intents):
            return
        self.context.ledger.advance(
            self.run, endings=self._endings, withdrawn=self._withdrawn, intents=intents, origins=origins
        )
        self._endings, self._withdrawn = [], []

    def left_over(self, why: str) -> None:
        """Say of what is left of the plan why it stays."""
        left = len(self.context.plan.actions) - self.done
        if left:
            self.tally.keep(why, left)

    def finish(self, *, suspended: bool) -> RunResult:
        """Make what was done durable, then record it as final."""
        self.record()
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
        interrupted = self.done < len(context.plan.actions) and not suspended
        result = replace(
            self.tally.result(self.run, context.plan, interrupted=interrupted, suspended=suspended),
            index_age_seconds=context.index_age_seconds,
        )
        context.ledger.finish_run(self.run, context.now(), result.as_json())
        return result
