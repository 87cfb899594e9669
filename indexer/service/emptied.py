"""Directories that have been empty for a while: found in the index, looked at again by the run before they go."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.config import Config
    from indexer.enforce.ledger import Ledger
    from indexer.index.queries import Reader
    from indexer.policy.classes import Classifier
    from indexer.policy.plan import Plan
    from indexer.rules import Rule
    from indexer.service.planning import Scope

_ANY = b"0"
"""A name that a file in the directory might have: no glob is likely to be about it."""


def long_empty(reader: Reader, classifier: Classifier, now: int, scope: Scope) -> dict[bytes, Rule]:
    """Return the empty directories of classes with `remove_empty_dirs`, untouched for the class's `min_age`.

    A directory belongs to the class that a file in it would age by. `now` is in Unix seconds. Costs nothing where no
    class wants it, else a pass over the directories (not the files) of the index.
    """
    ages = [rule.min_age for rule in classifier.rules if rule.remove_empty_dirs]
    if not ages or scope.quota_only:
        return {}
    found = {}
    for path in reader.empty_directories(now - min(ages)):
        index, aged = classifier.at(path).of(_ANY)
        if index is None or not aged:
            continue
        rule = classifier.rules[index]
        if not rule.remove_empty_dirs or scope.class_name not in {None, rule.name}:
            continue
        if not scope.under or path == scope.under or path.startswith(scope.under + b"/"):
            found[path] = rule
    return found


def foretell_empty(plan: Plan, config: Config, reader: Reader, ledger: Ledger | None, scope: Scope) -> Plan:
    """Return the plan with the directories that have long been empty, and those above that hold nothing else.

    As the run would remove them (`enforce.empty`): none that is a class's own, or held, or above what is.
    """
    if plan.refused is not None or not any(rule.remove_empty_dirs for rule in config.classes):
        return plan
    from indexer.enforce.empty import below_own_directory, own_directories
    from indexer.enforce.places import split
    from indexer.enforce.protection import Protection
    from indexer.policy.classes import Classifier

    left = long_empty(reader, Classifier(config.classes, config.store.ignore), plan.now, scope)
    if not left:
        return plan
    own = own_directories((*config.classes, *left.values()))
    protection = Protection(()) if ledger is None else ledger.protection(plan.now)
    gone: set[bytes] = set()
    for path in sorted(left, key=lambda path: -path.count(b"/")):
        rule, directory = left[path], path
        while directory not in own and below_own_directory(rule, directory):
            if protection.blocker(directory) or protection.inside(directory):
                break
            gone.add(directory)
            directory = split(directory)[0]
            if directory in gone or not reader.holds_only(directory, gone):
                break
    return replace(plan, empty=tuple(sorted(gone)))
