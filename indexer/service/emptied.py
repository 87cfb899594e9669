"""Directories that have been empty for a while: found in the index, looked at again by the run before they go."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.index.queries import Reader
    from indexer.policy.classes import Classifier
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
