"""What a run would do, and what another policy would change: plans that nothing is done by."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from indexer.errors import UsageError
from indexer.service.current import ledger_to_read
from indexer.service.emptied import foretell_empty
from indexer.service.forecast import foretell
from indexer.service.full_disk import index_to_read
from indexer.service.planning import Scope, decide_all
from indexer.service.wall import moment, stepped
from indexer.units import show_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from indexer.policy.plan import Plan
    from indexer.service.comparison import PolicyChange
    from indexer.store import Store

__all__ = ["Scope", "compare", "preview"]


def preview(store: Store, clock: Callable[[], float], scope: Scope, *, at: int | None, scan: bool) -> Plan:
    """Return what a run would do now, or (`at`, Unix seconds) would do then if nothing changed until then."""
    with ExitStack() as stack:
        current = index_to_read(stack, store, clock, scan=scan)
        ledger = ledger_to_read(store, stack)
        today = int(clock())
        doubted = None if ledger is None or at is not None else stepped(ledger, store.config.guards, moment())
        made = decide_all(
            store.config,
            current.reader,
            ledger,
            today if at is None else at,
            scope,
            refusal=doubted,
            today=None if at is None else today,
        )
        made = foretell_empty(made, store.config, current.reader, ledger, scope)
        return made if scope.class_name is not None else foretell(made, store, current.reader, ledger)


def compare(
    store: Store, clock: Callable[[], float], scope: Scope, policy: Path, *, at: int | None, scan: bool
) -> PolicyChange:
    """Return what the policy in the file `policy` would change. Raises ConfigError for an invalid one."""
    from indexer.config.load import load_config
    from indexer.service.comparison import policy_change

    try:
        new = load_config(policy, store_path=store.root)
    except OSError as error:
        raise UsageError(
            f"{show_name(os.fsencode(policy))}: {error.strerror}", remedy="name a policy that you may read"
        ) from error
    with ExitStack() as stack:
        current = index_to_read(stack, store, clock, scan=scan)
        ledger = ledger_to_read(store, stack)
        return policy_change(store.config, new, current.reader, ledger, int(clock()) if at is None else at, scope)
