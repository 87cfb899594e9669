"""From an index to a plan: what is due, what classes and children hold, and whose files give way."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from indexer.errors import UsageError
from indexer.policy.plan import Plan, plan
from indexer.policy.quota import Holding, in_true_order, order_key
from indexer.policy.reasons import Blocker
from indexer.policy.units import blocked, too_large, unit_key
from indexer.records import Unit
from indexer.reports.holdings import holdings

if TYPE_CHECKING:
    from indexer.config.model import Config
    from indexer.enforce.ledger import Ledger
    from indexer.enforce.protection import Protection
    from indexer.index.queries import Reader
    from indexer.policy.guards import Refusal
    from indexer.records import IndexedFile
    from indexer.rules import Guards, Rule

DAY = 86_400


@dataclass(frozen=True, slots=True)
class Scope:
    """What a run is narrowed to."""

    class_name: str | None = None
    under: bytes = b""
    """A subtree, relative to the root; b"" is the whole store."""
    limit: int | None = None
    override: str | None = None
    """The guard that somebody has set aside for this run."""
    ttl_only: bool = False
    """Only what is past its ttl: `expire`."""
    quota_only: bool = False
    """Only classes over their quota; what is past its ttl in them goes first all the same."""

    @property
    def whole(self) -> bool:
        """All of the store: a part of a class cannot be held against its quota."""
        return not self.under


EVERYTHING = Scope()
Chosen = Callable[["IndexedFile"], bool]
"""Whether a file may be part of a plan at all; what a written plan narrows a run to."""


def anything(_file: IndexedFile) -> bool:
    """Every file may be part of it."""
    return True


def decide_all(
    config: Config,
    reader: Reader,
    ledger: Ledger | None,
    now: int,
    scope: Scope = EVERYTHING,
    *,
    recent: bool = True,
    refusal: Refusal | None = None,
    chosen: Chosen = anything,
    today: int | None = None,
) -> Plan:
    """Decide what goes at `now` (Unix seconds); touches nothing. Raises UsageError for an unknown class.

    A forecast says what time it is `today`: notices that are missing will have been published by `now`.
    """
    rules = [rule for rule in config.classes if scope.class_name in {None, rule.name}]
    if scope.class_name is not None and not rules:
        known = ", ".join(rule.name for rule in config.classes) or "none is configured"
        raise UsageError(f"there is no class {scope.class_name!r}", remedy=f"classes: {known}")
    protection = ledger.protection(now) if ledger is not None else None
    against = UnitBlockers(reader, protection, config.guards)
    missing = ledger.missing_since(now - DAY) if ledger is not None and recent else {}
    held = holdings(reader, rules) if scope.whole and not scope.ttl_only else []
    if scope.quota_only:
        over = {holding.rule.name for holding in held if holding.rule.evicts and holding.over() is not None}
        rules = [rule for rule in rules if rule.name in over]
    candidates = _candidates(reader, rules, now, scope.under, chosen, against)
    first = next(candidates, None)
    return plan(
        candidates if first is None else chain((first,), candidates),
        guards=config.guards,
        live_files=reader.live_files() if first is not None or held else 0,  # a sum over all directories
        now=now,
        blockers=blockers_of(reader, protection, attributes_of(config, now), notices_of(config, ledger, now, today)),
        rules=config.classes,
        recent=missing,
        limit=scope.limit,
        standing={Blocker.NO_TIME: _timeless(reader, rules, now)},
        holdings=held,
        refusal=refusal,
        override=scope.override,
        files_of=lambda holding: only(chosen, _evictable(reader, holding, ledger, now, today, against)),
    )


def blockers_of(
    reader: Reader,
    protection: Protection | None,
    held: Callable[[IndexedFile], str | None] | None = None,
    notices: Callable[[IndexedFile], str | None] | None = None,
) -> Callable[[IndexedFile], str | None]:
    """Return what keeps a file beside its class: a hold, a lease, a directory yet to be verified, a missing notice.

    `held` is from `attributes_of`, `notices` from `notices_of`.
    """
    unverified = reader.unverified()
    protects = bool(protection)  # asked once a file otherwise: most stores hold nothing

    def blocker(file: IndexedFile) -> str | None:
        if protects and protection is not None and (word := protection.blocker(file.path)) is not None:
            return word
        if held is not None and (word := held(file)) is not None:
            return word
        if unverified(file.directory_id):
            return Blocker.UNVERIFIED
        return None if notices is None else notices(file)

    return blocker


class UnitBlockers:
    """What the index and the ledger know against a unit, beside its single files."""

    def __init__(self, reader: Reader, protection: Protection | None, guards: Guards) -> None:
        self._protection = protection
        self._guards = guards
        self._unverified = reader.unverified()

    def __call__(self, unit: Unit) -> Unit:
        """Return the unit with the word for it: a hold on something in it, a directory not verified, its size."""
        return blocked(unit, self._word(unit))

    def _word(self, unit: Unit) -> str | None:
        if self._protection and (word := self._protection.inside(unit.path)) is not None:
            return word
        if unit.unreadable or any(map(self._unverified, unit.directories)):
            return Blocker.UNVERIFIED
        return too_large(unit, self._guards)


def only(chosen: Chosen, found: Iterable[IndexedFile | Unit]) -> Iterator[IndexedFile | Unit]:
    """Yield what may be part of a plan: of a unit every single file."""
    for one in found:
        if all(map(chosen, one.files)) if isinstance(one, Unit) else chosen(one):
            yield one


def attributes_of(config: Config, now: int) -> Callable[[IndexedFile], str | None] | None:
    """Return what keeps files that carry user.indexer.hold; None where the configuration does not honour it."""
    if not config.holds.xattr:
        return None
    from indexer.enforce.attribute import attribute_blocker

    return attribute_blocker(os.fsencode(config.store.path), now)


def notices_of(
    config: Config, ledger: Ledger | None, now: int, today: int | None = None
) -> Callable[[IndexedFile], str | None] | None:
    """Return what keeps files that want a notice first, at `now` (Unix seconds); None where no class does.

    A forecast says what time it is `today`; where somebody hears notices, those still missing are published by then.
    """
    if all(rule.warn_before is None for rule in config.classes):
        return None
    from indexer.policy.notices import notice_blockers

    told_by = today if config.notify is not None else None
    return notice_blockers(
        config.classes, ledger.notice if ledger is not None else lambda _path: None, now, told_by=told_by
    )


def evictable(
    reader: Reader, holding: Holding, ledger: Ledger | None, now: int, against: Callable[[Unit], Unit]
) -> Iterable[IndexedFile | Unit]:
    """Return the files of a class or child that may give way, as `files_of` does.

    Of a class that wants notices only those of which one has been out long enough: costs what was named, not what
    there is.
    """
    rule = holding.rule
    if rule.warn_before is None or rule.unit == "child":
        return files_of(reader, holding, against)
    paths = () if ledger is None else ledger.named(rule.name, now - rule.warn_before)
    found = (reader.file(path) for path in paths)
    mine = (
        file
        for file in found
        if file is not None
        and file.class_name == rule.name
        and file.clock is not None
        and (holding.child is None or rule.child_of(file.directory) == holding.child)
    )
    return sorted(mine, key=order_key(rule))


def _evictable(
    reader: Reader,
    holding: Holding,
    ledger: Ledger | None,
    now: int,
    today: int | None,
    against: Callable[[Unit], Unit],
) -> Iterable[IndexedFile | Unit]:
    if today is None:
        return evictable(reader, holding, ledger, now, against)
    return files_of(reader, holding, against)


def files_of(reader: Reader, holding: Holding, against: Callable[[Unit], Unit]) -> Iterable[IndexedFile | Unit]:
    """Return the files of a class in the order in which they give way; those of a child in any order.

    Of a class with `unit = "child"` its units, `against` telling what stands in the way of each.
    """
    rule = holding.rule
    if rule.unit == "child":
        return map(against, _units_of(reader, holding))
    if holding.child is None:
        order = rule.quota.order if rule.quota is not None else "clock"
        files = reader.in_order(rule.name, order)
        return in_true_order(rule, files) if order == "clock" else files
    directory = reader.directory_id(holding.child)
    return () if directory is None else reader.files_below(directory, rule.name)


def _units_of(reader: Reader, holding: Holding) -> Iterable[Unit]:
    from indexer.index.unit_queries import unit_of, units_in_order

    rule = holding.rule
    if holding.child is None:
        order = rule.quota.order if rule.quota is not None else "clock"
        return units_in_order(reader, rule, order, unit_key(rule))
    directory = reader.directory_id(holding.child)
    unit = None if directory is None else unit_of(reader, rule, directory)
    return () if unit is None else (unit,)


def _timeless(reader: Reader, rules: list[Rule], now: int) -> int:
    """Count the files of the whole store that are kept because of what their names say."""
    named = [rule for rule in rules if rule.filename_time is not None and rule.filename_time.otherwise == "keep"]
    return sum(reader.timeless(rule.name, now) for rule in named)


def _candidates(
    reader: Reader, rules: list[Rule], now: int, under: bytes, chosen: Chosen, against: Callable[[Unit], Unit]
) -> Iterator[tuple[Rule, IndexedFile | Unit]]:
    below = under + b"/"
    for rule in rules:
        if rule.ttl is None:
            continue
        before = now - rule.ttl
        found: Iterable[IndexedFile | Unit] = reader.due(rule.name, before)
        if rule.unit == "child":
            from indexer.index.unit_queries import due_units

            found = map(against, due_units(reader, rule, before))
        for one in found if chosen is anything else only(chosen, found):
            if not under or one.path == under or one.path.startswith(below):
                yield rule, one
