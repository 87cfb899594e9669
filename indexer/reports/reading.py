"""A store opened for questions: the index with all views on it, and the ledger beside it."""

from __future__ import annotations

import re
from functools import cached_property
from typing import TYPE_CHECKING

from indexer.config.globs import prefix_of
from indexer.errors import UsageError
from indexer.index.queries import Reader
from indexer.index.views import install
from indexer.units import show_name

if TYPE_CHECKING:
    from indexer.enforce.ledger import Ledger
    from indexer.enforce.protection import Protection
    from indexer.rules import Rule
    from indexer.store import Store


def open_views(store: Store, now: int) -> Reader:
    """Open the store's index with the views of the contract; `now` (Unix seconds) is the moment they tell of.

    Raises NotScannedError, IndexDatabaseError.
    """
    reader = Reader.open(store.index_path)
    try:
        install(
            reader,
            now=lambda: now,
            ledger=store.ledger_path,
            protection=Protecting(store, now),
            prefixes=prefixes(store.config.classes),
            child_quotas=child_quotas(store.config.classes),
        )
    except BaseException:
        reader.close()
        raise
    return reader


def open_ledger(store: Store) -> Ledger | None:
    """Open the ledger for reading; None where nothing has ever been removed or held. Raises LedgerError."""
    if not store.ledger_path.exists():
        return None
    from indexer.enforce.ledger import Ledger

    return Ledger.open(store.ledger_path, read_only=True)


def prefixes(rules: tuple[Rule, ...]) -> dict[str, tuple[str, ...]]:
    """Return the directories that are a class's own, from globs such as `uploads/**`."""
    found = {rule.name: [prefix_of(glob) for glob in rule.match] for rule in rules}
    return {
        name: tuple(re.sub(r"\\(.)", r"\1", prefix) for prefix in candidates if prefix)
        for name, candidates in found.items()
    }


def child_quotas(rules: tuple[Rule, ...]) -> dict[str, int]:
    """Return how many bytes each child of a class may hold, for the classes that say so."""
    return {
        rule.name: rule.quota.high
        for rule in rules
        if rule.quota is not None and rule.quota.per == "child" and rule.quota.high is not None
    }


def directory_below(reader: Reader, under: bytes) -> int | None:
    """Return the id of the directory that narrows a report; None for the whole store. Raises UsageError."""
    if not under:
        return None
    found = reader.directory_id(under)
    if found is None:
        raise UsageError(
            f"{show_name(under)} is not a directory of the index", remedy="name a directory below the store's root"
        )
    return found


class Protecting:
    """The look-up of holds and leases at one moment; the ledger is read at the first question only."""

    def __init__(self, store: Store, now: int) -> None:
        """`now` in Unix seconds."""
        self._store, self._now = store, now

    @cached_property
    def _found(self) -> Protection | None:
        ledger = open_ledger(self._store)
        if ledger is None:
            return None
        with ledger:
            return ledger.protection(self._now)

    def __bool__(self) -> bool:
        return bool(self._found)

    def __call__(self, path: bytes) -> str | None:
        """Return "held" or "leased" when something covers `path` (relative to the store), else None."""
        return None if self._found is None else self._found.blocker(path)
