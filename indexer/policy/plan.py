"""The plan: which files go, why, and what stands in the way. A dry run stops here, so that it *is* the real run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

from indexer.policy.decide import Blockers, Keep, Remove, decide, nobody, recheck, settled_at
from indexer.policy.evict import evict, evict_unordered
from indexer.policy.guards import Refusal, everything_breach, fraction_breach, shares_of
from indexer.policy.quota import NOTHING, Demand, Holding, Place, Used
from indexer.policy.reasons import Blocker
from indexer.policy.shelf import Oldest, Shelf, regrouped_in_order, sequence_of
from indexer.policy.units import Going, cut, decide_unit, evict_units, files_in, rows
from indexer.records import Unit
from indexer.units import text_of

if TYPE_CHECKING:
    from indexer.policy.units import Whole
    from indexer.policy.watermark import Pressure
    from indexer.records import Identity, IndexedFile
    from indexer.rules import Guards, Rule

__all__ = ["Blockers", "FilesOf", "Keep", "Plan", "Remove", "decide", "plan", "recheck", "settled_at"]

FilesOf = Callable[[Holding], Iterable["IndexedFile | Unit"]]
"""The files of a class in its order of eviction, or those of a child in any order; units of a class with children."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do, complete before its first action."""

    actions: Sequence[Remove]
    """What is past its ttl, the oldest clock first, then by path; then what goes for a quota, in the class's order.
    The same index always gives the same plan. Many are kept packed."""
    kept: Mapping[str, int]
    """Files that are due and stay, by reason."""
    truncated: bool
    """Only the oldest part of what is due is in `actions`."""
    refused: Refusal | None
    """A guard's objection: nothing of the plan may be done."""
    now: int
    due: int = 0
    """How many files are due and not blocked, before any cut."""
    quotas: tuple[Holding, ...] = ()
    """Classes and children that hold more than their quota, before anything goes; some only warn."""
    purged: Used = NOTHING
    """What leaves the trash first, being past its time (allocated bytes)."""
    pressure: tuple[Pressure, ...] = ()
    """What is done about filesystems that are too full; the files of it are the last of `actions`."""
    empty: tuple[bytes, ...] = ()
    """Directories that have long been empty, of classes that want them removed: the run looks again, and removes those
    above, too, that this leaves empty. What the run itself empties is not among them."""

    def totals(self) -> dict[str, Any]:
        """Return files, bytes (apparent) and allocated bytes of the actions: in all, by class and by reason.

        Blocks count once however many names of their file go; those of files that keep another name, which come free
        by none of this, are `still_linked` too.
        """
        total = _nothing()
        names: dict[Identity, int] = {}
        linked = 0
        classes: dict[str, dict[str, int]] = {}
        reasons: dict[str, dict[str, int]] = {}
        for action in self.actions:
            blocks = action.file.allocated
            if action.file.links > 1:
                seen = names[action.file.identity] = names.get(action.file.identity, 0) + 1
                linked += blocks * ((seen == 1) - (seen == action.file.links))
                blocks *= seen == 1
            for part in (
                total,
                classes.setdefault(action.rule.name, _nothing()),
                reasons.setdefault(str(action.reason), _nothing()),
            ):
                part["files"] += 1
                part["bytes"] += action.file.size
                part["allocated"] += blocks
        return {**total, "still_linked": linked, "classes": classes, "reasons": reasons}

    @property
    def trash(self) -> Used:
        """What leaves the trash in all: past its time, and under a watermark."""
        return sum((pressure.purged for pressure in self.pressure), self.purged)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield what goes as `plan --jsonl` shows it: one document for each file, or child that goes as one."""
        return rows(self.actions)

    def as_json(self, *, shown: int | None = None) -> dict[str, Any]:
        """Return the document of `plan --json`; with `shown`, only so many of its actions."""
        refused = self.refused
        return {
            "actions": list(islice(rows(self.actions), shown)),
            "totals": self.totals(),
            "kept": dict(self.kept),
            "due": self.due,
            "truncated": self.truncated,
            "quotas": [holding.as_json() for holding in self.quotas],
            "watermarks": [pressure.as_json() for pressure in self.pressure],
            "purged_files": self.trash.files,
            "purged_bytes": self.trash.allocated,
            "empty_directories": [text_of(path) for path in self.empty],
            "refused": None if refused is None else str(refused.guard),
            "refusal": None if refused is None else {"message": refused.message, "remedy": refused.remedy},
            "at": self.now,
        }


def _nothing() -> dict[str, int]:
    return {"files": 0, "bytes": 0, "allocated": 0}


def plan(
    candidates: Iterable[tuple[Rule, IndexedFile | Unit]],
    *,
    guards: Guards,
    live_files: int,
    now: int,
    blockers: Blockers = nobody,
    rules: Iterable[Rule] = (),
    recent: Mapping[str, int] | None = None,
    limit: int | None = None,
    standing: Mapping[str, int] | None = None,
    holdings: Iterable[Holding] = (),
    files_of: FilesOf = lambda _holding: (),
    refusal: Refusal | None = None,
    override: str | None = None,
) -> Plan:
    """Decide what goes at `now` (Unix seconds): what is past its ttl, then what is over a quota.

    `candidates` may hold more than what is due (a class by access is found by a lower bound of its clock), in any
    order. `live_files` is how many files the store has, `recent` how many of each class the runs of the last 24 hours
    removed, `rules` the whole policy: they are for the guards. `limit` cuts the plan to so many files or children, the
    oldest. `standing` are files that stay and are no candidates, by reason: they are counted with the others.
    `holdings` say what classes and children with a quota hold; `files_of` is asked for the files of what is over.
    `refusal` is that of a guard which has spoken already; `override` names the one guard that somebody has set aside.
    """
    choice = _Choice(guards.max_files if limit is None else min(limit, guards.max_files), dict(standing or {}))
    choice.expired(_decisions(candidates, now=now, blockers=blockers))
    over = [holding for holding in holdings if holding.over() is not None]
    for holding in over:
        need = holding.over(choice.gone(holding.place))
        if need is not None and holding.rule.evicts:
            files: Any = files_of(holding)
            how: Any = evict if holding.child is None else evict_unordered
            if holding.rule.unit == "child":
                how = evict_units
            choice.more(how(holding.rule, need, files, now=now, blockers=blockers, on_keep=choice.keep))
    counted = _Counted(choice.drain(), limit)
    actions = sequence_of(cut(counted, guards, limit=limit))
    due = sum(choice.planned.values())
    if due > len(actions):
        choice.kept[Blocker.POSTPONED] = due - len(actions)
    if limit is not None:  # what is asked for, in files: a child is more than one
        limit = counted.files_of_all()
    shares = shares_of(choice.planned, recent or {}, {rule.name: rule for rule in rules} | choice.rules)
    breaches = (
        refusal if due else None,
        fraction_breach(shares, guards=guards, live_files=live_files, limit=limit),
        everything_breach(due if limit is None else min(due, limit), live_files, guards),
    )
    return Plan(
        actions=actions,
        kept={reason: files for reason, files in sorted(choice.kept.items()) if files},
        truncated=due > len(actions),
        refused=next((one for one in breaches if one is not None and one.guard != override), None),
        now=now,
        due=due,
        quotas=tuple(over),
    )


def _decisions(
    candidates: Iterable[tuple[Rule, IndexedFile | Unit]], *, now: int, blockers: Blockers
) -> Iterator[Going | Keep]:
    """Yield what becomes of each file and each unit that is due."""
    units: list[tuple[Rule, Unit]] = []

    def files() -> Iterator[tuple[Rule, IndexedFile]]:
        for rule, one in candidates:
            if isinstance(one, Unit):
                units.append((rule, one))
            else:
                yield rule, one

    yield from decide(files(), now=now, blockers=blockers)
    for rule, unit in units:
        decision = decide_unit(rule, unit, now=now, blockers=blockers)
        if decision is not None:
            yield decision


class _Counted:
    """Counts the files of the first `limit` of what goes, as it is read."""

    def __init__(self, going: Iterator[Going], limit: int | None) -> None:
        self._going = going
        self._left = limit or 0
        self._files = 0

    def __iter__(self) -> Iterator[Going]:
        for one in self._going:
            if self._left <= 0:
                yield one
                break
            self._left -= 1
            self._files += len(files_in(one))
            yield one
        yield from self._going

    def files_of_all(self) -> int:
        """Return how many files they are, those too that nobody has read."""
        while self._left > 0 and next(iter(self), None) is not None:
            pass
        return self._files


@dataclass(slots=True)
class _Choice:
    """A plan in the making: what goes, no more of it than a run may do; what stays; and what both amount to."""

    most: int
    kept: dict[str, int]
    planned: dict[str, int] = field(default_factory=dict)
    """Files that go, by class, before any cut."""
    rules: dict[str, Rule] = field(default_factory=dict)
    going: Oldest = field(init=False)
    """What is past its ttl."""
    later: Shelf = field(default_factory=Shelf)
    """What makes room."""
    made: int = 0
    """How many, children as one, make room."""
    taken: dict[Place, Demand] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.going = Oldest(self.most)

    def keep(self, blocker: str, files: int = 1) -> None:
        """Count what stays."""
        self.kept[blocker] = self.kept.get(blocker, 0) + files

    def expired(self, decisions: Iterable[Going | Keep]) -> None:
        """Take what is past its ttl: of a million files only those that can still be among the oldest are kept."""
        for decision in decisions:
            if isinstance(decision, Keep):
                self.keep(decision.blocker, decision.files)
            else:
                self._count(decision)
                self.going.add(decision)

    def more(self, going: Iterable[Remove | Whole]) -> None:
        """Take what goes to make room, after what is past its ttl."""
        for one in going:
            self._count(one)
            if len(self.going) + self.made < self.most:
                self.made += 1
                self.later.extend(files_in(one))

    def drain(self) -> Iterator[Going]:
        """Yield what goes, giving back what has been read."""
        yield from self.going.drain()
        yield from regrouped_in_order(self.later.drain())

    def gone(self, place: Place) -> Used:
        """Return what a class or child loses by what has been taken so far."""
        taken = self.taken.get(place)
        return Used() if taken is None else Used(-taken.files, -taken.allocated)

    def _count(self, going: Going) -> None:
        removes = files_in(going)
        rule = removes[0].rule  # what goes as one is of one class
        name = rule.name
        self.planned[name] = self.planned.get(name, 0) + len(removes)
        self.rules[name] = rule
        if rule.quota is None:
            return
        for remove in removes:
            place = rule.name, rule.child_of(remove.file.directory) if rule.quota.per == "child" else None
            taken = self.taken.get(place)
            if taken is None:
                taken = self.taken[place] = Demand(0, 0)
            taken.take(remove.file)
