"""What makes room: files in the class's order, passing over what may not go, until enough has gone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from indexer.policy.clocks import compile_clock, file_clock
from indexer.policy.decide import Blockers, Remove, nobody, too_young
from indexer.policy.quota import Demand, Used, first_of
from indexer.policy.reasons import Blocker, Reason
from indexer.records import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Literal

    from indexer.records import IndexedFile
    from indexer.rules import Rule

_EVERYTHING = Used(2**62, 2**62)


def evict(
    rule: Rule,
    need: Used,
    files: Iterable[IndexedFile],
    *,
    now: int,
    blockers: Blockers = nobody,
    on_keep: Callable[[str], None] = lambda _blocker: None,
    reason: Reason = Reason.QUOTA,
    action: Literal["trash", "delete", "system-trash"] | None = None,
) -> Iterator[Remove]:
    """Yield what goes so that `need` is met; `files` of the class come in its order, `on_keep` hears why one stays.

    Stops as soon as the need is met, so it takes at most one file more than needed. What is past its ttl at `now` goes
    for that reason, or stays for its own, and is passed over by a quota. A file whose name bears no time is never
    taken. `action` replaces the class's own (under disk pressure).
    """
    clock = compile_clock(rule)
    by_clock = rule.quota is None or rule.quota.order == "clock"
    by_write = by_clock and set(rule.clocks) == {"mtime"} and rule.arrival_floor
    demand = Demand(need.files, need.allocated)
    for file in files:
        if demand.met:
            return
        if file.clock is None or file.clock == NEVER or file.class_name != rule.name or not demand.helps(file):
            continue
        clock_at = file_clock(clock, file)
        expires_at = None if rule.ttl is None else clock_at + rule.ttl
        if expires_at is not None and now > expires_at and reason == Reason.QUOTA:
            continue
        blocker = blockers(file) or too_young(rule, file, now)
        if blocker is None:
            demand.take(file)
            yield Remove(file, rule, reason, clock_at, expires_at, action or rule.action)
            continue
        on_keep(blocker)
        if by_write and blocker == Blocker.TOO_YOUNG:
            return  # by this clock all that follow are younger still


def evict_unordered(
    rule: Rule,
    need: Used,
    files: Iterable[IndexedFile],
    *,
    now: int,
    blockers: Blockers = nobody,
    on_keep: Callable[[str], None] = lambda _blocker: None,
) -> Iterator[Remove]:
    """Yield the same for files in any order (those below a child): one pass, remembering no more than will go."""
    # With an order by arrival no file is taken for the last one worth looking at.
    anyhow = rule if rule.quota is None else replace(rule, quota=replace(rule.quota, order="first_seen"))
    eligible = (
        found.file
        for found in evict(anyhow, _EVERYTHING, files, now=now, blockers=blockers, on_keep=on_keep)
        if need.files > 0 or found.file.allocated > 0
    )
    return evict(rule, need, first_of(rule, eligible, need), now=now)
