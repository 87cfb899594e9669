"""Why one file has its class and its date, and what stands in the way of removing it; decides only, like the plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.policy.clocks import compile_clock, file_clock
from indexer.policy.decide import too_young
from indexer.policy.filename import filename_clock
from indexer.policy.notices import goes_at, holds_for
from indexer.policy.plan import settled_at
from indexer.policy.reasons import Blocker
from indexer.policy.units import youngest_of
from indexer.records import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from indexer.policy.notices import Notice
    from indexer.records import IndexedFile, Unit
    from indexer.rules import Rule


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the policy says of one file. Times are Unix seconds."""

    rule: Rule | None
    clocks: dict[str, int]
    """The times that the class's clock is made of; the youngest counts."""
    clock_at: int | None
    expires_at: int | None
    blockers: tuple[str, ...]
    """Everything that stands in the way at this moment, strongest first; empty: a run would take it."""
    goes_at: int | None = None
    """The earliest moment that a run may take it for its age, if it stays as it is; None: never."""
    notice: dict[str, Any] | None = None
    """For a class that wants notices: when one was published and what it said; None: its class wants none."""

    def as_json(self) -> dict[str, Any]:
        """Return the keys of `explain --json` that the policy knows."""
        rule = self.rule
        return {
            "class": None if rule is None else rule.name,
            "tier": None if rule is None else rule.tier,
            "clocks": self.clocks,
            "clock_at": self.clock_at,
            "expires_at": self.expires_at,
            "goes_at": self.goes_at,
            "notice": self.notice,
            "rule": None if rule is None else rule_json(rule),
            "blockers": list(self.blockers),
        }


def rule_json(rule: Rule) -> dict[str, Any]:
    """Return what of a class decides about a file, as the configuration names it; durations are seconds."""
    return {
        "class": rule.name,
        "match": list(rule.match),
        "exclude": list(rule.exclude),
        "ttl": rule.ttl,
        "clock": list(rule.clocks),
        "arrival_floor": rule.arrival_floor,
        "unit": rule.unit,
        "min_age": rule.min_age,
        "action": rule.action,
        "trash_ttl": rule.trash_ttl if rule.action == "trash" else None,
        "warn_before": rule.warn_before,
    }


def explain(
    file: IndexedFile,
    rule: Rule | None,
    *,
    aged: bool,
    now: int,
    protection: str | None = None,
    notice: Notice | None = None,
) -> Explanation:
    """Explain one indexed file at `now` (Unix seconds).

    `rule` and `aged` are the classifier's decision for its path, `protection` the word for a hold or lease, if any,
    `notice` the last one that named the path.
    """
    blockers = [protection] if protection is not None else []
    if rule is None:
        return Explanation(None, {}, None, None, (*blockers, Blocker.UNCLASSIFIED))
    clocks = clocks_of(file, rule)
    clock = file_clock(compile_clock(rule), file)
    clock_at = None if clock == NEVER else clock
    if not aged:
        return Explanation(rule, clocks, clock_at, None, (*blockers, Blocker.EXCLUDED))
    if rule.ttl is None:
        return Explanation(rule, clocks, clock_at, None, (*blockers, Blocker.KEPT_FOREVER))
    if clock_at is None:
        return Explanation(rule, clocks, None, None, (*blockers, Blocker.NO_TIME))
    expires_at = clock_at + rule.ttl
    if now - settled_at(rule, file) < rule.min_age:
        blockers.append(Blocker.TOO_YOUNG)
    may_go = max(expires_at, settled_at(rule, file) + rule.min_age)
    said = None
    if rule.warn_before is not None:
        counts = holds_for(notice, rule, file, clock)
        published = notice.published if notice is not None and counts else None
        may_go = max(may_go, goes_at(rule, expires_at, now if published is None else published))
        said = {"warn_before": rule.warn_before, "published": published, "goes_at": may_go}
        if published is None:
            blockers.append(Blocker.NO_NOTICE)
        elif now < published + rule.warn_before:
            blockers.append(Blocker.NOTICE_PERIOD)
    if now <= expires_at:
        blockers.append(Blocker.NOT_DUE)
    return Explanation(rule, clocks, clock_at, expires_at, tuple(blockers), may_go, said)


def clocks_of(file: IndexedFile, rule: Rule) -> dict[str, int]:
    """Return the times that the class's clock of a file is made of, in Unix seconds; the youngest counts."""
    times = {"mtime": file.mtime, "atime": file.used_at, "ctime": file.ctime, "btime": file.btime}
    if rule.filename_time is not None:
        times["filename"] = filename_clock(rule.filename_time)(file.name, file.mtime, file.ctime, file.first_seen)
    clocks: dict[str, int] = {
        name: file.first_seen if (at := times[name]) is None else at for name in rule.clocks if times[name] != NEVER
    }
    if rule.arrival_floor:
        clocks["first_seen"] = file.first_seen
    return clocks


def explain_unit(
    unit: Unit, rule: Rule, now: int, blockers: Callable[[IndexedFile], str | None], inside: str | None = None
) -> Explanation:
    """Explain a child that goes as one: the clocks are those of its youngest file, and each file may stand in the way.

    `blockers` gives the word for a hold or lease that covers a file, `inside` that for one on something below it.
    """
    youngest = youngest_of(unit, rule)
    at = file_clock(compile_clock(rule), youngest)
    found: set[str | None] = {inside}
    for file in unit.files:
        found.add(blockers(file) or (Blocker.EXCLUDED if file.clock is None else too_young(rule, file, now)))
    words = [str(word) for word in Blocker if word in found]
    clocks = clocks_of(youngest, rule)
    if rule.ttl is None:
        return Explanation(rule, clocks, None if at == NEVER else at, None, (*words, Blocker.KEPT_FOREVER))
    if at == NEVER:
        return Explanation(rule, clocks, None, None, (*words, Blocker.NO_TIME))
    expires_at = at + rule.ttl
    may_go = max(expires_at, max(settled_at(rule, file) for file in unit.files) + rule.min_age)
    words += [str(Blocker.NOT_DUE)] if now <= expires_at else []
    return Explanation(rule, clocks, at, expires_at, tuple(words), None if Blocker.EXCLUDED in words else may_go)
