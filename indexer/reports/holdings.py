"""What classes and children with a quota hold, from the counters alone: for the report, the plan and the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.policy.quota import Holding, Used

if TYPE_CHECKING:
    from collections.abc import Iterable

    from indexer.index.queries import Reader, Totals
    from indexer.rules import Rule


def holdings(reader: Reader, rules: Iterable[Rule]) -> list[Holding]:
    """Return what each class with a quota holds, or each of its children: from the counters alone."""
    limited = [rule for rule in rules if rule.quota is not None]
    if not limited:
        return []
    whole = [rule for rule in limited if rule.quota is not None and rule.quota.per == "class"]
    totals = reader.class_totals() if whole else {}
    found = [Holding(rule, _used(totals[rule.name])) for rule in whole if rule.name in totals]
    for rule in limited:
        if rule not in whole:
            for own in rule.own_directories:
                children = reader.children_usage(rule.name, own)
                found += [Holding(rule, _used(used), child) for child, used in sorted(children.items())]
    return found


def _used(totals: Totals) -> Used:
    return Used(totals.files, totals.allocated)
