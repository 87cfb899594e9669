"""The configuration's classes as the index needs them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from indexer.config.model import Config
    from indexer.index.classes import Policy
    from indexer.store import Store


def index_policy(config: Config) -> Policy:
    """Return what the index is told of the policy: which class a path falls into, and how its clock is computed."""
    from indexer.index.classes import Policy
    from indexer.policy.classes import Classifier
    from indexer.policy.clocks import compile_clock

    return Policy(
        rules=config.classes,
        classifier=Classifier(config.classes, config.store.ignore),
        clocks=[compile_clock(rule) for rule in config.classes],
        fingerprint=fingerprint(config),
        ignoring=hashlib.sha256(repr(config.store.ignore).encode()).hexdigest(),
    )


def is_older(store: Store) -> bool:
    """Say whether the index still sorts files by an older configuration: reports tell of that one, plans of the new."""
    from indexer.index.queries import Reader

    with Reader.open(store.index_path) as reader:
        return reader.meta("policy") != fingerprint(store.config)


def fingerprint(config: Config) -> str:
    """Hash what decides a file's class and clock, and nothing else: a new TTL rewrites no row.

    Cheaper than the policy itself: no glob is compiled for it.
    """
    parts = [
        (rule.name, rule.match, rule.exclude, tuple(rule.clocks), rule.arrival_floor)
        + ((rule.filename_time,) if rule.filename_time is not None else ())
        + ((rule.unit,) if rule.unit != "file" else ())
        for rule in config.classes
    ]
    return hashlib.sha256(repr((parts, config.store.ignore)).encode()).hexdigest()
