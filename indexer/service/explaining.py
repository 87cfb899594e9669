"""`explain` with what only a plan knows: a file that is not due for its age may go for a quota or a watermark."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from typing import TYPE_CHECKING, Any

from indexer.enforce.places import split
from indexer.index.queries import Reader
from indexer.policy.reasons import Blocker, Guard, Reason
from indexer.policy.watermark import filesystem_of
from indexer.reports.explain import explain as explain_alone
from indexer.reports.holdings import holdings
from indexer.service.current import ledger_to_read
from indexer.service.forecast import crowded, foretell
from indexer.service.planning import decide_all
from indexer.service.room import taken_by
from indexer.service.wall import moment, stepped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from indexer.policy.decide import Remove
    from indexer.policy.plan import Plan
    from indexer.rules import Rule
    from indexer.store import Store

_OF_AGE = {Blocker.NOT_DUE, Blocker.KEPT_FOREVER, Blocker.NO_TIME}
"""What keeps a file from going for its age, and not from making room."""


def explain(
    store: Store, paths: Sequence[bytes], now: int, heavy: AbstractContextManager[None] | None = None
) -> list[dict[str, Any]]:
    """Explain `paths` (relative to the root) at `now` (Unix seconds) as `reports.explain` does, and as `plan` decides.

    `makes_room` is None, or why a cleanup made now would take it before its time: `reason` (quota, watermark), with the
    row of `quotas` or `watermarks` of the plan. One plan serves all paths, and is made, within `heavy`, only where a
    quota is exceeded or a watermark reached. Raises NotScannedError, IndexDatabaseError, LedgerError.
    """
    rules = {rule.name: rule for rule in store.config.classes}
    found = [explain_alone(store, path, now) | {"makes_room": None} for path in paths]
    asked: dict[bytes, list[dict[str, Any]]] = {}
    for path, said in zip(paths, found, strict=True):
        rule = rules.get(said["class"])
        if rule is not None and _may_make_room(said):
            asked.setdefault(_going(path, said, rule), []).append(said)
    if asked:
        _add_from_plan(store, now, asked, heavy or nullcontext())
    return found


def _may_make_room(said: dict[str, Any]) -> bool:
    alone = [word for word in said["blockers"] if word != Guard.MODE]
    if said["kind"] in {None, "directory"} and "unit" not in said:
        return False
    return bool(alone) and _OF_AGE.issuperset(alone)


def _going(path: bytes, said: dict[str, Any], rule: Rule) -> bytes:
    """Return what would go: the file, or the child that it goes with."""
    child = rule.child_of(path if said["kind"] == "directory" else split(path)[0]) if "unit" in said else None
    return path if child is None else child


def _add_from_plan(
    store: Store, now: int, asked: dict[bytes, list[dict[str, Any]]], heavy: AbstractContextManager[None]
) -> None:
    """Say of what is `asked` about, by what would go, where a plan takes it to make room."""
    classes = {said["class"] for some in asked.values() for said in some}
    with ExitStack() as stack:
        reader = stack.enter_context(Reader.open(store.index_path))
        ledger = ledger_to_read(store, stack)
        evicting = [rule for rule in store.config.classes if rule.name in classes and rule.evicts]
        over = any(holding.over() is not None for holding in holdings(reader, evicting))
        mark = store.config.watermark
        giving = mark is not None and not classes.isdisjoint(mark.order)
        if not over and (mark is None or not giving or not crowded(store, mark, taken_by(mark, reader, ledger))):
            return
        doubted = None if ledger is None else stepped(ledger, store.config.guards, moment())
        with heavy:
            plan = foretell(decide_all(store.config, reader, ledger, now, refusal=doubted), store, reader, ledger)
    for action in plan.actions:
        if action.reason not in {Reason.QUOTA, Reason.WATERMARK}:
            continue
        going = action.file.path if action.child is None else action.child.path
        for said in asked.pop(going, ()):
            said["blockers"] = [word for word in said["blockers"] if word == Guard.MODE]
            if plan.refused is not None and plan.refused.guard not in said["blockers"]:
                said["blockers"].append(str(plan.refused.guard))
            said["makes_room"] = {"reason": str(action.reason), **_why(store, plan, action)}


def _why(store: Store, plan: Plan, action: Remove) -> dict[str, Any]:
    if action.reason == Reason.QUOTA:
        child = action.rule.child_of(action.file.directory)
        for holding in plan.quotas:
            if holding.rule.name == action.rule.name and holding.child in {None, child}:
                return {"quota": holding.as_json()}
    name = filesystem_of(action.file.directory, store.config.store.filesystems)
    pressures = (one.as_json() for one in plan.pressure if one.filesystem == name)
    return {"watermark": next(pressures, None)}
