"""What will go within a class's `warn_before`, and was not named yet: what notices are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from indexer.index.unit_queries import due_units
from indexer.policy.clocks import compile_clock, file_clock
from indexer.policy.decide import Keep, too_young
from indexer.policy.evict import evict
from indexer.policy.notices import holds_for
from indexer.policy.quota import Demand, Used
from indexer.policy.reasons import Reason
from indexer.policy.units import decide_unit, evict_units, files_in
from indexer.records import NEVER, Unit
from indexer.reports.holdings import holdings
from indexer.service.planning import UnitBlockers, attributes_of, blockers_of, files_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from indexer.config.model import Config
    from indexer.enforce.ledger import Ledger
    from indexer.index.queries import Reader
    from indexer.policy.decide import Blockers
    from indexer.policy.units import Going
    from indexer.records import IndexedFile
    from indexer.rules import Rule

PART = 10_000
"""Files that are gathered before anybody is told of them: what a notice can name, and what is in memory at once."""


@dataclass(frozen=True, slots=True)
class Coming:
    """One file that will go, and of which nobody has been told."""

    rule: Rule
    file: IndexedFile
    clock_at: int
    expires_at: int | None
    reason: str


def parts(config: Config, reader: Reader, ledger: Ledger, now: int) -> Iterator[list[Coming]]:
    """Yield what is to be told at `now` (Unix seconds) in parts; no query is open while a part is told."""
    part: list[Coming] = []
    for rule in config.classes:
        if rule.warn_before is None:
            continue
        since: int | None = None
        while True:
            found = coming(config, reader, ledger, rule, now, since)
            more = False
            for one in found:
                part.append(one)
                if len(part) >= PART:
                    more = True
                    break
            if not more:
                break
            last = part[-1]
            since = last.file.clock if last.reason == Reason.EXPIRED else NEVER
            del found
            yield part
            reader.forget()
            part = []
    if part:
        yield part


def coming(
    config: Config, reader: Reader, ledger: Ledger, rule: Rule, now: int, since: int | None = None
) -> Iterator[Coming]:
    """Yield what goes from a class until `now` + warn_before (Unix seconds) and was not named; oldest clock first.

    `since` is the clock to go on from. Costs what will be due, not what there is.
    """
    horizon = now + (rule.warn_before or 0)
    protection = ledger.protection(now)
    blockers = blockers_of(reader, protection, attributes_of(config, now))
    clock = compile_clock(rule)
    if rule.unit == "child":
        yield from _units(reader, ledger, rule, horizon, UnitBlockers(reader, protection, config.guards), blockers)
        return
    if rule.ttl is not None:
        for file in reader.due(rule.name, horizon - rule.ttl, since):
            at = file_clock(clock, file)
            if at + rule.ttl >= horizon or blockers(file) is not None or too_young(rule, file, horizon) is not None:
                continue
            if not holds_for(ledger.notice(file.path), rule, file, at):
                yield Coming(rule, file, at, at + rule.ttl, Reason.EXPIRED)
    if rule.evicts:
        yield from _evicted(reader, ledger, rule, horizon, blockers)


def _units(
    reader: Reader,
    ledger: Ledger,
    rule: Rule,
    horizon: int,
    against: Callable[[Unit], Unit],
    blockers: Blockers,
) -> Iterator[Coming]:
    """Yield the files of children that go whole until `horizon`: each one is named, and one that is new waits for all.

    What is past its ttl by then, and what would have to go for the class's quota after that.
    """
    going = Demand(0, 0)
    seen: set[bytes] = set()

    def named(whole: Going, reason: str) -> Iterator[Coming]:
        clock = compile_clock(rule)
        for one in files_in(whole):
            going.take(one.file)
            at = file_clock(clock, one.file)
            if not holds_for(ledger.notice(one.file.path), rule, one.file, at):
                yield Coming(rule, one.file, at, one.expires_at, reason)

    for unit in due_units(reader, rule, horizon - rule.ttl) if rule.ttl is not None else ():
        found = decide_unit(rule, against(unit), now=horizon, blockers=blockers)
        if found is not None and not isinstance(found, Keep):
            seen.add(unit.path)
            yield from named(found, Reason.EXPIRED)
    for holding in holdings(reader, [rule]) if rule.evicts else ():
        per_child = holding.child is not None
        if holding.child in seen:
            continue
        need = holding.over(Used() if per_child else Used(-going.files, -going.allocated))
        if need is None:
            continue
        units = files_of(reader, holding, against)
        for whole in evict_units(
            rule, need, (one for one in units if isinstance(one, Unit)), now=horizon, blockers=blockers
        ):
            yield from named(whole, Reason.QUOTA)


def _evicted(reader: Reader, ledger: Ledger, rule: Rule, horizon: int, blockers: Blockers) -> Iterator[Coming]:
    """Yield what would have to go for the class's quota, after what is past its ttl by then."""
    clock = compile_clock(rule)
    for holding in holdings(reader, [rule]):
        if holding.over() is None:
            continue
        going = Demand(0, 0)
        if rule.ttl is not None:
            for file in reader.due(rule.name, horizon - rule.ttl):
                child = rule.child_of(file.directory) if holding.child is not None else None
                if child == holding.child and file_clock(clock, file) + rule.ttl < horizon and blockers(file) is None:
                    going.take(file)
        need = holding.over(Used(-going.files, -going.allocated))
        if need is None:
            continue
        files = files_of(reader, holding, lambda unit: unit)
        for found in evict(
            rule, need, (one for one in files if not isinstance(one, Unit)), now=horizon, blockers=blockers
        ):
            if found.file.clock != NEVER and not holds_for(
                ledger.notice(found.file.path), rule, found.file, found.clock_at
            ):
                yield Coming(rule, found.file, found.clock_at, found.expires_at, Reason.QUOTA)
