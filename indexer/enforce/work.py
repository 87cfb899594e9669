"""The batches of a run: files by themselves, children as one, directories in one piece, then what has become empty.

for batch in batches(plan):  intents → hold? → recipe per directory → outcomes
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from indexer.enforce import hooks, system_trash
from indexer.enforce.batches import by_directory, next_size, stages, take
from indexer.enforce.empty import EmptyDirectories, own_directories
from indexer.enforce.origins import Origin, Origins
from indexer.enforce.rows import Plain
from indexer.enforce.victim import Victim
from indexer.enforce.whole import WholeChild
from indexer.enforce.whole_directory import WholeDirectory, candidate
from indexer.syscalls.sync import sync_filesystem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from indexer.enforce.account import Account
    from indexer.enforce.interrupt import Stop
    from indexer.enforce.pace import Pace
    from indexer.enforce.places import Places
    from indexer.enforce.recheck import Belongs
    from indexer.enforce.remove import Remover
    from indexer.policy.plan import Remove
    from indexer.rules import Rule
    from indexer.syscalls.stat import FileStat

CHILD_BATCH = 1024
"""Files after which no further child is put into the same batch."""


def _nonce() -> bytes:
    """Return a few bytes, of letters and digits, that no other run has."""
    return b"n" + secrets.token_hex(4).encode()  # `rebuild.workshop_prefix` has another letter there


@dataclass(slots=True)
class Work:
    """The state of a run under way."""

    account: Account
    places: Places
    suspend_after: int
    stop: Stop
    belongs: Belongs
    pace: Pace
    remover: Remover = field(init=False)
    origins: Origins = field(init=False)
    """Who the directories are that it takes something out of."""
    _seq: int = 0
    _nonce: bytes = field(default_factory=_nonce)
    """Part of the run's names in the trash: a ledger that is put back as it was before gives its numbers anew."""
    _desktop: str | None = None
    """What is missing for the desktop's trash, "" when nothing is; None until somebody asks."""
    _refused: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.origins = Origins(self.places)

    def ends(self) -> bool:
        """True when no further file may be begun."""
        return self.stop() or self.suspended

    @property
    def suspended(self) -> bool:
        """Too many files in a row have failed."""
        return self.account.tally.failures_in_a_row >= self.suspend_after

    def files(self) -> None:
        """Take all files of the plan through the recipe, batch by batch."""
        for single, children in stages(self.account.context.plan):
            self._single(self._whole_directories(by_directory(single)))
            self._children(children)
        self.account.left_over("suspended" if self.suspended else "interrupted")

    def _single(self, groups: Iterator[tuple[bytes, list[Remove]]]) -> None:
        """Files that go by themselves."""
        size = 1024
        waiting: list[tuple[bytes, list[Remove]]] = []
        while not self.ends():
            batch, waiting = take(groups, waiting, self.pace.batch(size))
            if not batch:
                break
            began = time.monotonic()  # a stopwatch, not a clock
            self._batch(self._groups(batch))
            took = time.monotonic() - began
            self.pace.spend(sum(len(removes) for _, removes in batch))
            size = next_size(size, took)

    def _whole_directories(self, groups: Iterator[tuple[bytes, list[Remove]]]) -> Iterator[tuple[bytes, list[Remove]]]:
        """Remove the directories that go in one piece; yield the files of the others, and of those that could not."""
        own = own_directories(self.account.context.store.config.classes)
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
        origins = self.origins.look(directory for directory, _, _ in batch)
        for directory, removes, st in batch:
            victims = self._victims(directory, removes, origins.get(directory))
            self._seq += 1
            wholes.append(WholeDirectory(directory, victims, st, self._seq, self._trash_name(self._seq)))
        victims = [victim for whole in wholes for victim in whole.victims]
        intents = [victim.intent() for victim in victims] + [whole.intent() for whole in wholes]
        self.account.record(intents, self.origins.new())
        protection = self.account.context.ledger.protection(self.account.context.now())
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
                self.account.count(whole.directory, whole.victims)
                self.account.count_directory(whole)
        finally:
            self.account.note(victims, wholes)
            self.account.tell()
        self.pace.spend(sum(victim.outcome is not None for victim in victims))
        left = [(one.directory, [victim.remove for victim in one.victims if victim.outcome is None]) for one in wholes]
        return [(directory, removes) for directory, removes in left if removes]

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
            groups = self._groups(list(by_directory(removes)))
            child = removes[0].child
            assert child is not None  # noqa: S101 - `stages` has grouped them by it
            wholes.append(WholeChild(child.path, groups, self.belongs))
        victims = [victim for whole in wholes for victim in whole.victims]
        self.account.record([victim.intent() for victim in victims], self.origins.new())
        protection = self.account.context.ledger.protection(self.account.context.now())
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
                self.account.count_child(whole)
        finally:
            for whole in wholes:
                whole.bring_back(self.remover, "interrupted")  # only a fault in us, or in the ledger, leaves it so
            self.account.note(victims)
            self.account.tell()

    def _protected_since(self, whole: WholeChild) -> bool:
        """True, with all of it back in its place, when somebody has put a hold on a part while it was put aside."""
        protection = self.account.context.ledger.protection(self.account.context.now())
        word = protection.inside(whole.path)
        if protection and word is None:
            word = next(filter(None, (protection.blocker(victim.path) for victim in whole.victims)), None)
        if word is not None:
            whole.bring_back(self.remover, word)
        return word is not None

    def _decide(self, staged: list[WholeChild]) -> None:
        """Record that what lies in the trash to be destroyed may be: from here on a crash does not bring it back."""
        rows = [
            Plain("destroying", None, int(self.account.context.now()), None, None, self.account.run, victim.seq)
            for whole in staged
            for victim in whole.victims
            if victim.outcome == "staged" and victim.destroy
        ]
        if not rows:
            return
        for place in self.places.places:
            if place.trash_fd >= 0:
                sync_filesystem(place.trash_fd)
        self.account.context.ledger.advance(self.account.run, endings=rows)
        hooks.at("child.decided")

    def _groups(self, batch: list[tuple[bytes, list[Remove]]]) -> list[tuple[bytes, list[Victim]]]:
        """Return the victims of each directory, with who that directory is."""
        origins = self.origins.look(directory for directory, _ in batch)
        return [(directory, self._victims(directory, removes, origins.get(directory))) for directory, removes in batch]

    def _victims(self, directory: bytes, removes: list[Remove], origin: Origin | None) -> list[Victim]:
        place = self.places.of(directory)
        victims = []
        for remove in removes:
            self._seq += 1
            victims.append(Victim(self._seq, remove, place.name, self._trash_name(self._seq), origin))
        return victims

    def _trash_name(self, seq: int) -> bytes:
        return b"%s-%d-%s-%d" % (self.account.context.ledger.id.encode(), self.account.run, self._nonce, seq)

    def _batch(self, groups: list[tuple[bytes, list[Victim]]]) -> None:
        victims = [victim for _, group in groups for victim in group]
        self.account.record([victim.intent() for victim in victims], self.origins.new())
        # After the intents are durable: whoever holds a path now either sees them, or is seen here.
        protection = self.account.context.ledger.protection(self.account.context.now())
        self.remover.directories.forget()
        try:
            for directory, group in groups:
                if self.ends():
                    break
                self._protect(group, protection.blocker if protection else None)
                self.remover.remove(directory, [victim for victim in group if victim.outcome is None])
                self.account.count(directory, group)
        finally:
            self.account.note(victims)
            self.account.tell()

    def _protect(self, group: list[Victim], blocker: Callable[[bytes], str | None] | None) -> None:
        for victim in group:
            if victim.system and self._no_desktop(victim.remove.rule):
                victim.keep("unavailable")
            elif blocker is not None and (why := blocker(victim.path)) is not None:
                victim.keep(why)

    def _no_desktop(self, rule: Rule) -> bool:
        """True where the desktop's trash cannot be used: said once for each class, as an error of the run."""
        if self._desktop is None:
            self._desktop = system_trash.missing() or ""
        if self._desktop and rule.name not in self._refused:
            self._refused.add(rule.name)
            self.account.tally.errors.append((b"", f"class {rule.name}: system-trash: {self._desktop}"))
        return bool(self._desktop)

    def empty_directories(self, old: Mapping[bytes, Rule]) -> None:
        """Remove what the run has emptied, and what has long been empty, where the class wants that."""
        emptied = {directory: rule for directory, rule in self.account.emptied.items() if rule.remove_empty_dirs}
        if not (emptied or old) or self.ends():
            return
        self.account.record()
        context = self.account.context
        rules = (*context.store.config.classes, *emptied.values(), *old.values())
        empty = EmptyDirectories(
            self.places,
            self.remover.directories,
            context.ledger,
            self.account.run,
            context.now,
            own_directories(rules),
            self.remover.patience,
            self.origins,
        )
        try:
            self._seq = empty.remove(emptied, old, self._seq, self.ends)
        finally:
            self.account.tally.directories += len(empty.removed)
            self.account.tally.errors += empty.errors


def _always(word: str) -> Callable[[bytes], str]:
    return lambda _path: word
