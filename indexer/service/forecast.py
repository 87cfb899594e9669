"""What a cleanup does beside its plan, foretold: the trash past its time, and what a watermark would take."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from indexer.enforce.trash import unprotected
from indexer.policy.quota import sum_of
from indexer.policy.watermark import Room, shortage
from indexer.service.room import room_of, taken_by
from indexer.store.filesystems import filesystems

if TYPE_CHECKING:
    from indexer.enforce.ledger import Ledger
    from indexer.index.queries import Reader
    from indexer.policy.plan import Plan
    from indexer.rules import Watermark
    from indexer.service.planning import Chosen
    from indexer.store import Store


def crowded(store: Store, mark: Watermark, taken: int | None) -> list[tuple[str, Room]]:
    """Return how full each filesystem of a store is now; nothing where none of them has reached the mark.

    `taken`: as of `taken_by`.
    """
    root_fd = store.open_root()
    try:
        rooms = [(name, room_of(fd)) for name, fd in filesystems(store.config.store.filesystems, root_fd)]
    finally:
        os.close(root_fd)
    return rooms if any(shortage(mark, room, None if name else taken) for name, room in rooms) else []


def foretell(
    plan: Plan,
    store: Store,
    reader: Reader,
    ledger: Ledger | None,
    override: str | None = None,
    chosen: Chosen = lambda _file: True,
) -> Plan:
    """Return the plan with all that the cleanup would do that follows it; touches nothing.

    What comes free is taken from the index: open files and snapshots show only in a real run.
    """
    if plan.refused is not None:
        return plan  # then nothing is done
    past = [] if ledger is None else list(unprotected(ledger, ledger.trash(until=plan.now), plan.now))
    plan = replace(plan, purged=sum_of(action.allocated for action in past))
    mark = store.config.watermark
    if mark is None:
        return plan
    taken = taken_by(mark, reader, ledger)
    rooms = crowded(store, mark, taken)
    if not rooms:
        return plan
    from indexer.policy.shelf import sequence_of
    from indexer.service.outlook import Outlook

    outlook = Outlook(store, reader, ledger, mark, plan, past, override, list(plan.actions), chosen, taken)
    for name, room in rooms:
        outlook.filesystem(name, room)
    return replace(
        plan,
        actions=sequence_of(outlook.actions),
        kept=outlook.kept,
        truncated=plan.truncated or outlook.truncated,
        refused=outlook.refused,
        due=plan.due + outlook.due,
        pressure=tuple(outlook.done),
    )
