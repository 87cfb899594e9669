"""`explain` with what only a plan knows: a file that is not due for its age may go for a quota or a watermark."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from indexer.index.queries import Reader
from indexer.policy.reasons import Blocker, Guard, Reason
from indexer.policy.watermark import filesystem_of
from indexer.reports.explain import explain as explain_alone
from indexer.reports.holdings import holdings
from indexer.service.current import ledger_to_read
from indexer.service.forecast import foretell
from indexer.service.planning import decide_all
from indexer.service.wall import moment, stepped

if TYPE_CHECKING:
    from indexer.policy.decide import Remove
    from indexer.policy.plan import Plan
    from indexer.store import Store

_OF_AGE = {Blocker.NOT_DUE, Blocker.KEPT_FOREVER, Blocker.NO_TIME}
"""What keeps a file from going for its age, and not from making room."""


def explain(store: Store, path: bytes, now: int) -> dict[str, Any]:
    """Explain `path` (relative to the root) at `now` (Unix seconds) as `reports.explain` does, and as `plan` decides.

    `makes_room` is None, or why a cleanup made now would take it before its time: `reason` (quota, watermark), with the
    row of `quotas` or `watermarks` of the plan. A plan is made only where a quota is exceeded or there are watermarks.
    Raises NotScannedError, IndexDatabaseError, LedgerError.
    """
    found = explain_alone(store, path, now) | {"makes_room": None}
    alone = [word for word in found["blockers"] if word != Guard.MODE]
    if found["class"] is None or not alone or not _OF_AGE.issuperset(alone):
        return found
    if found["kind"] in {None, "directory"} and "unit" not in found:
        return found
    with ExitStack() as stack:
        reader = stack.enter_context(Reader.open(store.index_path))
        rule = next((rule for rule in store.config.classes if rule.name == found["class"]), None)
        if rule is None:
            return found  # a class of an older policy
        over = rule.evicts and any(holding.over() is not None for holding in holdings(reader, [rule]))
        mark = store.config.watermark
        if not over and (mark is None or rule.name not in mark.order):
            return found
        ledger = ledger_to_read(store, stack)
        doubted = None if ledger is None else stepped(ledger, store.config.guards, moment())
        plan = decide_all(store.config, reader, ledger, now, refusal=doubted)
        plan = foretell(plan, store, reader, ledger)
    unit = os.fsencode(found["unit"]["path"]) + b"/" if "unit" in found else None
    for action in plan.actions:
        if action.file.path == path or (unit is not None and action.file.path.startswith(unit)):
            if action.reason not in {Reason.QUOTA, Reason.WATERMARK}:
                break
            found["blockers"] = [word for word in found["blockers"] if word == Guard.MODE]
            if plan.refused is not None and plan.refused.guard not in found["blockers"]:
                found["blockers"].append(str(plan.refused.guard))
            found["makes_room"] = {"reason": str(action.reason), **_why(store, plan, action)}
            break
    return found


def _why(store: Store, plan: Plan, action: Remove) -> dict[str, Any]:
    if action.reason == Reason.QUOTA:
        child = action.rule.child_of(action.file.directory)
        for holding in plan.quotas:
            if holding.rule.name == action.rule.name and holding.child in {None, child}:
                return {"quota": holding.as_json()}
    name = filesystem_of(action.file.directory, store.config.store.filesystems)
    pressures = (one.as_json() for one in plan.pressure if one.filesystem == name)
    return {"watermark": next(pressures, None)}
